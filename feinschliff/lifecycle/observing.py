"""Whoever watches a verb, and rows counted for them. Knows no observer by name; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from feinschliff.engine.events import Event, Progressed


class Observer(Protocol):
    """Whoever watches a run."""

    def observe(self, event: Event) -> None:
        """Told of one event."""
        ...


def tell(observers: Sequence[Observer], event: Event) -> None:
    """Pass an event on to all."""
    for observer in observers:
        observer.observe(event)


def counted(observers: Sequence[Observer], work: str, total: int) -> Callable[[int], None]:
    """A function to be told of each batch of rows done; the observers hear how far ``work`` is."""
    done = 0

    def on_rows(rows: int) -> None:
        nonlocal done
        done += rows
        tell(observers, Progressed(work=work, done=done, total=total))

    return on_rows
