"""What is wrong or worth knowing in a set of labelled texts. Knows no file format and no model: those are handed in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from feinschliff.config.data import DataConfig
from feinschliff.data.answer_quality import answer_drafts
from feinschliff.data.answer_texts import answer_findings
from feinschliff.data.findings import MAX_SHOWN, Draft, at_row, finished, gravest_first, label_counts, said_labels
from feinschliff.data.label_quality import Embed, label_drafts, label_error_drafts
from feinschliff.data.load import FEWEST_ROWS
from feinschliff.data.near_duplicates import Duplicates
from feinschliff.data.personal_data import said
from feinschliff.data.rows_to_examples import one_reason
from feinschliff.data.scan import LARGE_CELL_CHARACTERS, SETS, CountTokens, Scan, scan
from feinschliff.data.sources import sha256_of_sources
from feinschliff.data.unusable_rows import are_too_many
from feinschliff.data.value_quality import value_drafts
from feinschliff.results.data import DataReport, Finding, LengthSummary

UNLABELLED = ("values", "answers", "pairs", "texts", "conversations", "documents")
"""Kinds of rows without labels to count."""
WRITTEN = ("texts", "conversations", "documents")
"""Kinds of rows that are learned to be written: there is more than one right answer."""
_PART = "another part of the conversation of"
_IN_WINDOWS = "read in windows"
_LONG_ROWS = {"spans": _IN_WINDOWS, "answers": _IN_WINDOWS, "documents": _IN_WINDOWS, "conversations": "dropped"}
_LIMITS_TOKENS = (32, 64, 128, 256, 512, 1024, 2048)


@dataclass(frozen=True, slots=True)
class ModelHooks:
    """What a model can add to a check; what is None is left out of the report."""

    count_tokens: CountTokens | None = None
    limit_tokens: int | None = None
    """Longer rows would not be learned as they are."""
    embed: Embed | None = None
    """Rows, likewise, to [rows, width] frozen embeddings, for suspected label errors."""
    note: str = ""
    """Which model was asked, or why none was."""
    long_rows: str = ""
    """What would become of longer rows; empty: what becomes of rows of their kind, see ``_LONG_ROWS``."""


def check(config: DataConfig, hooks: ModelHooks | None = None, seed: int = 0) -> DataReport:
    """Check the files of a configuration, streamed in two passes; a third one where there is ``embed``, or answers.

    Raises:
        DataError: files that cannot be read, or columns that are not found.
    """
    started = time.monotonic()
    hooks = hooks or ModelHooks()
    scanned = scan(config, hooks.count_tokens)
    found = scanned.fingerprints.duplicates()
    drafts = [
        *_too_few(scanned),
        *_mostly_unusable(scanned),
        *_unusable(scanned),
        *_large_cells(scanned),
        *_exact_duplicates(scanned),
        *(() if scanned.columns.kind == "answers" else _near_duplicates(scanned, found)),
        *(() if scanned.columns.kind in WRITTEN else _conflicts(scanned, found)),
        *_overlaps(scanned, found),
        *_shared_beginnings(scanned),
        *_target_drafts(scanned, bool(config.test)),
    ]
    announcements = [note for tables in scanned.tables for table in tables for note in table.announcements]
    announcements += [*scanned.columns.announcements, *([hooks.note] if hooks.note else [])]
    lengths = None
    if scanned.num_tokens is not None and scanned.num_tokens.any():
        known = scanned.num_tokens[scanned.num_tokens > 0]
        lengths = summarise_lengths(known, hooks.limit_tokens or int(known.max()))
        fate = hooks.long_rows or _LONG_ROWS.get(scanned.columns.kind, "cut")
        if fate != _IN_WINDOWS:  # nothing is lost
            drafts += _too_long(scanned, scanned.num_tokens, lengths.limit, fate)
    if hooks.embed is not None and scanned.columns.kind in ("single_label", "multi_label"):
        drafts += label_error_drafts(scanned, hooks.embed, seed)
    return DataReport(
        files=[table.name for tables in scanned.tables for table in tables],
        rows=scanned.num_rows_read,
        columns=scanned.columns.model_copy(update={"announcements": announcements}),
        label_counts={} if scanned.columns.kind in UNLABELLED else label_counts(scanned, range(len(SETS))),
        lengths=lengths,
        findings=gravest_first([*finished(scanned, drafts), *_of_texts(scanned)]),
        seconds=time.monotonic() - started,
        sha256=sha256_of_sources([*config.train, *config.validation, *config.test]),
    )


def _of_texts(scanned: Scan) -> Iterator[Finding]:
    """What is said of answers in training rows, which are read again, and of personal data in any row."""
    if scanned.columns.kind == "conversations":
        yield from answer_findings(islice(scanned.examples(), int((scanned.set_of == 0).sum())))
    yield from scanned.personal.findings()
    if scanned.redacted:
        message = f"personal data is replaced, as asked: {said(scanned.redacted)}"
        yield Finding(kind="personal_data", severity="info", count=scanned.redacted.total(), message=message)


def _shared_beginnings(scanned: Scan) -> Iterator[Draft]:
    """Training rows that begin as another training row's conversation does, or go on from there."""
    train = np.flatnonzero(scanned.set_of == 0)
    units = scanned.beginnings.units()[train]
    _, first, inverse = np.unique(units, return_index=True, return_inverse=True)
    same = scanned.text_hash[train] == scanned.text_hash[train[first[inverse]]]  # mere duplicates are told elsewhere
    rows = np.flatnonzero((np.arange(len(train)) != first[inverse]) & ~same)
    if len(rows):
        talks = len(np.unique(inverse[rows]))
        shown = tuple(
            (int(train[row]), f"begins as {at_row(scanned, int(train[first[inverse[row]]]))} does")
            for row in rows[:MAX_SHOWN].tolist()
        )
        message = f"{len(rows):,} rows begin as another row does: {talks:,} conversations that grow or branch"
        remedy = "what they share is learned in each; keep the longest, or learn last answers: --task.loss-on last"
        yield Draft("shared_beginning", "info", len(rows), message, remedy, shown)


def _target_drafts(scanned: Scan, has_test: bool) -> Iterator[Draft]:
    """What is wrong with labels, numbers or answers as such. Questions of one text are alike by nature."""
    if scanned.columns.kind == "answers":
        return answer_drafts(scanned)
    if scanned.columns.kind in ("pairs", *WRITTEN):
        return iter(())
    return value_drafts(scanned) if scanned.columns.values else label_drafts(scanned, has_test)


def _too_few(scanned: Scan) -> Iterator[Draft]:
    usable = int((scanned.set_of == 0).sum())
    if usable < FEWEST_ROWS:
        remedy = "mend the rows that are left out, or give some dozens more"
        message = f"{usable:,} usable training rows: too few to learn from and to judge"
        yield Draft("too_few_rows", "error", usable, message, remedy)


def _mostly_unusable(scanned: Scan) -> Iterator[Draft]:
    count = scanned.num_unusable_training
    num_rows = count + int((scanned.set_of == 0).sum())
    if are_too_many(count, num_rows, scanned.columns.kind):
        message = f"{count:,} of {num_rows:,} training rows cannot be used: more than half, so a run is refused"
        remedy = "mend them; if the other rows are what you mean, `feinschliff data clean` writes a file of them"
        yield Draft("unusable", "error", count, message, remedy)


def _unusable(scanned: Scan) -> Iterator[Draft]:
    for (_, says), rows in scanned.unusable.items():
        reason = one_reason([row.note for row in rows.examples])
        empty = "empty" if reason.startswith("no text") else "missing_label"
        kind = "unusable" if scanned.columns.kind == "conversations" else "nan_cells" if says else empty
        message = f"{rows.count:,} rows: {reason}; a run drops them"
        remedy = "fill them in, or leave it to the run"
        yield Draft(kind, "warning", rows.count, message, remedy, ready=tuple(rows.examples[:MAX_SHOWN]))


def _large_cells(scanned: Scan) -> Iterator[Draft]:
    large = scanned.large_cells
    if large.count:
        message = f"{large.count:,} cells hold more than {LARGE_CELL_CHARACTERS:,} characters"
        remedy = "look whether a quote was never closed; a model reads the beginning only"
        yield Draft("cell_size", "warning", large.count, message, remedy, ready=tuple(large.examples[:MAX_SHOWN]))


def _exact_duplicates(scanned: Scan) -> Iterator[Draft]:
    """Rows with text and labels of an earlier row of the same set."""
    keys = np.empty(len(scanned.set_of), dtype=[("text", "u8"), ("label", "i4"), ("set", "i1")])
    keys["text"], keys["label"], keys["set"] = scanned.text_hash, scanned.label_of, scanned.set_of
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    original = first[inverse]
    rows = np.flatnonzero(original != np.arange(len(original)))
    if len(rows):
        shown = tuple((row, f"same as {at_row(scanned, int(original[row]))}") for row in rows[:MAX_SHOWN].tolist())
        message = f"{len(rows):,} rows repeat an earlier row exactly"
        remedy = "a run keeps the first of them; `feinschliff data clean` writes a file without them"
        yield Draft("duplicate", "warning", len(rows), message, remedy, shown)


def _near_duplicates(scanned: Scan, found: Duplicates) -> Iterator[Draft]:
    """Rows like an earlier one of the same set (equal words, or nearly), but not with the same text."""
    first = found.representative
    like = (first != np.arange(len(first))) & (scanned.text_hash != scanned.text_hash[first])
    like &= scanned.set_of == scanned.set_of[first]
    notes = {row: f"same words as {at_row(scanned, int(first[row]))}" for row in np.flatnonzero(like).tolist()}
    inside = scanned.set_of[found.first] == scanned.set_of[found.second]
    pairs = zip(found.first[inside].tolist(), found.second[inside].tolist(), found.similarity[inside], strict=True)
    for one, other, value in pairs:
        notes.setdefault(other, f"{value:.0%} of the words of {at_row(scanned, one)}")
    if notes:
        shown = tuple((row, notes[row]) for row in sorted(notes)[:MAX_SHOWN])
        message = f"{len(notes):,} rows are nearly the same as an earlier row"
        remedy = "a split keeps them on one side, so that the test set stays honest"
        yield Draft("near_duplicate", "info", len(notes), message, remedy, shown)
    if found.num_full_buckets:
        message = (
            f"{found.num_full_buckets:,} phrases stand in so many rows that only neighbouring rows were compared by "
            "them; some near duplicates may be missed"
        )
        yield Draft("near_duplicate_search", "info", found.num_full_buckets, message)


def _conflicts(scanned: Scan, found: Duplicates) -> Iterator[Draft]:
    first = found.representative
    rows = np.flatnonzero(scanned.label_of != scanned.label_of[first])
    if len(rows):
        shown = tuple(
            (row, f"{said_labels(scanned, row)} here, {said_labels(scanned, one)} in {at_row(scanned, one)}")
            for row, one in zip(rows[:MAX_SHOWN].tolist(), first[rows[:MAX_SHOWN]].tolist(), strict=True)
        )
        message = f"{len(rows):,} rows have the text of an earlier row but another label"
        yield Draft("conflicting_labels", "warning", len(rows), message, "decide which label is right", shown)


def _overlaps(scanned: Scan, found: Duplicates) -> Iterator[Draft]:
    """Training rows that stand, or nearly stand, in a given validation or test file; validation rows in a test file.

    So do those that hold another part of a conversation.
    """
    neighbours = found.neighbours() if (scanned.set_of > 0).any() else {}
    talks = scanned.beginnings.units()
    for repeating, number in ((0, 1), (0, 2), (1, 2)):
        held_out: dict[int, int] = {}
        for row in np.flatnonzero(scanned.set_of == number).tolist():
            held_out.setdefault(int(found.representative[row]), row)
        parts = {int(talks[row]): row for row in held_out.values()}
        notes: list[tuple[int, str]] = []
        for row in np.flatnonzero(scanned.set_of == repeating).tolist() if held_out else []:
            own = int(found.representative[row])
            near = next((held_out[other] for other in neighbours.get(own, []) if other in held_out), None)
            twin = held_out.get(own, near)
            kind = "same words as" if own in held_out else "nearly the same as"
            if twin is None and int(talks[row]) in parts:
                kind, twin = _PART, parts[int(talks[row])]
            if twin is not None:
                notes.append((row, f"{kind} {at_row(scanned, twin)}"))
        if notes:
            side = ("training", "validation")[repeating]
            message = f"{len(notes):,} {side} rows stand in the {SETS[number]} file too, exactly or nearly"
            message += ", or continue there" * any(note.startswith(_PART) for _, note in notes)
            remedy = f"a run drops those with the same words or the same label from the {side} rows"
            yield Draft("overlap", "warning", len(notes), message, remedy, tuple(notes[:MAX_SHOWN]))


def summarise_lengths(num_tokens: NDArray[np.int32], limit: int) -> LengthSummary:
    """Lengths in tokens, and the share of rows that each usual limit would cut."""
    limits = sorted({limit, *(usual for usual in _LIMITS_TOKENS if usual < num_tokens.max())})
    median, p95, p99 = np.percentile(num_tokens, [50, 95, 99]).tolist()
    return LengthSummary(
        mean=float(num_tokens.mean()),
        median=median,
        p95=p95,
        p99=p99,
        longest=int(num_tokens.max()),
        limit=limit,
        cut_at={usual: float((num_tokens > usual).mean()) for usual in limits},
    )


def _too_long(scanned: Scan, num_tokens: NDArray[np.int32], limit: int, what: str) -> Iterator[Draft]:
    rows = np.flatnonzero(num_tokens > limit)
    if len(rows):
        longest = rows[np.argsort(-num_tokens[rows], kind="stable")][:MAX_SHOWN].tolist()
        message = f"{len(rows):,} rows are longer than {limit} tokens and would be {what}"
        remedy = "set --model.max-length-tokens higher if the model takes it, or shorten them"
        remedy += ", or read them in windows: --task.long-rows window" * (scanned.columns.kind == "conversations")
        shown = tuple((row, f"{num_tokens[row]:,} tokens") for row in longest)
        yield Draft("length", "warning", len(rows), message, remedy, shown)
