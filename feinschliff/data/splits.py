"""Which rows train, validate and test. Sees labels, times and units that must not be parted; knows no text."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feinschliff.data.near_duplicates import components, mix
from feinschliff.errors import DataError, Fault

Integers = NDArray[np.int64]
TRAIN, VALIDATION, TEST = 0, 1, 2


@dataclass(frozen=True, slots=True)
class SplitRows:
    """Row numbers of each side, ascending, and what was kept together."""

    train: Integers
    validation: Integers
    test: Integers
    announcements: list[str]


def units_of(clusters: Integers, groups: Sequence[str | None] | None) -> Integers:
    """[rows] number of the unit each row belongs to: rows of one duplicate cluster or of one group cannot be parted.

    A row without a group belongs to its cluster alone.
    """
    if groups is None:
        return clusters

    first_of: dict[str, int] = {}
    anchors = np.array([first_of.setdefault(name, row) if name else row for row, name in enumerate(groups)])
    _, first_rows, inverse = np.unique(clusters, return_index=True, return_inverse=True)
    rows = np.arange(len(clusters))
    return components(anchors.astype(np.int64), rows, first_rows[inverse].astype(np.int64))


def split_rows(
    labels: Sequence[tuple[str, ...]],
    units: Integers,
    test_fraction: float,
    validation_fraction: float,
    seed: int,
) -> SplitRows:
    """Stratified split: each label has about the same share on every side, units stay whole.

    Iterative stratification (Sechidis et al. 2011): from the rarest label on, each unit goes where that label is missed
    most. A label with two rows has one in train and one in test (validation, where no test set is asked for); one with
    three is on all sides, unless its rows are one unit. The same rows and seed give the same split on any machine.

    Args:
        labels: of each row; a row may have several or none.
        units: [rows] unit numbers (see :func:`units_of`).
        test_fraction: share of the rows, 0 for none; likewise ``validation_fraction``.
    """
    num_rows = len(labels)
    members = _members(units)
    shares = np.array([1.0 - test_fraction - validation_fraction, validation_fraction, test_fraction])
    names = sorted({label for row in labels for label in row})
    number = {name: index for index, name in enumerate(names)}
    need = np.array([_targets(count, shares) for count in _counts(labels, number)]).reshape(-1, 3)
    room = _targets(num_rows, shares)
    side = np.full(num_rows, -1, dtype=np.int64)
    units_with: list[list[int]] = [[] for _ in names]
    for unit, rows in enumerate(members):
        for label in {label for row in rows for label in labels[row]}:
            units_with[number[label]].append(unit)
    rank = _shuffled_rank(len(members), seed)
    rarest_first = sorted(range(len(names)), key=lambda index: (need[index].sum(), index))
    for label_index in [*rarest_first, None]:
        waiting = range(len(members)) if label_index is None else units_with[label_index]
        for unit in sorted(waiting, key=lambda unit: (-len(members[unit]), rank[unit])):
            rows = members[unit]
            if side[rows[0]] >= 0:
                continue
            wanted = room if label_index is None else need[label_index]
            chosen = max((TEST, VALIDATION, TRAIN), key=lambda s: (wanted[s], room[s]) if shares[s] > 0 else (-np.inf,))
            side[rows] = chosen
            room[chosen] -= len(rows)
            for row in rows:
                for label in labels[row]:
                    need[number[label], chosen] -= 1
    return _sides(side, members, [])


def split_rows_by_time(
    times: Sequence[str | None],
    places: Sequence[str],
    units: Integers,
    test_fraction: float,
    validation_fraction: float,
    seed: int,
) -> SplitRows:
    """The newest rows are the test set, those before them validation. A unit counts as old as its newest row.

    Raises:
        DataError: a time is missing or neither a number nor an ISO date; all such rows, by their places.
    """
    seconds = _seconds(times, places)
    members = _members(units)
    newest = np.array([seconds[rows].max() for rows in members])
    order = np.lexsort((_shuffled_rank(len(members), seed), -newest))
    side = np.full(len(times), TRAIN, dtype=np.int64)
    left = {TEST: round(test_fraction * len(times)), VALIDATION: round(validation_fraction * len(times))}
    for unit in order.tolist():
        chosen = next((one for one in (TEST, VALIDATION) if left[one] > 0), None)
        if chosen is None:
            break
        side[members[unit]] = chosen
        left[chosen] -= len(members[unit])
    moved = sum(1 for rows in members if len(rows) > 1 and seconds[rows].min() < seconds[rows].max())
    said = ["split by time: the newest rows are the test set"]
    if moved:
        said.append(
            f"{moved:,} groups or clusters of duplicates span several times; each counts as new as its newest row"
        )
    return _sides(side, members, said)


def _members(units: Integers) -> list[Integers]:
    order = np.argsort(units, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(units[order])) + 1) if len(units) else []


def _counts(labels: Sequence[tuple[str, ...]], number: dict[str, int]) -> Integers:
    flat = [number[label] for row in labels for label in row]
    return np.bincount(np.array(flat, dtype=np.int64), minlength=len(number))


def _targets(count: int, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows wanted on each side: rounded shares, at least one where the rows suffice; test before validation."""
    wanted = np.zeros(3)
    for side, needed in ((TEST, 2), (VALIDATION, 3 if shares[TEST] > 0 else 2)):
        if shares[side] > 0:
            wanted[side] = max(round(shares[side] * count), int(count >= needed))
    wanted[TRAIN] = count - wanted.sum()
    return wanted


def _shuffled_rank(count: int, seed: int) -> Integers:
    """[count] a random order that is the same on every machine (SplitMix64 of position and seed)."""

    hashes = mix(np.arange(count, dtype=np.uint64) + mix(np.array([seed % 2**64], dtype=np.uint64)))
    rank = np.empty(count, dtype=np.int64)
    rank[np.argsort(hashes, kind="stable")] = np.arange(count)
    return rank


def _sides(side: Integers, members: list[Integers], said: list[str]) -> SplitRows:
    together = [rows for rows in members if len(rows) > 1]
    if together:
        num_rows = sum(map(len, together))
        said.append(
            f"{num_rows:,} rows in {len(together):,} clusters of duplicates or groups are kept on one side each"
        )
        largest = max(map(len, together))
        if largest > len(side) / 10:
            said.append(f"the largest of them holds {largest:,} of {len(side):,} rows: the shares may be missed")
    train, validation, test = (np.flatnonzero(side == wanted) for wanted in (TRAIN, VALIDATION, TEST))
    return SplitRows(train, validation, test, said)


def _seconds(times: Sequence[str | None], places: Sequence[str]) -> NDArray[np.float64]:
    """[rows] every time as a number: all as numbers if they are, else as ISO dates (without a zone: UTC)."""
    numbers = [_number(time) for time in times]
    parsed = numbers if all(value is not None for value in numbers) else [_date(time) for time in times]
    wrong = [row for row, value in enumerate(parsed) if value is None]
    if wrong:
        remedy = "write ISO dates (2026-11-21, 2026-11-21T08:30:00) or numbers, or leave out --time"
        faults = [Fault(f"{times[row]!r} is not a time", places[row], None, remedy) for row in wrong[:20]]
        raise DataError(faults + ([Fault(f"... and {len(wrong) - 20:,} more")] if len(wrong) > 20 else []))
    return np.array(parsed, dtype=np.float64)


def _number(time: str | None) -> float | None:
    try:
        return float(time) if time else None
    except ValueError:
        return None


def _date(time: str | None) -> float | None:
    try:
        parsed = datetime.datetime.fromisoformat(time) if time else None
    except ValueError:
        return None
    if parsed is not None and parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=datetime.UTC)
    return parsed.timestamp() if parsed else None
