"""What is wrong with the numbers to be predicted: all the same, or some far from all others. Knows no file format."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from feinschliff.data.findings import MAX_SHOWN, Draft
from feinschliff.data.scan import Scan

FAR = 6.0
"""Interquartile ranges beyond the quartiles from which a number counts as far off."""


def value_drafts(scanned: Scan) -> Iterator[Draft]:
    """All that is wrong with the numbers as such, column by column; training rows only."""
    rows = np.flatnonzero(scanned.set_of == 0)
    known = np.array([[float(value) for value in row] for row in scanned.label_sets], dtype=np.float64)
    for place, name in enumerate(scanned.columns.values):
        values = known[scanned.label_of[rows], place]
        present = values[~np.isnan(values)]
        if len(np.unique(present)) < 2:
            yield Draft("one_value", "error", len(rows), f"column {name!r} holds one number in all rows, or none",
                        "name another column: --target COLUMN")  # fmt: skip
            continue
        low, high = np.quantile(present, [0.25, 0.75])
        reach = FAR * max(high - low, 1e-12)
        far = rows[(values < low - reach) | (values > high + reach)] if high > low else rows[:0]
        if len(far):
            shown = tuple((row, f"{known[scanned.label_of[row], place]:g}") for row in far[:MAX_SHOWN].tolist())
            message = (
                f"{len(far):,} numbers of column {name!r} are far from all others "
                f"(half of them lie between {low:g} and {high:g})"
            )
            yield Draft("outlier", "warning", len(far), message, "look whether they are right; they pull hard", shown)
        missing = int(np.isnan(values).sum())
        if missing:
            message = f"{missing:,} rows lack a number in column {name!r}; the others of the row are used"
            yield Draft("missing_value", "info", missing, message)
