"""`feinschliff train`: one run, with the recipe that was asked for. Knows flags and printing, not training."""

from __future__ import annotations

import shlex

import typer
from rich.console import Console

from feinschliff import settings
from feinschliff.cli.output import emit
from feinschliff.cli.run_options import (
    AsJson,
    ConfigFile,
    Model,
    OutputDir,
    Redact,
    RunCommand,
    Seed,
    Sources,
    Target,
    Test,
    Text,
    Validation,
    configuration,
)
from feinschliff.results.formats import format_duration, format_metric_name, format_value
from feinschliff.results.training import TrainingResult

app = typer.Typer(add_completion=False)


@app.command(cls=RunCommand)
def train(
    ctx: typer.Context,
    sources: Sources = None,
    config: ConfigFile = None,
    output_dir: OutputDir = None,
    target: Target = None,
    text: Text = None,
    validation: Validation = None,
    test: Test = None,
    redact: Redact = False,
    model: Model = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Train one model. The same command again resumes a run that was interrupted."""
    named = {
        "output_dir": output_dir,
        "target": target,
        "text": text,
        "validation": validation,
        "test": test,
        "redact": redact or None,
        "model": model,
        "seed": seed,
    }
    run, origins = configuration(ctx, sources or [], config, named)
    from feinschliff.cli.watching import watching
    from feinschliff.lifecycle.train import train as work

    with watching(run.output_dir) as observers:
        result = work(run, origins, observers=observers)
    if settings.read().rank == 0:
        emit(result, as_json, lambda out: _show(out, result, run.output_dir))


def _show(out: Console, result: TrainingResult, output_dir: str) -> None:
    best = ""
    if result.best_metric is not None:
        best = f", validation {format_metric_name(result.metric)} {format_value(result.metric, result.best_metric)}"
    done = f"{result.steps:,} steps, {result.epochs:g} epochs in {format_duration(result.seconds)}"
    out.print(f"trained {result.method}: {done}{best}")
    out.print(f"run: {output_dir}", markup=False)
    out.print(f"next: feinschliff evaluate {shlex.quote(output_dir)}", markup=False)
