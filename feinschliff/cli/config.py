"""`feinschliff config`: what a run would be, field by field, and the reference of all fields."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from feinschliff.cli.output import emit, print_document
from feinschliff.cli.run_options import RunCommand, dotted_options, print_fields
from feinschliff.results.comparison import Origin

app = typer.Typer(add_completion=False, no_args_is_help=True)
_Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@app.callback()
def _config() -> None:
    """Check a configuration file; the reference of all fields."""


@app.command(cls=RunCommand)
def check(
    ctx: typer.Context,
    config: Annotated[Path | None, typer.Argument(help="A YAML file, or a run's config.json.")] = None,
    as_json: _Json = False,
) -> None:
    """Resolve a configuration and print every value with its origin; nothing is run."""
    from feinschliff.config.load import load_run_config

    resolved, origins = load_run_config(config, dotted_options(ctx))
    document = {"config": resolved, "origins": origins}
    emit(document, as_json, lambda out: _show(out, origins))


@app.command()
def fields(as_json: _Json = False) -> None:
    """Every field with its help, limits and default; with --json the JSON schema of the YAML file."""
    if as_json:
        from feinschliff.config.reference import json_schema

        schema: dict[str, Any] = json_schema()
        print_document(schema)
    else:
        print_fields()


def _show(out: Console, origins: list[Origin]) -> None:
    for origin in origins:
        out.print(f"{origin.field} = {origin.value}   ({origin.origin})", markup=False)
