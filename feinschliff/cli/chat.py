"""`feinschliff chat`: talk with a finished run. Knows flags, lines and printing, not models."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from feinschliff.cli.output import print_faults
from feinschliff.cli.sampling import (
    MaxNewTokens,
    MinP,
    Precision,
    RepetitionPenalty,
    Seed,
    Stop,
    Temperature,
    TopK,
    TopP,
    precision_of,
    sampling_of,
)
from feinschliff.errors import InputError, Interrupted

app = typer.Typer(add_completion=False)
HELP = "/new begins anew, /exit (or Ctrl-D) ends, Ctrl-C stops an answer"


@app.command()
def chat(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    system: Annotated[str | None, typer.Option(help="A system message that stands before the conversation.")] = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    max_new_tokens: MaxNewTokens = None,
    stop: Stop = None,
    seed: Seed = None,
    precision: Precision = None,
) -> int:
    """Talk with a run's language model. In a pipe every line is said in turn, and the answers are printed."""
    given = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "min_p": min_p}
    given |= {"repetition_penalty": repetition_penalty, "max_new_tokens": max_new_tokens}
    sampling = sampling_of({**given, "stop": stop, "seed": seed})
    try:
        from feinschliff.lifecycle.chat import ChatSession

        return _talk(ChatSession(run, sampling, system, precision_of(precision)))
    except KeyboardInterrupt:
        if sys.stdin.isatty():
            Console(stderr=True).print()  # the prompt's line is still open
        raise Interrupted("the conversation is over, and nothing of it is kept") from None


def _talk(session: Any) -> int:
    """Line by line, to the end; the exit code."""
    out, err = Console(highlight=False), Console(stderr=True, highlight=False)
    terminal, code = sys.stdin.isatty(), 0
    if terminal:
        _say(err, "; ".join((*session.notes, HELP)))
    for number, line in _lines(terminal):
        if line == "/exit":
            break
        if line == "/new":
            session.forget()
            continue
        try:
            _answer(session, line, out, err)
        except InputError as error:
            where = None if terminal else f"line {number}"
            print_faults([replace(fault, where=where) for fault in error.faults], "error", "red")
            code = code if terminal else error.exit_code
    return code


def _lines(terminal: bool) -> Iterator[tuple[int, str]]:
    """What is said, without blank lines, and the number of the line."""
    for number in itertools.count(1):
        try:
            line = input("> " if terminal else "").strip()
        except EOFError:
            return
        if line:
            yield number, line


def _answer(session: Any, line: str, out: Console, err: Console) -> None:
    """Print the answer as it comes, and what the person should know of it; Ctrl-C keeps what was said so far."""
    left_out = session.num_left_out
    pieces = session.ask(line)
    if session.num_left_out > left_out:
        fit = f"no longer fit into {session.num_positions:,} tokens and are left out; /new starts afresh"
        _say(err, f"(the first {session.num_left_out:,} messages {fit})")
    try:
        for piece in pieces:
            out.file.write(piece)
            out.file.flush()
    except KeyboardInterrupt:
        pieces.close()
        _say(err, "(stopped)")
    out.file.write("\n")
    out.file.flush()
    if session.answer is not None and session.answer.finish_reason == "length":
        _say(err, _cut(len(session.answer.ids), session))


def _cut(length: int, session: Any) -> str:
    if length < session.max_new_tokens:
        return f"(cut after {length:,} tokens: the model reads {session.num_positions:,} with the answer)"
    return f"(cut after {length:,} tokens; for longer answers: --max-new-tokens {2 * length})"


def _say(err: Console, text: str) -> None:
    """One dim line beside the conversation."""
    err.print(text, markup=False, style="dim", soft_wrap=True)
