"""The console tracker: a bar on a terminal, sparse plain lines elsewhere."""

import io
import re
from collections.abc import Iterator

import pytest

from feinschliff.engine.events import Announced, CheckpointSaved, Evaluated, Progressed, RunEnded, StepEnded
from feinschliff.trackers.console import CONFIG, ConsoleTracker


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def step(number: int, total: int = 1000) -> StepEnded:
    return StepEnded(number, total, number / 100, 0.5, 1e-4, 32, 512, 312.0, 41.0)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def lines_of(stream: io.StringIO) -> list[str]:
    return [line for line in stream.getvalue().splitlines() if line.startswith("step")]


def test_a_pipe_gets_a_line_at_each_tenth_and_none_within_ten_seconds() -> None:
    stream, now = io.StringIO(), [0.0]
    tracker = ConsoleTracker(stream, clock=lambda: now[0])
    for number in range(1, 1001):
        now[0] += 0.3  # the run takes five minutes: a tenth is 30 seconds
        tracker.observe(step(number))
    assert [int(line.split("/")[0].removeprefix("step ").replace(",", "")) for line in lines_of(stream)] == [
        1, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000,
    ]  # fmt: skip
    assert "\x1b" not in stream.getvalue()


def test_a_fast_run_says_little_and_a_slow_one_gives_a_sign_every_minute() -> None:
    for seconds_a_step, expected in ((0.001, 1), (60.0, 1000)):
        stream, now = io.StringIO(), [0.0]
        tracker = ConsoleTracker(stream, clock=lambda now=now: now[0])  # type: ignore[misc]
        for number in range(1, 1001):
            now[0] += seconds_a_step
            tracker.observe(step(number))
        assert len(lines_of(stream)) == expected


def test_a_line_says_where_the_run_stands() -> None:
    stream = io.StringIO()
    tracker = ConsoleTracker(stream)
    tracker.observe(Announced("bf16: 2.1 times faster here"))
    tracker.observe(step(250))
    tracker.observe(Evaluated(250, 2.5, 0.31, "macro_f1", 0.921, best=True))
    tracker.observe(CheckpointSaved(250, "checkpoints/250"))
    tracker.observe(RunEnded(1000, 380.0))
    tracker.close()
    assert stream.getvalue().splitlines() == [
        "bf16: 2.1 times faster here",
        "step 250/1,000 (25%), epoch 2.5, loss 0.500, 312 rows/s, 41 s left",
        "epoch 2.5: validation macro F1 92.1%, loss 0.310, the best so far",
        "trained 1,000 steps in 6 min 20 s",
    ]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    tracker = ConsoleTracker(stream)
    tracker.observe(step(250))
    tracker.observe(Announced("[bold] is text, not markup"))
    tracker.close()
    assert "\x1b[" in stream.getvalue()
    shown = plain(stream.getvalue())
    for part in ("epoch 2.5", "25%", "312 rows/s", "41 s left", "loss 0.500", "[bold] is text, not markup"):
        assert part in shown


def test_no_color_means_plain_lines_on_a_terminal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    ConsoleTracker(stream).observe(step(1))
    assert lines_of(stream)
    assert "\x1b" not in stream.getvalue()


def test_it_writes_to_standard_error_alone(capsys: pytest.CaptureFixture[str]) -> None:
    ConsoleTracker().observe(step(1))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "step 1/1,000" in captured.err


def test_it_is_a_member_of_the_registry() -> None:
    from feinschliff import registry

    assert registry.load("tracker", "console").CONFIG is CONFIG
    assert CONFIG().type == "console"


def test_the_bar_comes_back_for_the_next_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    tracker = ConsoleTracker(stream)
    for number in (100, 900):
        tracker.observe(step(number))
        tracker.observe(RunEnded(number, 1.0))
    shown = plain(stream.getvalue())
    assert "10%" in shown
    assert "90%" in shown


def rows_events(seconds: float, now: list[float]) -> Iterator[Progressed]:
    for done in range(100, 1001, 100):
        now[0] += seconds / 10
        yield Progressed("embedding", done, 1000)


def test_long_work_on_rows_shows_a_bar_with_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    now, stream = [0.0], Terminal()
    tracker = ConsoleTracker(stream, clock=lambda: now[0])
    for event in list(rows_events(20.0, now))[:-1]:
        now[0] = event.done / 50.0
        tracker.observe(event)
    tracker.close()
    shown = plain(stream.getvalue())
    for part in ("embedding", "90%", "50 rows/s", "2.0 s left"):
        assert part in shown


def test_short_work_on_rows_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    now, stream = [0.0], Terminal()
    tracker = ConsoleTracker(stream, clock=lambda: now[0])
    for event in rows_events(0.5, now):
        tracker.observe(event)
    tracker.close()
    assert "embedding" not in stream.getvalue()


def test_in_a_pipe_long_work_on_rows_gives_a_line_every_ten_seconds() -> None:
    now, stream = [0.0], io.StringIO()
    tracker = ConsoleTracker(stream, clock=lambda: now[0])
    for event in rows_events(45.0, now):
        tracker.observe(event)
    assert stream.getvalue().splitlines() == [
        "embedding: 400 of 1,000 rows, 22 rows/s, 27 s left",
        "embedding: 700 of 1,000 rows, 22 rows/s, 14 s left",
    ]


def test_other_rows_of_the_same_work_start_the_clock_anew() -> None:
    now, stream = [100.0], io.StringIO()
    tracker = ConsoleTracker(stream, clock=lambda: now[0])
    tracker.observe(Progressed("embedding", 300, 300))
    now[0] += 60.0  # something else is done meanwhile
    for done in (700, 1400, 2100):
        tracker.observe(Progressed("embedding", done, 5000))
        now[0] += 6.0
    assert stream.getvalue().splitlines() == ["embedding: 2,100 of 5,000 rows, 117 rows/s, 25 s left"]


def test_in_a_pipe_each_training_says_its_tenths() -> None:
    now, stream = [0.0], io.StringIO()
    tracker = ConsoleTracker(stream, clock=lambda: now[0])
    for _ in range(2):
        for number in (100, 500, 900):
            now[0] += 20.0
            tracker.observe(step(number))
        tracker.observe(RunEnded(1000, 60.0))
    assert len(lines_of(stream)) == 6
