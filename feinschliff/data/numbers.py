"""Cells that hold numbers to be predicted. Knows no file format and no columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from feinschliff.data.tables import Cell

FEWEST_DISTINCT = 10
"""Fewer distinct numbers are taken for classes, even with fractions."""
STRATA = 10
LARGEST = 1e30
"""Numbers beyond it are no amounts, and their squares no numbers."""


def number(cell: Cell) -> float | None:
    """A number up to ``LARGEST``, or None: with a point, as programs write it."""
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return None
    try:
        found = float(cell)
    except ValueError:
        return None
    return found if abs(found) <= LARGEST else None


def are_measurements(cells: Iterable[Cell]) -> bool:
    """Whether cells hold numbers with fractions, of many different values: amounts and scores, not classes."""
    found = [number(cell) for cell in cells]
    known = [value for value in found if value is not None]
    if len(known) < 0.98 * len(found) or len(set(known)) < FEWEST_DISTINCT:
        return False
    return any(value != int(value) for value in known)


def strata(values: Sequence[float]) -> list[tuple[str, ...]]:
    """Equally many rows each, by size: what a split spreads evenly. A missing number has a stratum of its own."""
    known = sorted(value for value in values if value == value)
    borders = [known[len(known) * part // STRATA] for part in range(1, STRATA)] if known else []
    return [(str(sum(value >= border for border in borders)),) if value == value else ("-",) for value in values]
