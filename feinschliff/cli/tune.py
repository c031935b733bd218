"""`feinschliff tune`: from a data file to a verdict. Knows flags and printing, not how a verdict is reached."""

from __future__ import annotations

from typing import Annotated

import typer

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
    budget_seconds,
    configuration,
)

app = typer.Typer(add_completion=False)


@app.command(cls=RunCommand)
def tune(
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
    budget: Annotated[str | None, typer.Option(help="Time for the whole work: 90s, 10m, 1h30m.")] = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> int:
    """Check, split, compare recipes, train, and judge once on the test rows. Exit code 0: ship; 1: do not ship."""
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
    seconds = budget_seconds(budget)
    run, origins = configuration(ctx, sources or [], config, named)
    from feinschliff.cli.watching import watching
    from feinschliff.lifecycle.tune import tune as work

    with watching(run.output_dir) as observers:
        result = work(run, origins, budget_seconds=seconds, observers=observers)
    from feinschliff.reports.terminal import print_tune_summary

    emit(result, as_json, lambda out: print_tune_summary(result))
    return 0 if result.verdict == "ship" else 1
