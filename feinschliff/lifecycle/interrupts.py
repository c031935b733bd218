"""Ctrl-C and SIGTERM as a flag that the loop looks at between steps; the second Ctrl-C stops at once. Knows no loop.

Only for the time of a loop, which then writes a checkpoint: everywhere else a signal stops the process at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_remembered = threading.Event()


def remember() -> None:
    """From now on Ctrl-C and SIGTERM raise ``KeyboardInterrupt`` and are remembered.

    An exception that comes while a library imports or runs a callback can get lost there; the wish to stop must not:
    :func:`flag` asks again before the loop starts.
    """

    def ask(number: int, frame: FrameType | None) -> None:
        _remembered.set()
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)


@contextmanager
def flag() -> Iterator[Callable[[], bool]]:
    """A function that says whether a stop was asked for. Outside the main thread, signals stay as they are.

    Raises:
        KeyboardInterrupt: asked for a second time; or asked for, and nobody looked before the end; or asked for before,
            and lost on the way.
    """
    if _remembered.is_set():
        raise KeyboardInterrupt
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked.is_set():
        raise KeyboardInterrupt
