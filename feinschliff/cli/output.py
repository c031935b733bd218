"""What every verb prints with: results for people or as one JSON document, faults, and the streams they go to.

With ``--json`` standard output carries exactly one document; everything else goes to standard error. Knows no verb.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from feinschliff.errors import Fault, FeinschliffError

_document: list[TextIO] = []
_PIPE_WIDTH = 120


def console(*, stderr: bool = False) -> Console:
    """A console that is coloured on a terminal and plain, without wrapping, in a pipe."""
    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made = Console(stderr=stderr, highlight=False, width=_PIPE_WIDTH, soft_wrap=True)
    return made


@contextmanager
def json_on_stdout() -> Iterator[None]:
    """Keep standard output for the one document: what anybody prints meanwhile goes to standard error."""
    stdout = sys.stdout
    _document.append(stdout)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout = stdout
        _document.pop()


def emit(result: Any, as_json: bool, human: Callable[[Console], None]) -> None:
    """Print a result: as one JSON document, or by ``human`` for people."""
    if as_json:
        print_document(result)
    else:
        human(console())


def print_document(value: Any) -> None:
    """Write one JSON document to the stream that was standard output; text that is not ASCII stays readable."""
    stream = _document[-1] if _document else sys.stdout
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def _plain(value: Any) -> Any:
    from pydantic import BaseModel  # here, because --help has no use for it

    if isinstance(value, BaseModel):
        return _plain(value.model_dump(mode="json"))
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it
    return value


def print_error(error: FeinschliffError, as_json: bool, process: str = "") -> None:
    """Say every fault: as the one JSON document, and always in words on standard error.

    Args:
        process: which of several says so; it stands before every fault.
    """
    if as_json:
        faults = [
            {"what": fault.what, "where": fault.where, "why": fault.why, "remedy": fault.remedy}
            for fault in error.faults
        ]
        kind = type(error).__name__
        print_document({"error": {"exit_code": error.exit_code, "kind": kind, "faults": faults}})
    stopped = error.exit_code == 130
    print_faults(error.faults, f"{process}{'interrupted' if stopped else 'error'}", "yellow" if stopped else "red")


def print_faults(faults: Iterable[Fault], word: str, style: str) -> None:
    """One paragraph a fault: where and what, why, what to do."""
    out = console(stderr=True)
    for fault in faults:
        line = Text(f"{word}: ", style=f"bold {style}")
        if fault.where:
            line.append(f"{fault.where}: ", style="bold")
        line.append(fault.what, style="none")
        out.print(line)
        if fault.why:
            out.print(Text.assemble(("  why: ", "dim"), fault.why))
        if fault.remedy:
            out.print(Text.assemble(("  do:  ", "green"), fault.remedy))
