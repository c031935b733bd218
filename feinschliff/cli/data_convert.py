"""`feinschliff data convert`: conversations into another format. Knows flags and printing, no format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from feinschliff.cli.data_options import Delimiter, Encoding, Header, data_config
from feinschliff.cli.output import emit
from feinschliff.results.data import ConvertResult

_FORMATS = "openai, sharegpt, alpaca or prompt_completion"
app = typer.Typer(add_completion=False)


@app.command()
def convert(
    files: Annotated[list[str], typer.Argument(help="Files, globs, hf:... or pypi:...", metavar="FILE...")],
    to: Annotated[str, typer.Option("--to", help=f"{_FORMATS}.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file; NAME.FORMAT.jsonl.")] = None,
    conversations: Annotated[
        str | None, typer.Option("--from", "--conversations", help=f"{_FORMATS}; found where not given.")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Column of messages or prompts.")] = None,
    target: Annotated[str | None, typer.Option("--target", help="Column of answers, where there are prompts.")] = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    header: Header = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Write conversations in another format; what it cannot say is counted and listed."""
    from feinschliff.lifecycle.convert import convert as work

    given: dict[str, Any] = {"train": files, "conversations": conversations, "target": target, "encoding": encoding}
    given |= {"text": [text] if text else None, "delimiter": delimiter, "header": header}
    result = work(data_config(given), to, output, overwrite)
    emit(result, as_json, lambda out: _show(out, result))


def _show(out: Console, result: ConvertResult) -> None:
    for note in result.announcements:
        out.print(note, markup=False)
    written = f"{result.rows_written:,} of {result.rows_read:,} rows"
    out.print(f"{written} written to {result.output} ({result.read_as} to {result.written_as})", markup=False)
    for reason, count in result.dropped.items():
        out.print(f"  {count:,} rows left out: {reason}", markup=False)
    if result.dropped:
        out.print(f"  list of rows left out: {result.dropped_output}", markup=False)
    for what, count in result.lost.items():
        out.print(f"  {count:,} rows lost: {what}", markup=False)
    if result.lost_output:
        out.print(f"  list of what was lost: {result.lost_output}", markup=False)
