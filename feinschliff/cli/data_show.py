"""`feinschliff data show`: rows with every token coloured by whether it is learned. Knows flags and printing only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from feinschliff import registry
from feinschliff.cli.data_options import Delimiter, Encoding, Header, Separator
from feinschliff.cli.output import emit
from feinschliff.cli.run_options import ConfigFile, RunCommand, dotted_options
from feinschliff.cli.token_view import print_result
from feinschliff.cli.watching import on_console
from feinschliff.errors import ConfigError

app = typer.Typer(add_completion=False)


class ShowCommand(RunCommand):
    """Takes the options of a run's fields; its help does not list them all, most are about training."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The usual help, then where the fields stand."""
        TyperCommand.format_help(self, ctx, formatter)
        print("Options of a run count here too: --task.chat-template, --task.loss-on, --model.max-length-tokens ...;")
        print("all of them: feinschliff config fields")


@app.command(cls=ShowCommand)
def show(
    ctx: typer.Context,
    files: Annotated[
        list[str] | None, typer.Argument(help="Files, globs, folders, hf:... or pypi:...", metavar="FILE...")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Whose tokenizer is taken; default: the starter.")] = None,
    num_rows: Annotated[int, typer.Option("--num-rows", "-n", min=0, help="How many rows, from the first on.")] = 3,
    line: Annotated[list[int] | None, typer.Option(min=1, help="The row at this line instead; several times.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of longer rows begin and end are shown.")] = 2000,
    target: Annotated[str | None, typer.Option(help="Column of labels or answers; found where not given.")] = None,
    text: Annotated[list[str] | None, typer.Option(help="Column of texts, prompts or messages; found.")] = None,
    rows: Annotated[
        str | None, typer.Option(help="What rows are for (conversations, documents ...; found); or how many are shown.")
    ] = None,
    conversations: Annotated[
        str | None, typer.Option(help="openai, sharegpt, alpaca or prompt_completion; found where not given.")
    ] = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    header: Header = None,
    label_separator: Separator = None,
    redact: Annotated[bool, typer.Option("--redact", help="With personal data replaced, as data.redact does.")] = False,
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Which tokens are learned, row by row, and what all rows come to. Exit code 1: a run would be refused."""
    if rows is not None and rows.isdecimal():
        num_rows, rows = int(rows), None
    named: dict[str, Any] = {"train": tuple(files or ()), "target": target, "text": tuple(text or ()), "rows": rows}
    named |= {"conversations": conversations, "encoding": encoding, "delimiter": delimiter, "redact": redact or None}
    named |= {"header": None if header is None else "yes" if header else "no", "label_separator": label_separator}
    given = {f"data.{name}": value for name, value in named.items() if value not in (None, ())}
    run, fields = _run(given | ({"model.source": model} if model else {}), dotted_options(ctx), config)
    from feinschliff.lifecycle.show import Wanted
    from feinschliff.lifecycle.show import show as work

    with on_console() as observers:
        result = work(run, fields, Wanted(num_rows, tuple(line or ()), max_tokens), observers)
    emit(result, as_json, lambda out: print_result(out, result))
    return int(bool(result.refusals))


def _run(named: dict[str, Any], options: Sequence[str], config: Path | None) -> tuple[Any, set[str]]:
    """The run that was asked for, and the fields that the person set.

    Raises:
        ConfigError: every fault, each with its place.
    """
    from feinschliff.config.load import load_run_config
    from feinschliff.lifecycle.recipes import given_fields

    base = {}
    if _only_options_of_task(options):
        base["task.type"] = (registry.first("task", "CONTINUES_TEXTS", "BY_DEFAULT"), "its options are given")
    given = {name: (value, "command line") for name, value in named.items()}
    run, origins = load_run_config(config, options, given=given, base=base)
    if not run.data.train:
        remedy = "name a file: feinschliff data show chats.jsonl"
        raise ConfigError("no data was given", where="data.train", remedy=remedy)
    return run, given_fields(origins)


def _only_options_of_task(options: Sequence[str]) -> bool:
    """Whether some of the task are given without its name: there is one only whose rows are shown as tokens."""
    names = {option.partition("=")[0].removeprefix("--").replace("-", "_") for option in options}
    return any(name.startswith("task.") for name in names) and not names & {"task", "task.type"}
