"""From a data configuration to the sets of a run: read, drop what cannot be used, keep the test set clean, split.

Knows no tokenizer and no task beyond labels.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from feinschliff.config.data import DataConfig
from feinschliff.data.columns import SAMPLE_ROWS
from feinschliff.data.examples import Example, Splits, answer_of, label_names, target_of
from feinschliff.data.image_duplicates import ImageFingerprints
from feinschliff.data.near_duplicates import Duplicates, find_near_duplicates
from feinschliff.data.numbers import strata
from feinschliff.data.redaction import redact_splits
from feinschliff.data.row_kinds import columns_of, load_examples, reader_of
from feinschliff.data.rows_to_examples import (
    check_table_columns,
    count_reasons,
    dropped_row,
    refuse_unknown_labels,
    say_unknown_types,
)
from feinschliff.data.shared_beginnings import conversation_units, said_of_units
from feinschliff.data.sources import open_tables, read_tables, sha256_of_sources
from feinschliff.data.splits import Integers, SplitRows, split_rows, split_rows_by_time, units_of
from feinschliff.data.tables import FaultList, Table, at
from feinschliff.data.unusable_rows import refuse_mostly_unusable
from feinschliff.errors import DataError
from feinschliff.results.data import ColumnsFound, Kind

__all__ = ["load_examples", "load_splits", "open_with_columns", "sha256_of_sources"]

FEWEST_ROWS = 4
MOST_HELD_OUT = (500, 200)
"""Test and validation rows of conversations and documents, where the person says nothing."""


def open_with_columns(
    sources: Sequence[str], config: DataConfig, needs_target: bool = True
) -> tuple[list[Table], ColumnsFound]:
    """Open the sources and find the columns in the first of them.

    Raises:
        DataError: see ``sources.open_tables`` and ``columns.find_columns``.
    """
    if not sources:
        raise DataError("no data was given", remedy="name a file: feinschliff tune tickets.csv")
    tables = open_tables(sources, config)
    sample = list(islice(read_tables(tables), SAMPLE_ROWS))
    if not sample:
        raise DataError("the file holds no rows", where=tables[0].name, remedy="give a file with rows")
    columns = columns_of(tables, sample, config, needs_target)
    check_table_columns(tables, columns)
    return tables, columns


def load_splits(config: DataConfig, seed: int) -> Splits:
    """Read the files of a run and give its training, validation and test rows.

    Rows without text or label are dropped; so are exact duplicates among the training rows (unless they are to be kept)
    and training rows that repeat a row of a given validation or test file: with the same words, or nearly the same and
    the same label. Rows of a validation file that repeat a test file likewise. Sets that are not given are split off.
    Rows with another part of the conversation of a held-out row are dropped too. Every dropped row is listed. Where it
    is asked for, personal data is replaced in all rows before anything else is done with them.

    Raises:
        DataError: files that cannot be read; conversations of which most cannot be used; too few rows; one class; a
            class with one row that would have to be on two sides; a label that only a validation or test file has; a
            validation file that repeats the test file whole.
    """
    tables, columns = open_with_columns(config.train, config)
    reader = reader_of(columns)
    pool = list(reader.read(read_tables(tables)))
    refuse_mostly_unusable(reader, config)
    said = [note for table in tables for note in table.announcements] + columns.announcements + reader.announcements()
    splits = Splits([], [], [], columns, [], reader.dropped, said)
    for name, sources in (("validation", config.validation), ("test", config.test)):
        if sources:
            examples, dropped, announcements = load_examples(sources, config, columns)
            splits.dropped += dropped
            splits.announcements += announcements
            if name == "validation":
                splits.validation = examples
            else:
                splits.test = examples
    if config.redact:
        pool = redact_splits(pool, splits)
    if config.duplicates == "drop":
        pool = _without_exact_duplicates(pool, splits)
    _check_classes(pool, splits, config)
    held_out, known = [*splits.validation, *splits.test], set(label_names(pool))
    if columns.kind == "spans":  # a rare type of entity may lack in the training rows: it is missed, not impossible
        splits.announcements += say_unknown_types(held_out, known)
    else:
        refuse_unknown_labels(held_out, known, "no training row has it")
    clusters = _clean_and_cluster(pool, splits, config)
    pool = splits.train
    _check_classes(pool, splits, config)
    if config.test and config.validation:
        splits.label_names = label_names(pool)
        return splits
    _split_pool(pool, clusters, splits, config, seed)
    return splits


def _without_exact_duplicates(pool: list[Example], splits: Splits) -> list[Example]:
    """Keep the first of the rows with equal texts and labels."""
    first: dict[tuple[object, ...], Example] = {}
    kept = []
    for example in pool:
        same = first.setdefault((example.content, target_of(example)), example)
        if same is example:
            kept.append(example)
        else:
            splits.dropped.append(dropped_row(example, f"exact duplicate of an earlier row: {_place(same)}"))
    if len(kept) < len(pool):
        splits.announcements.append(f"{len(pool) - len(kept):,} rows dropped: exact duplicates of earlier rows")
    return kept


def _place(example: Example) -> str:
    return at(example.place.file, example.place.line)


def _check_classes(pool: list[Example], splits: Splits, config: DataConfig) -> None:
    """Refuse rows from which nothing can be learned or judged.

    Raises:
        DataError: too few rows, one class, a column of values that hardly repeat, or classes with a single row.
    """
    where = ", ".join(config.train)
    counts = Counter(label for example in pool for label in example.labels)
    if len(pool) > 1 and splits.columns.kind == "multi_label" and not counts:
        raise DataError("no row has a label", where=where, remedy="check --target and --data.label-separator")
    if len(pool) > 1 and splits.columns.kind == "spans" and not counts:
        raise DataError("no row has a span", where=where, why="there is nothing to find", remedy="check --target")
    if len(pool) > 1 and splits.columns.kind == "answers" and not any(example.answers for example in pool):
        what = "no question has an answer"
        raise DataError(what, where=where, why="there is nothing to find", remedy="check --target")
    if len(pool) > 1 and splits.columns.kind == "single_label":
        _check_single_labels(pool, counts, splits.columns.target or "", config)
    if len(pool) > 1 and splits.columns.kind == "values":
        _check_values(pool, splits.columns.values, config)
    if len(pool) < FEWEST_ROWS:
        rows = "1 usable row" if len(pool) == 1 else f"{len(pool)} usable rows"
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in count_reasons(splits.dropped).items())
        classes = splits.columns.kind in ("single_label", "multi_label")
        needed = f"{'every class needs' if classes else 'there must be'} rows to train on and rows to test on"
        mend = "mend the rows that were dropped, or " if reasons else ""
        raise DataError(
            f"{rows}: too few to learn from and to judge",
            where=where,
            why=needed + (f"; dropped: {reasons}" if reasons else ""),
            remedy=f"{mend}give some dozens of rows{' a class' if classes else ''} at least",
        )


def _check_single_labels(pool: list[Example], counts: Counter[str], target: str, config: DataConfig) -> None:
    where = ", ".join(config.train)
    if len(counts) == 1:
        raise DataError(
            f"every row has the label {next(iter(counts))!r}: there is only one class",
            where=where,
            why="a classifier needs at least two",
            remedy="add rows of another class, or name another label column: --target COLUMN",
        )
    single = [label for label, count in counts.items() if count == 1]
    if len(single) > len(counts) / 2 and len(counts) > max(10, len(pool) / 4):
        raise DataError(
            f"column {target!r} has {len(counts):,} different values in {len(pool):,} rows",
            where=where,
            why="most occur once: this is not a column of classes",
            remedy="name the label column: --target COLUMN",
        )
    if single and not config.test:
        _refuse_single_rows(single, pool)


def _check_values(pool: list[Example], names: Sequence[str], config: DataConfig) -> None:
    for place, name in enumerate(names):
        if len({example.values[place] for example in pool if example.values[place] == example.values[place]}) < 2:
            raise DataError(
                f"column {name!r} holds one number in all rows, or none",
                where=", ".join(config.train),
                why="there is nothing to predict",
                remedy="name another column: --target COLUMN",
            )


def _refuse_single_rows(single: list[str], pool: list[Example]) -> None:
    places = {example.labels[0]: _place(example) for example in pool if example.labels}
    faults = FaultList()
    for label in single:
        faults.add(f"the class {label!r} has a single row", places[label],
                   "a row cannot be in the training set and in a held-out set",
                   "add rows of this class, give it another label, or remove it: feinschliff data clean "
                   "--min-rows-per-class 2")  # fmt: skip
    faults.raise_if_any()


def _clean_and_cluster(pool: list[Example], splits: Splits, config: DataConfig) -> Integers:
    """Drop training rows that repeat held-out ones, and given validation rows that repeat test rows.

    The training rows that are left go to ``splits.train``; returns their cluster numbers.

    Raises:
        DataError: every row of the validation file repeats a row of the test file.
    """
    together = [*pool, *splits.test, *splits.validation]
    begin_test, begin_validation = len(pool), len(pool) + len(splits.test)
    found = _near_duplicates(together, config)
    talks = conversation_units(together)
    rows = range(begin_validation, len(together))
    repeated = _repeated(rows, range(begin_test, begin_validation), together, found)
    repeated |= _continued(rows, range(begin_test, begin_validation), talks, repeated)
    kept = _without_repeated(_Repeats("validation", "test", rows, repeated), together, splits, config)
    if rows and not kept:
        raise _only_repeats(config, len(rows))
    splits.validation = [together[row] for row in kept]
    held_out = [*range(begin_test, begin_validation), *kept]
    repeated = _repeated(range(begin_test), held_out, together, found)
    repeated |= _continued(range(begin_test), held_out, talks, repeated)
    kept = _without_repeated(_Repeats("training", "held-out", range(begin_test), repeated), together, splits, config)
    splits.train = [pool[row] for row in kept]
    return found.clusters()[kept]


def _near_duplicates(examples: Sequence[Example], config: DataConfig) -> Duplicates:
    """Of texts or of images; rows of numbers are the same or not."""
    images = [example.image for example in examples if example.image is not None]
    if images:
        fingerprints = ImageFingerprints()
        fingerprints.add(images)
        return fingerprints.duplicates()
    return find_near_duplicates(
        (" \n ".join(example.content) for example in examples), config.near_duplicate_similarity
    )


class _Repeats(NamedTuple):
    """Rows of one set, and which of them repeat rows of another (see :func:`_repeated`)."""

    name: str
    other: str
    rows: range
    repeated: dict[int, tuple[str, int]]


def _repeated(
    rows: range, held_out: Sequence[int], together: Sequence[Example], found: Duplicates
) -> dict[int, tuple[str, int]]:
    """Row to how it repeats which held-out row: with the same words, or nearly the same ones and the same labels."""
    members: dict[int, list[int]] = defaultdict(list)
    for row in held_out:
        members[int(found.representative[row])].append(row)
    neighbours = found.neighbours() if members else {}
    repeated: dict[int, tuple[str, int]] = {}
    for row in rows:
        own = int(found.representative[row])
        near = (other for one in neighbours.get(own, []) for other in members.get(one, []))
        alike = (other for other in near if answer_of(together[other]) == answer_of(together[row]))
        if (twin := next(iter(members.get(own, [])), None)) is not None:
            repeated[row] = ("duplicate", twin)
        elif (twin := next(alike, None)) is not None:
            repeated[row] = ("near duplicate", twin)
    return repeated


def _continued(
    rows: range, held_out: Sequence[int], talks: Integers, repeated: Collection[int]
) -> dict[int, tuple[str, int]]:
    """The same for rows that are another part of the conversation of a held-out row."""
    members = {int(talks[row]): row for row in reversed(held_out)}
    return {
        row: ("another part of the conversation", members[int(talks[row])])
        for row in rows
        if int(talks[row]) in members and row not in repeated
    }


def _without_repeated(found: _Repeats, together: Sequence[Example], splits: Splits, config: DataConfig) -> list[int]:
    """The rows that stay; the others are listed. What is dropped, or kept as asked, is said."""
    if found.repeated and config.held_out_duplicates == "keep":
        said = f"{len(found.repeated):,} {found.name} rows repeat {found.other} rows and were kept, as asked"
        splits.announcements.append(said)
    if not found.repeated or config.held_out_duplicates == "keep":
        return list(found.rows)
    dropped = [
        dropped_row(together[row], f"{kind} of a {found.other} row: {_place(together[twin])}")
        for row, (kind, twin) in found.repeated.items()
    ]
    splits.dropped += dropped
    said = ", ".join(f"{count:,} {reason}" for reason, count in count_reasons(dropped).items())
    splits.announcements.append(f"{found.name} rows dropped that would give the {found.other} rows away: {said}")
    return [row for row in found.rows if row not in found.repeated]


def _only_repeats(config: DataConfig, num_rows: int) -> DataError:
    rows = "its only usable row stands" if num_rows == 1 else f"all {num_rows:,} usable rows stand"
    return DataError(
        "the validation file repeats the test file",
        where=", ".join(config.validation),
        why=f"{rows} in {', '.join(config.test)} too, exactly or nearly: what is chosen by them is chosen by the test",
        remedy="give other rows, or leave --validation out: then training rows are split off for it",
    )


def _split_pool(
    pool: list[Example],
    clusters: Integers,
    splits: Splits,
    config: DataConfig,
    seed: int,
) -> None:
    """Split off the sets that were not given."""
    parted = split_examples(pool, clusters, config, seed, splits.columns.kind)
    if not config.test:
        splits.test = [pool[row] for row in parted.test.tolist()]
    if not config.validation:
        splits.validation = [pool[row] for row in parted.validation.tolist()]
    splits.train = [pool[row] for row in parted.train.tolist()]
    splits.label_names = label_names(pool)
    splits.announcements += parted.announcements
    splits.announcements.append(
        f"{len(splits.train):,} training, {len(splits.validation):,} validation and {len(splits.test):,} test rows"
    )
    for name, rows in (("train", splits.train), ("test", splits.test)):
        missing = sorted(set(splits.label_names) - set(label_names(rows)))
        if missing:
            listed = ", ".join(repr(label) for label in missing[:5]) + (" ..." if len(missing) > 5 else "")
            splits.announcements.append(f"no {name} row of {listed}: its rows are few or cannot be parted")
    spared = config.validation or config.validation_fraction
    if not splits.test or (spared and not splits.validation) or not splits.train:
        what = "the rows cannot be parted into training, validation and test rows"
        raise DataError(what, where=", ".join(config.train),
                        why="too few rows that are independent of each other",
                        remedy="give more rows, or own files: --validation FILE --test FILE")  # fmt: skip


def split_examples(
    pool: list[Example], clusters: Integers, config: DataConfig, seed: int, kind: Kind = "single_label"
) -> SplitRows:
    """Part rows by the configuration: groups and duplicates whole, stratified or by time.

    Raises:
        DataError: a time that cannot be read.
    """
    groups = [example.group for example in pool]
    units = units_of(clusters, groups if any(groups) else None)
    told: list[str] = []
    if kind == "conversations":
        talks = conversation_units(pool)
        units, told = units_of(units, [str(talk) for talk in talks]), said_of_units(talks)
    if pool and pool[0].answers is not None:
        units = units_of(units, [example.texts[1] for example in pool])
    test, validation = held_out_fractions(len(pool), config, kind)
    if config.time:
        places = [_place(example) for example in pool]
        parted = split_rows_by_time([example.time for example in pool], places, units, test, validation, seed)
    else:
        spread = strata([example.values[0] for example in pool]) if pool and pool[0].values else None
        parted = split_rows(spread or [_stratum(example) for example in pool], units, test, validation, seed)
    return replace(parted, announcements=[*told, *parted.announcements])


def held_out_fractions(rows: int, config: DataConfig, kind: Kind) -> tuple[float, float]:
    """Shares of the rows for the test and the validation set, those of the configuration at most."""
    most_test, most_validation = MOST_HELD_OUT if kind in ("conversations", "documents") else (rows, rows)
    if config.held_out_rows is not None:
        most_test = most_validation = config.held_out_rows
    test = 0.0 if config.test else min(config.test_fraction, most_test / max(1, rows))
    validation = 0.0 if config.validation else min(config.validation_fraction, most_validation / max(1, rows))
    return test, validation


def _stratum(example: Example) -> tuple[str, ...]:
    """What sides are to have equal shares of: labels, or questions with and without an answer."""
    if example.answers is None:
        return example.labels
    return ("answer",) if example.answers else ("no answer",)
