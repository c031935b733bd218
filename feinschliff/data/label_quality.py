"""What is wrong with the labels of a set: spellings, balance, classes that are too small, labels the others contradict.

Knows no file format and no model: embeddings are made by a function that is handed in.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feinschliff.data.findings import MAX_SHOWN, Draft, label_counts, said_labels
from feinschliff.data.label_noise import suspected
from feinschliff.data.scan import Scan, Texts
from feinschliff.errors import DataError
from feinschliff.results.data import Severity

EMBEDDED_ROWS = 20_000
"""Label errors are searched for among at most so many rows, drawn by chance: memory and time stay bounded."""
FEWEST_JUDGED = 64
"""Of 32 sentences of SST-2, 8 were suspects: a model of so few rows is no judge."""
FEW_ROWS = 10
UNEVEN = 20
Embed = Callable[[list[Texts]], NDArray[Any]]


def spellings(raw_labels: Counter[str]) -> dict[str, str]:
    """Label as written to the most frequent spelling among those that differ in case or blanks only.

    Labels that are already written that way are left out.
    """
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for label in raw_labels:
        groups[" ".join(label.casefold().split())].append(label)
    changes: dict[str, str] = {}
    for group in groups.values():
        best = " ".join(max(group, key=lambda label: (raw_labels[label], label == label.strip(), label)).split())
        changes |= {label: best for label in group if label != best}
    return changes


def label_drafts(scanned: Scan, has_test_file: bool) -> Iterator[Draft]:
    """All that is wrong with the labels as such."""
    yield from _spelling(scanned)
    counts = label_counts(scanned, [0])
    if not counts:
        if len(scanned.set_of) and scanned.columns.kind in ("spans", "multi_label"):
            wanted = "span" if scanned.columns.kind == "spans" else "label"
            message = f"no row has a {wanted}: there is nothing to learn"
            yield Draft("no_label", "error", len(scanned.set_of), message, "name another column: --target COLUMN")
        return
    if len(counts) == 1 and scanned.columns.kind == "single_label":
        message = f"every row has the label {next(iter(counts))!r}"
        remedy = "add rows of another class, or name another column: --target COLUMN"
        yield Draft("one_class", "error", sum(counts.values()), message, remedy)
    yield from _balance(counts)
    if not has_test_file:
        yield from _single_rows(scanned, counts)
    yield from _small_classes(counts)
    yield from _unknown(scanned, counts)


def _spelling(scanned: Scan) -> Iterator[Draft]:
    changes = spellings(scanned.raw_labels)
    if changes:
        count = sum(scanned.raw_labels[label] for label in changes)
        listed = "; ".join(f"{label!r} for {best!r}" for label, best in sorted(changes.items())[:MAX_SHOWN])
        message = f"{count:,} labels differ from another one in case or blanks only: {listed}"
        remedy = "`feinschliff data clean` writes them all in the most frequent way"
        yield Draft("label_spelling", "warning", count, message, remedy)


def _balance(counts: dict[str, int]) -> Iterator[Draft]:
    largest, smallest = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    if counts[largest] >= UNEVEN * counts[smallest]:
        message = f"classes are uneven: {largest!r} has {counts[largest]:,} rows, {smallest!r} {counts[smallest]:,}"
        remedy = "judge by macro F1 rather than accuracy; collect more of the small ones"
        yield Draft("imbalance", "warning", len(counts), message, remedy)


def _single_rows(scanned: Scan, counts: dict[str, int]) -> Iterator[Draft]:
    single = {label for label, count in counts.items() if count == 1}
    if not single:
        return
    numbers = [index for index, labels in enumerate(scanned.label_sets) if single & set(labels)]
    rows = np.flatnonzero(np.isin(scanned.label_of, numbers) & (scanned.set_of == 0))[:MAX_SHOWN].tolist()
    message = f"{len(single):,} classes have a single row, which cannot be in the training and in the test set"
    remedy = "add rows, merge the class into another, or `feinschliff data clean --min-rows-per-class 2`"
    shown = tuple((row, said_labels(scanned, row)) for row in rows)
    severity: Severity = "error" if scanned.columns.kind == "single_label" else "warning"
    yield Draft("single_row_class", severity, len(single), message, remedy, shown)


def _small_classes(counts: dict[str, int]) -> Iterator[Draft]:
    few = [label for label, count in counts.items() if 1 < count < FEW_ROWS]
    if few:
        listed = ", ".join(repr(label) for label in few[:MAX_SHOWN]) + (" ..." if len(few) > MAX_SHOWN else "")
        message = f"{len(few):,} classes have fewer than {FEW_ROWS} rows: {listed}"
        yield Draft("small_class", "warning", len(few), message, "collect more rows of them")


def _unknown(scanned: Scan, counts: dict[str, int]) -> Iterator[Draft]:
    unknown = [index for index, labels in enumerate(scanned.label_sets) if not set(labels) <= set(counts)]
    rows = np.flatnonzero(np.isin(scanned.label_of, unknown) & (scanned.set_of > 0)).tolist()
    if rows:
        message = f"{len(rows):,} validation or test rows have a label that no training row has"
        shown = tuple((row, said_labels(scanned, row)) for row in rows[:MAX_SHOWN])
        missed = scanned.columns.kind == "spans"  # a run goes on, and counts them as missed
        severity: Severity = "warning" if missed else "error"
        yield Draft("unknown_label", severity, len(rows), message, "correct it, or add training rows with it", shown)


def label_error_drafts(scanned: Scan, embed: Embed, seed: int) -> Iterator[Draft]:
    """Labels of training rows that rows with similar texts contradict (see ``label_noise``).

    Raises:
        DataError: ``embed`` did not give one row of numbers a text.
    """
    if scanned.columns.kind == "multi_label":
        yield Draft("label_error", "info", 0, "label errors are not searched for where rows have several labels")
        return
    usable = np.flatnonzero(scanned.set_of == 0)
    rows = usable
    if len(usable) > EMBEDDED_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(usable, EMBEDDED_ROWS, replace=False))
    labels = [scanned.labels(row)[0] for row in rows.tolist()]
    if len(set(labels)) < 2:
        return
    if len(rows) < FEWEST_JUDGED:
        message = f"{len(rows)} rows are too few to judge labels by each other"
        yield Draft("label_error", "info", 0, message)
        return
    texts = scanned.texts(rows.tolist())
    embeddings = embed([texts[row] for row in rows.tolist()])
    if len(embeddings) != len(rows):
        raise DataError(f"{len(embeddings)} embeddings for {len(rows)} texts")
    found = suspected(embeddings, labels, sorted(set(labels)), seed=seed)
    among = "" if len(rows) == len(usable) else f" among {len(rows):,} rows drawn by chance"
    shown = tuple(
        (int(rows[one.row]), f"{one.given!r}, but {one.suggested!r} at {one.confidence:.2f}")
        for one in found[:MAX_SHOWN]
    )
    message = f"{len(found):,} labels look wrong{among}, judged by the rows most like them"
    remedy = "look at them, the surest first" if found else ""
    yield Draft("label_error", "warning" if found else "info", len(found), message, remedy, shown)
