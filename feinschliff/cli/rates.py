"""`feinschliff rates`: which learning rate a run should take. Knows flags and printing, not how a rate is found."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from feinschliff.cli.output import emit
from feinschliff.cli.run_options import (
    AsJson,
    ConfigFile,
    Model,
    OutputDir,
    RunCommand,
    Seed,
    Sources,
    Target,
    Test,
    Text,
    Validation,
    configuration,
)
from feinschliff.results.training import RateSearch

app = typer.Typer(add_completion=False)


@app.command(cls=RunCommand)
def rates(
    ctx: typer.Context,
    sources: Sources = None,
    config: ConfigFile = None,
    output_dir: OutputDir = None,
    target: Target = None,
    text: Text = None,
    validation: Validation = None,
    test: Test = None,
    model: Model = None,
    seed: Seed = None,
    steps: Annotated[int, typer.Option(min=10, max=10_000, help="Steps of the sweep.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Suggest a learning rate for a run, with a picture in OUTPUT_DIR-rates; the run itself is left alone."""
    named = {
        "output_dir": output_dir,
        "target": target,
        "text": text,
        "validation": validation,
        "test": test,
        "model": model,
        "seed": seed,
    }
    run, origins = configuration(ctx, sources or [], config, named)
    from feinschliff.cli.watching import on_console
    from feinschliff.lifecycle.rates import rates as work

    with on_console() as observers:
        result = work(run, origins, steps=steps, observers=observers)
    emit(result, as_json, lambda out: _show(out, result))


def _show(out: Console, result: RateSearch) -> None:
    if result.suggestion is None:
        out.print("no suggestion: the loss never fell in this sweep (more --steps, or other rows, may show more)")
    else:
        out.print(f"suggested: --training.learning-rate {result.suggestion:.1e}", markup=False)
        out.print(f"the loss falls fastest at {result.steepest:.1e} and is lowest at {result.lowest:.1e}")
    out.print(f"without a suggestion the run takes {result.default:g}")
    out.print(f"picture: {result.report}", markup=False)
