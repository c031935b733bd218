"""Findings while they are being made: rows are numbers, their texts are read at the end, all at once. Knows no kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from feinschliff.data.scan import Scan, joined
from feinschliff.results.data import Finding, RowRef, Severity

MAX_SHOWN = 10
_SHOWN_CHARACTERS = 120


@dataclass(slots=True)
class Draft:
    """A finding without the texts of its rows."""

    kind: str
    severity: Severity
    count: int
    message: str
    remedy: str = ""
    rows: tuple[tuple[int, str], ...] = ()
    """Rows to show, each with a note."""
    ready: tuple[RowRef, ...] = ()
    """Rows to show that were kept while reading."""


def finished(scanned: Scan, drafts: Iterable[Draft]) -> list[Finding]:
    """The findings, gravest first, with the texts of the rows they show."""
    drafts = list(drafts)
    texts = scanned.texts({row for draft in drafts for row, _ in draft.rows})
    findings = []
    for draft in drafts:
        shown = list(draft.ready)
        for row, note in draft.rows:
            file, line = scanned.place(row)
            shown.append(RowRef(file=file, line=line, text=joined(texts[row])[:_SHOWN_CHARACTERS], note=note))
        findings.append(
            Finding(
                kind=draft.kind,
                severity=draft.severity,
                count=draft.count,
                message=draft.message,
                remedy=draft.remedy,
                examples=shown,
            )
        )
    return gravest_first(findings)


def gravest_first(findings: Iterable[Finding]) -> list[Finding]:
    """Errors, warnings, facts; each in the order given."""
    order = {"error": 0, "warning": 1, "info": 2}
    return sorted(findings, key=lambda finding: order[finding.severity])


def at_row(scanned: Scan, row: int) -> str:
    """``file:line`` of a row."""
    file, line = scanned.place(row)
    return f"{file}:{line}"


def said_labels(scanned: Scan, row: int) -> str:
    """The labels of a row, quoted."""
    return ", ".join(repr(label) for label in scanned.labels(row)) or "no label"


def label_counts(scanned: Scan, sets: Iterable[int]) -> dict[str, int]:
    """Label to number of usable rows in these sets, the most frequent first."""
    inside = np.isin(scanned.set_of, list(sets))
    numbers = np.bincount(scanned.label_of[inside], minlength=len(scanned.label_sets))
    counts: dict[str, int] = {}
    for labels, count in zip(scanned.label_sets, numbers.tolist(), strict=True):
        for label in labels:
            counts[label] = counts.get(label, 0) + count
    return {label: counts[label] for label in sorted(counts, key=lambda name: (-counts[name], name)) if counts[label]}
