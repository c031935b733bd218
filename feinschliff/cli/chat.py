"""`feinschliff chat`: talk with a finished run. Knows flags, lines and printing, not models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from feinschliff.cli.sampling import (
    MaxNewTokens,
    Precision,
    Seed,
    Stop,
    Temperature,
    TopK,
    TopP,
    precision_of,
    sampling_of,
)
from feinschliff.errors import InputError

app = typer.Typer(add_completion=False)
HELP = "/new begins anew, /exit (or Ctrl-D) ends, Ctrl-C stops an answer"


@app.command()
def chat(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    system: Annotated[str | None, typer.Option(help="A system message that stands before the conversation.")] = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    max_new_tokens: MaxNewTokens = None,
    stop: Stop = None,
    seed: Seed = None,
    precision: Precision = None,
) -> None:
    """Talk with a run's language model. In a pipe every line is said in turn, and the answers are printed."""
    given = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "max_new_tokens": max_new_tokens}
    sampling = sampling_of({**given, "stop": stop, "seed": seed})
    from feinschliff.lifecycle.chat import ChatSession

    session = ChatSession(run, sampling, system, precision_of(precision))
    out, err = Console(highlight=False), Console(stderr=True, highlight=False)
    terminal = sys.stdin.isatty()
    if terminal:
        err.print(f"[dim]{'; '.join((*session.notes, HELP))}[/]")
    for line in _lines(terminal):
        if line == "/exit":
            return
        if line == "/new":
            session.forget()
            continue
        try:
            _answer(session, line, out, err)
        except InputError as error:
            if not terminal:
                raise
            err.print(str(error), markup=False, style="red")


def _lines(terminal: bool) -> Iterator[str]:
    """What is said, without blank lines."""
    while True:
        try:
            line = input("> " if terminal else "").strip()
        except EOFError:
            return
        if line:
            yield line


def _answer(session: Any, line: str, out: Console, err: Console) -> None:
    """Print the answer as it comes; Ctrl-C keeps what was said so far."""
    pieces = session.ask(line)
    try:
        for piece in pieces:
            out.file.write(piece)
            out.file.flush()
    except KeyboardInterrupt:
        pieces.close()
        err.print("[dim](stopped)[/]")
    out.file.write("\n")
    out.file.flush()
