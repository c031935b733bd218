"""`feinschliff evaluate`: a finished run on a set of rows. Knows flags and printing, not metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from feinschliff.cli.output import emit
from feinschliff.results.evaluation import EvaluationResult

app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    sources: Annotated[
        list[str] | None, typer.Argument(help="Labelled data; none: the run's held-out rows.", metavar="[DATA]...")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Metrics with intervals, per class, calibration and the worst rows."""
    from feinschliff.lifecycle.evaluate import evaluate as work

    result = work(run, sources or [])
    emit(result, as_json, lambda out: _show(out, result))


def _show(out: Console, result: EvaluationResult) -> None:
    out.print(f"{result.rows} rows; deciding metric: {result.metric}")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("metric", "value", "95% interval"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, measure in result.metrics.items():
        table.add_row(name, f"{measure.value:.4f}", f"{measure.low:.4f} to {measure.high:.4f}")
    out.print(table)
    if result.calibration:
        out.print(f"expected calibration error: {result.calibration.ece:.4f}")
    weakest = sorted((row for row in result.classes if row.support), key=lambda row: row.f1)[:5]
    if weakest:
        out.print(
            "weakest classes: " + ", ".join(f"{row.label} (F1 {row.f1:.3f}, {row.support} rows)" for row in weakest)
        )
    for wrong in result.worst[:5]:
        place = f"{wrong.row.file}:{wrong.row.line}"
        out.print(
            f"{place}: {wrong.reference!r} taken for {wrong.prediction!r} at {wrong.confidence:.2f}", markup=False
        )
    for note in result.notes:
        out.print(f"note: {note}", markup=False)
