"""The jsonl tracker: every event one line, at once, through a kill and a resume."""

import errno
import io
import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from feinschliff import registry
from feinschliff.engine.events import Announced, CheckpointSaved, Evaluated, Event, Progressed, RunEnded, StepEnded
from feinschliff.errors import ResourceError
from feinschliff.store.run_directory import RunDirectory
from feinschliff.trackers.jsonl import CONFIG, JsonlTracker, create

EVENTS: list[Event] = [
    Announced('a "quoted" line\nand ünïcode'),
    StepEnded(1, 2, 0.5, float("nan"), 1e-4, 32, 512, 312.0, 41.0),
    Evaluated(1, 0.5, float("inf"), "accuracy", 0.9, True),
    CheckpointSaved(1, "checkpoints/1"),
    RunEnded(2, 3.5),
]


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_event_is_one_line_with_its_fields_on_disk_at_once(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    tracker = create(CONFIG(), run)
    for number, event in enumerate(EVENTS, start=1):
        tracker.observe(event)
        assert len(read(run.events)) == number
    tracker.close()
    records = read(run.events)
    names = ["announced", "step_ended", "evaluated", "checkpoint_saved", "run_ended"]
    assert [record["event"] for record in records] == names
    assert records[0]["message"] == EVENTS[0].message  # type: ignore[union-attr]
    assert (records[1]["loss"], records[1]["rows"], records[2]["loss"]) == ("nan", 32, "inf")
    assert records[3]["path"] == "checkpoints/1"
    assert all(isinstance(record["time"], float) for record in records)


def test_a_resumed_run_appends_and_a_half_line_is_taken_off(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "events.jsonl"
    first = JsonlTracker(path)
    first.observe(EVENTS[0])
    first.close()
    path.write_bytes(path.read_bytes() + b'{"event": "step_en')
    second = JsonlTracker(path)
    second.observe(EVENTS[-1])
    second.close()
    assert [record["event"] for record in read(path)] == ["announced", "run_ended"]


def test_a_full_disk_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = JsonlTracker(tmp_path / "events.jsonl")

    class FullDisk(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tracker, "_file", FullDisk())
    with pytest.raises(ResourceError, match="no space left"):
        tracker.observe(EVENTS[0])


def test_events_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        EVENTS[0].message = "other"  # type: ignore[union-attr,misc]


def test_it_is_a_member_of_the_registry() -> None:
    assert registry.load("tracker", "jsonl").CONFIG is CONFIG


def test_rows_counted_for_the_eye_are_not_kept(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    tracker = create(CONFIG(), run)
    tracker.observe(Progressed("embedding", 10, 20))
    tracker.observe(Announced("a choice"))
    tracker.close()
    assert [record["event"] for record in read(run.events)] == ["announced"]
