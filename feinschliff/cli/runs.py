"""`feinschliff runs`: list and show what was run. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from feinschliff.cli.output import emit
from feinschliff.results.runs import RunDetails, RunList, RunSummary

app = typer.Typer(add_completion=False, no_args_is_help=True)
_Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@app.callback()
def _runs() -> None:
    """List and show runs."""


@app.command("list")
def list_(
    folder: Annotated[Path, typer.Argument(help="Where to look.")] = Path("runs"),
    as_json: _Json = False,
) -> None:
    """All runs below a folder, the latest first."""
    from feinschliff.lifecycle.runs import list_runs

    result = list_runs(folder)
    emit(result, as_json, lambda out: _show_list(out, result))


@app.command()
def show(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    as_json: _Json = False,
) -> None:
    """One run: state, files, and its configuration with the origin of every value."""
    from feinschliff.lifecycle.runs import show_run

    result = show_run(run)
    emit(result, as_json, lambda out: _show_run(out, result))


def _show_list(out: Console, result: RunList) -> None:
    if not result.runs:
        out.print(f"no runs below {result.folder}", markup=False)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("run", "verb", "status", "started", "time", "result"):
        table.add_column(column, no_wrap=True)
    for run in result.runs:
        table.add_row(run.path, run.verb, _status(run), run.started.replace("+00:00", "Z"), _time(run), _outcome(run))
    out.print(table)


def _show_run(out: Console, result: RunDetails) -> None:
    run = result.summary
    out.print(f"{run.path}: {run.verb}, {_status(run)}, started {run.started} {_time(run)}", markup=False)
    if _outcome(run):
        out.print(_outcome(run), markup=False)
    for name, path in result.files.items():
        out.print(f"  {name}: {path}", markup=False)
    chosen = [origin for origin in result.origins if origin.origin != "default"]
    if chosen:
        out.print("configuration (what is not a default):")
    for origin in chosen:
        out.print(f"  {origin.field} = {origin.value}   ({origin.origin})", markup=False)


def _status(run: RunSummary) -> str:
    return "interrupted (resumable)" if run.status == "interrupted" else run.status


def _time(run: RunSummary) -> str:
    return "" if run.seconds is None else f"{run.seconds:.0f} s"


def _outcome(run: RunSummary) -> str:
    parts = [run.verdict or ""]
    if run.metric and run.value is not None:
        parts.append(f"{run.metric} {run.value:.4f}")
    parts.append((run.why or "").partition("\n")[0])  # the whole message: `runs show --json`
    return ", ".join(part for part in parts if part)
