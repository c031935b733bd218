"""The command line with its runs on the pretended device: ``python -m tests.placement.there COMMANDS.json``.

The file is a list of commands, each a list of arguments; one that begins with ``--stop-after STEPS`` is stopped as if
Ctrl-C came then. Their exit codes are printed, in a list. Started by tests as a process of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tests.placement.pretend import DEVICE, Elsewhen  # isort: skip  # changes torch before others import it

from feinschliff import predictor
from feinschliff.cli.main import main
from feinschliff.lifecycle import interrupts, placing


def chosen(*_: Any) -> tuple[torch.device, str]:
    """In the place of ``engine.devices.chosen``."""
    return DEVICE, f"device {DEVICE}: pretended"


@contextmanager
def stops_after(steps: int) -> Iterator[Any]:
    """As if Ctrl-C came during that step."""
    asked: list[int] = []

    def requested() -> bool:
        asked.append(1)
        return len(asked) >= steps

    yield requested


def run(arguments: list[str]) -> int:
    """The verb's exit code."""
    before = interrupts.flag
    if arguments[0] == "--stop-after":
        steps, arguments = int(arguments[1]), arguments[2:]
        interrupts.flag = lambda: stops_after(steps)  # type: ignore[assignment]
    try:
        with Elsewhen():
            return main(arguments)
    finally:
        interrupts.flag = before


if __name__ == "__main__":
    placing.chosen = predictor.chosen = chosen  # type: ignore[assignment]
    torch.__future__.set_swap_module_params_on_conversion(True)  # parameters stay the same objects, as on a GPU
    commands = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(json.dumps([run(arguments) for arguments in commands]))
