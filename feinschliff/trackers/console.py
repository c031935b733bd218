"""Shows a run's progress on standard error: a bar on a terminal, sparse plain lines in a pipe. Knows no file.

Standard output stays free for results. With ``NO_COLOR`` the lines are plain on a terminal too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Literal, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from feinschliff import settings
from feinschliff.config.bases import TypedConfig
from feinschliff.engine.events import Announced, Evaluated, Event, Progressed, RunEnded, StepEnded
from feinschliff.results.formats import format_duration, format_metric_name, format_rate, format_value
from feinschliff.store.run_directory import RunDirectory

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_OF_SILENCE = 60.0
_SECONDS_BEFORE_ROWS = 1.0
"""Work on rows that is over sooner is not worth a bar."""


class ConsoleConfig(TypedConfig):
    """Progress on standard error."""

    type: Literal["console"] = "console"


class ConsoleTracker:
    """A bar where somebody watches; otherwise a line at every tenth of the run or every minute, ten seconds apart."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        target = sys.stderr if stream is None else stream
        watched = target.isatty() and not settings.read().no_color
        self._display: _Bar | _Lines = _Bar(target, clock) if watched else _Lines(target, clock)

    def observe(self, event: Event) -> None:
        """Show one event."""
        match event:
            case StepEnded():
                self._display.step(event)
            case Evaluated():
                self._display.say(_evaluation_line(event))
            case Progressed():
                self._display.rows(event)
            case Announced(message):
                self._display.say(message)
            case RunEnded(step, seconds):
                self._display.close()
                self._display.say(f"trained {step:,} steps in {format_duration(seconds)}")

    def close(self) -> None:
        """Take the bar away; what was said stays."""
        self._display.close()


class _RowClock:
    """Rate and time left of one piece of work on rows."""

    def __init__(self) -> None:
        self._last: Progressed | None = None
        self._first = 0
        self.begin = 0.0

    def see(self, event: Progressed, now: float) -> None:
        """Note an event; another work, or the same begun anew, starts the clock."""
        last = self._last
        same = last is not None and (last.work, last.total) == (event.work, event.total) and last.done < event.done
        if not same:
            self.begin, self._first = now, event.done
        self._last = event

    def rate_and_left(self, now: float) -> tuple[str, str]:
        """``1,240 rows/s``, ``41 s left``; counted from the first event on, so one batch is not in it."""
        if self._last is None or now <= self.begin:
            return "", ""
        rate = (self._last.done - self._first) / (now - self.begin)
        left = (self._last.total - self._last.done) / rate if rate else 0.0
        return format_rate(rate), f"{format_duration(left)} left"


class _Lines:
    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._last_time = -_SECONDS_OF_SILENCE
        self._last_tenth = 0
        self._rows = _RowClock()

    def step(self, event: StepEnded) -> None:
        now, tenth = self._clock(), 10 * event.step // max(1, event.total_steps)
        silence = now - self._last_time
        due = silence >= _SECONDS_BETWEEN_LINES and (tenth > self._last_tenth or silence >= _SECONDS_OF_SILENCE)
        if due:
            self._last_time, self._last_tenth = now, tenth
            self.say(_step_line(event))

    def rows(self, event: Progressed) -> None:
        now = self._clock()
        self._rows.see(event, now)
        if event.done < event.total and now - max(self._last_time, self._rows.begin) >= _SECONDS_BETWEEN_LINES:
            self._last_time = now
            rate, left = self._rows.rate_and_left(now)
            self.say(f"{event.work}: {event.done:,} of {event.total:,} rows, {rate}, {left}")

    def say(self, message: str) -> None:
        print(message, file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing is held; the next training counts its tenths anew."""
        self._last_tenth = 0


class _Bar:
    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rows = _RowClock()
        self._progress = Progress(
            TextColumn("{task.fields[epoch]}", style="bold"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[rate]}", style="cyan"),
            TextColumn("{task.fields[left]}", style="cyan"),
            TextColumn("{task.fields[last]}"),
            console=Console(file=stream, force_terminal=True),
            transient=True,
        )
        self._task: TaskID | None = None
        self._rows_task: TaskID | None = None

    def step(self, event: StepEnded) -> None:
        texts: dict[str, Any] = {
            "epoch": f"epoch {event.epoch:.1f}",
            "rate": format_rate(event.rows_per_second),
            "left": f"{format_duration(event.seconds_left)} left",
            "last": f"loss {event.loss:.3f}",
        }
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task("", total=event.total_steps, **texts)
        self._progress.update(self._task, completed=event.step, total=event.total_steps, **texts)

    def rows(self, event: Progressed) -> None:
        now = self._clock()
        self._rows.see(event, now)
        if now - self._rows.begin < _SECONDS_BEFORE_ROWS and self._rows_task is None:
            return
        rate, left = self._rows.rate_and_left(now)
        texts: dict[str, Any] = {"epoch": event.work, "rate": rate, "left": left, "last": ""}
        if self._rows_task is None:
            self._progress.start()
            self._rows_task = self._progress.add_task("", total=event.total, completed=event.done, **texts)
        self._progress.update(self._rows_task, completed=event.done, total=event.total, **texts)
        if event.done >= event.total:
            self._progress.remove_task(self._rows_task)
            self._rows_task = None
            if self._task is None:
                self._progress.stop()

    def say(self, message: str) -> None:
        self._progress.console.print(Text(message), highlight=False)

    def close(self) -> None:
        """Take the bars away; the next step or row brings a new one (a tune run trains several times)."""
        if self._progress.task_ids:
            self._progress.stop()
        for task in self._progress.task_ids:
            self._progress.remove_task(task)
        self._task = self._rows_task = None


def create(config: ConsoleConfig, run: RunDirectory) -> ConsoleTracker:
    """The tracker of a run."""
    return ConsoleTracker()


def _step_line(event: StepEnded) -> str:
    share = event.step / max(1, event.total_steps)
    return (
        f"step {event.step:,}/{event.total_steps:,} ({share:.0%}), epoch {event.epoch:.1f}, loss {event.loss:.3f}, "
        f"{format_rate(event.rows_per_second)}, {format_duration(event.seconds_left)} left"
    )


def _evaluation_line(event: Evaluated) -> str:
    best = ", the best so far" if event.best else ""
    return (
        f"epoch {event.epoch:.1f}: validation {format_metric_name(event.metric_name)} "
        f"{format_value(event.metric_name, event.metric)}, loss {event.loss:.3f}{best}"
    )


CONFIG = ConsoleConfig
