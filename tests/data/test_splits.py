"""Splits: stratified, units whole, newest rows tested, the same in every process."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feinschliff.data.splits import SplitRows, split_rows, split_rows_by_time, units_of
from feinschliff.errors import DataError

LABELS = [("a",)] * 600 + [("b",)] * 300 + [("c",)] * 95 + [("d",)] * 3 + [("e",)] * 2


def sides(split: SplitRows, num_rows: int) -> list[str]:
    names = [""] * num_rows
    for name in ("train", "validation", "test"):
        for row in getattr(split, name).tolist():
            assert names[row] == ""
            names[row] = name
    assert "" not in names
    return names


def test_stratified() -> None:
    split = split_rows(LABELS, np.arange(1000), 0.2, 0.1, seed=1)
    names = sides(split, 1000)
    for label, count in Counter(LABELS).items():
        rows = [name for name, one in zip(names, LABELS, strict=True) if one == label]
        assert abs(rows.count("test") - 0.2 * count) <= 1
        assert rows.count("train") >= 1
    assert {names[row] for row in (995, 996, 997)} == {"train", "validation", "test"}
    assert {names[row] for row in (998, 999)} == {"train", "test"}


def test_several_labels_are_stratified() -> None:
    draw = np.random.default_rng(0)
    labels = [
        tuple(name for name, share in (("x", 0.5), ("y", 0.1), ("z", 0.02)) if draw.random() < share)
        for _ in range(3000)
    ]
    split = split_rows(labels, np.arange(3000), 0.2, 0.1, seed=1)
    for label in "xyz":
        total = sum(label in one for one in labels)
        assert sum(label in labels[row] for row in split.test.tolist()) == pytest.approx(0.2 * total, abs=3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 25)), min_size=8, max_size=120), st.integers(0, 5))
def test_units_stay_whole(rows: list[tuple[int, int]], seed: int) -> None:
    labels = [(str(label),) for label, _ in rows]
    units = np.array([unit for _, unit in rows])
    names = sides(split_rows(labels, units, 0.2, 0.1, seed), len(rows))
    for unit in set(units.tolist()):
        assert len({name for name, one in zip(names, units.tolist(), strict=True) if one == unit}) == 1


def test_groups_and_clusters_join() -> None:
    units = units_of(np.array([0, 1, 1, 2, 3, 4]), ["p", "p", "q", None, "q", None])
    assert units[0] == units[1] == units[2] == units[4]
    assert len(set(units.tolist())) == 3


def test_shares_with_groups() -> None:
    units = np.arange(2000) // 7
    split = split_rows([(str(row % 2),) for row in range(2000)], units, 0.2, 0.1, seed=0)
    assert len(split.test) == pytest.approx(400, abs=20)
    assert len(split.validation) == pytest.approx(200, abs=20)
    assert any("kept on one side" in note for note in split.announcements)


def test_newest_are_tested() -> None:
    times = [f"2024-01-{day:02d}" for day in range(30, 0, -1)]
    split = split_rows_by_time(times, [""] * 30, np.arange(30), 0.2, 0.1, seed=0)
    assert split.test.tolist() == [0, 1, 2, 3, 4, 5]
    assert split.validation.tolist() == [6, 7, 8]
    numbers = split_rows_by_time([str(n) for n in (9, 10, 100, 2)], [""] * 4, np.arange(4), 0.25, 0.25, seed=0)
    assert (numbers.test.tolist(), numbers.validation.tolist()) == ([2], [1])


def test_wrong_times_are_told() -> None:
    with pytest.raises(DataError) as caught:
        split_rows_by_time(["2024-01-01", "soon", None], ["f:2", "f:3", "f:4"], np.arange(3), 0.3, 0.3, seed=0)
    assert [fault.where for fault in caught.value.faults] == ["f:3", "f:4"]


def test_another_seed_another_split() -> None:
    one, other = (split_rows(LABELS, np.arange(1000), 0.2, 0.1, seed=seed) for seed in (1, 2))
    assert one.test.tolist() != other.test.tolist()


def test_the_same_in_every_process() -> None:
    code = (
        "import numpy as np, hashlib\n"
        "from feinschliff.data.splits import split_rows\n"
        "labels = [(str(row % 7), str(row % 3)) for row in range(500)]\n"
        "split = split_rows(labels, np.arange(500) // 2, 0.2, 0.1, seed=5)\n"
        "print(hashlib.sha256(split.test.astype('<i8').tobytes()).hexdigest())\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    labels = [(str(row % 7), str(row % 3)) for row in range(500)]
    here = split_rows(labels, np.arange(500) // 2, 0.2, 0.1, seed=5)
    assert outputs == {hashlib.sha256(here.test.astype("<i8").tobytes()).hexdigest()}
