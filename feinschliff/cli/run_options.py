"""What `tune` and `train` share on the command line: dotted options for every field, the short names, and their help.

Turns what was typed into a `RunConfig`; knows no verb's work.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperCommand

from feinschliff.cli.output import console
from feinschliff.config.run import RunConfig
from feinschliff.errors import ConfigError
from feinschliff.results.comparison import Origin

_META = "feinschliff.dotted_options"

Sources = Annotated[list[str] | None, typer.Argument(help="Data files or sources.", metavar="[DATA]...")]
ConfigFile = Annotated[Path | None, typer.Option(help="A YAML file that says the run.")]
OutputDir = Annotated[str | None, typer.Option(help="The run's directory; default: runs/NAME_OF_DATA.")]
Target = Annotated[str | None, typer.Option(help="Label column; default: found.")]
Text = Annotated[list[str] | None, typer.Option("--text", help="Text column; twice for pairs of texts.")]
Validation = Annotated[list[str] | None, typer.Option(help="Own validation file.")]
Test = Annotated[list[str] | None, typer.Option(help="Own held-out file.")]
Model = Annotated[str | None, typer.Option(help="Catalogue name, folder, hf:... or pypi:...")]
Redact = Annotated[bool, typer.Option("--redact", help="Personal data in rows becomes [EMAIL], [PHONE] ...")]
"""A flag: where it is absent, nothing is said of ``data.redact``."""
Seed = Annotated[int | None, typer.Option(help="Seeds weights, order, dropout and splits.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


class RunCommand(TyperCommand):
    """A command that takes ``--part.field value`` for every field of a run beside its own options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Set aside each long option that is not the verb's own: it names a field, or is refused with other faults."""
        own = {name for param in self.params for name in (*param.opts, *param.secondary_opts)}
        ctx.meta[_META], rest = split_options(args, own | {"--help"})
        return super().parse_args(ctx, rest)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The usual help, then every field."""
        super().format_help(ctx, formatter)
        print_fields()


def split_options(args: Sequence[str], own: Collection[str]) -> tuple[list[str], list[str]]:
    """The options that name fields, with their values, and everything else, both in order."""
    of_fields: list[str] = []
    rest: list[str] = []
    position = 0
    while position < len(args):
        arg = args[position]
        if arg == "--":
            return of_fields, rest + list(args[position:])
        name, equals, _value = arg.partition("=")
        if not name.startswith("--") or name in own:
            rest.append(arg)
        else:
            of_fields.append(arg)
            if not equals and position + 1 < len(args) and not args[position + 1].startswith("--"):
                position += 1
                of_fields.append(args[position])
        position += 1
    return of_fields, rest


def dotted_options(ctx: Any) -> Sequence[str]:
    """The dotted options this command was given."""
    found: Sequence[str] = ctx.meta.get(_META, ())
    return found


def configuration(
    ctx: Any, sources: Sequence[str], config: Path | None, named: Mapping[str, Any]
) -> tuple[RunConfig, list[Origin]]:
    """The run that was asked for; ``named`` are the verb's own options by short name (None and empty: not given).

    Raises:
        ConfigError: every fault, each with its place.
    """
    from feinschliff.config.fields import SHORT_NAMES
    from feinschliff.config.load import load_run_config

    given = {SHORT_NAMES[name]: (value, "command line") for name, value in named.items() if value not in (None, (), [])}
    base: dict[str, tuple[Any, str]] = {}
    if sources:
        given["data.train"] = (tuple(sources), "command line")
        base["output_dir"] = (f"runs/{run_name(sources[0])}", "name of the data")
    loaded, origins = load_run_config(config, dotted_options(ctx), given=given, base=base)
    if not loaded.data.train:
        raise ConfigError(
            "no data to train on",
            where="data.train",
            remedy="name a file: feinschliff train tickets.csv, or data.train",
        )
    return loaded, origins


def run_name(source: str) -> str:
    """A folder name from a data source: `data/tickets.csv.gz` gives `tickets`."""
    last = re.split(r"[/\\:]", source.rstrip("/"))[-1]
    name = re.sub(r"(\.(csv|tsv|txt|json|jsonl|parquet|xlsx|arrow|gz|zst))+$", "", last, flags=re.IGNORECASE)
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"


def budget_seconds(text: str | None) -> float | None:
    """`90s`, `10m`, `1h30m`, or a bare number of seconds.

    Raises:
        ConfigError: it is none of these, or nothing.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip().lower())
    seconds = (
        sum(float(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True)) if match else 0
    )
    if seconds <= 0:
        raise ConfigError(f"--budget {text} is not a time", where="--budget", remedy="write 90s, 10m or 1h30m")
    return seconds


def print_fields() -> None:
    """Every field with its help and default."""
    from feinschliff.config.reference import parts

    out = console()
    out.print("\nEvery field of the run, as options (also in a YAML file for --config):")
    for part in parts():
        if not part.fields:
            continue
        table = Table(title=part.title, title_justify="left", box=None, show_header=False, padding=(0, 2, 0, 1))
        table.add_column(no_wrap=True, style="cyan")
        table.add_column(ratio=1)
        for field in part.fields:
            limits = f" {field.limits}" if field.limits else ""
            help_text = field.help.replace("`", "")
            table.add_row(field.option, f"{help_text} \\[{field.kind}{limits}; default: {field.default}]")
        out.print(table)
