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
from feinschliff.engine.events import Announced, Evaluated, Event, RunEnded, StepEnded
from feinschliff.results.formats import format_duration, format_metric_name, format_rate, format_value
from feinschliff.store.run_directory import RunDirectory

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_OF_SILENCE = 60.0


class ConsoleConfig(TypedConfig):
    """Progress on standard error."""

    type: Literal["console"] = "console"


class ConsoleTracker:
    """A bar where somebody watches; otherwise a line at every tenth of the run or every minute, ten seconds apart."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        target = sys.stderr if stream is None else stream
        watched = target.isatty() and not settings.read().no_color
        self._display: _Bar | _Lines = _Bar(target) if watched else _Lines(target, clock)

    def observe(self, event: Event) -> None:
        """Show one event."""
        match event:
            case StepEnded():
                self._display.step(event)
            case Evaluated():
                self._display.say(_evaluation_line(event))
            case Announced(message):
                self._display.say(message)
            case RunEnded(step, seconds):
                self._display.close()
                self._display.say(f"trained {step:,} steps in {format_duration(seconds)}")

    def close(self) -> None:
        """Take the bar away; what was said stays."""
        self._display.close()


class _Lines:
    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._last_time = -_SECONDS_OF_SILENCE
        self._last_tenth = 0

    def step(self, event: StepEnded) -> None:
        now, tenth = self._clock(), 10 * event.step // max(1, event.total_steps)
        silence = now - self._last_time
        due = silence >= _SECONDS_BETWEEN_LINES and (tenth > self._last_tenth or silence >= _SECONDS_OF_SILENCE)
        if due:
            self._last_time, self._last_tenth = now, tenth
            self.say(_step_line(event))

    def say(self, message: str) -> None:
        print(message, file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing is held."""


class _Bar:
    def __init__(self, stream: TextIO) -> None:
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

    def say(self, message: str) -> None:
        self._progress.console.print(Text(message), highlight=False)

    def close(self) -> None:
        self._progress.stop()


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
