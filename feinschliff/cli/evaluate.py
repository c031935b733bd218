"""`feinschliff evaluate`: a finished run on a set of rows. Knows flags and printing, not metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from feinschliff.cli.data_options import Delimiter, Encoding, Header, Separator, data_config
from feinschliff.cli.output import emit
from feinschliff.cli.watching import on_console
from feinschliff.results.evaluation import EvaluationResult
from feinschliff.results.formats import format_metric_name, format_value, shorten

app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    sources: Annotated[
        list[str] | None, typer.Argument(help="Labelled data; none: the run's held-out rows.", metavar="[DATA]...")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="Text column of the data; default: the run's own.")] = None,
    target: Annotated[str | None, typer.Option(help="Label column of the data; default: the run's own.")] = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    header: Header = None,
    label_separator: Separator = None,
    checks: Annotated[
        list[str] | None,
        typer.Option(
            help="A check of written answers instead of those of the run, such as n=last_number; repeatable.",
            metavar="NAME=KIND:ARG",
        ),
    ] = None,
    judge_url: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible endpoint that judges written answers against the base's.")
    ] = None,
    judge_model: Annotated[str | None, typer.Option(help="The judging model, as the endpoint names it.")] = None,
    judge_rubric: Annotated[str | None, typer.Option(help="What a better answer is, in words for the judge.")] = None,
    judge_max_tokens: Annotated[
        int | None, typer.Option(help="Longest reply of the judge, its thoughts included; default: 4,096.")
    ] = None,
    written_rows: Annotated[int | None, typer.Option(help="How many rows a language model answers in writing.")] = None,
    judge: Annotated[
        bool, typer.Option("--judge/--no-judge", help="Ask the judge that the run was set up with.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Metrics with intervals, per class, calibration and the worst rows; a report of it in the run's directory."""
    from feinschliff.lifecycle.evaluate import evaluate as work

    given = {"encoding": encoding, "delimiter": delimiter, "header": header, "label_separator": label_separator}
    reading = data_config(given)
    asked: dict[str, Any] = {"judge_url": judge_url, "judge_model": judge_model, "judge_rubric": judge_rubric}
    asked |= {"judge_max_tokens": judge_max_tokens}
    if not judge:
        asked = dict.fromkeys((*asked, "judge_timeout_seconds"))
    changes: dict[str, Any] = {name: value for name, value in asked.items() if value is not None or not judge}
    changes |= {} if written_rows is None else {"written_rows": written_rows}
    changes |= {"checks": tuple(checks)} if checks else {}
    with on_console() as observers:
        result = work(
            run,
            sources or [],
            text_columns=text or (),
            target=target,
            reading=reading,
            observers=observers,
            changes=changes,
        )
    emit(result, as_json, lambda out: _show(out, result))


def _show(out: Console, result: EvaluationResult) -> None:
    out.print(f"{result.rows:,} rows")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("metric", "value", f"{100 * result.confidence:.10g}% interval"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, measure in result.metrics.items():
        value, low, high = (format_value(name, number) for number in (measure.value, measure.low, measure.high))
        table.add_row(
            format_metric_name(name), value, f"{low} to {high}", style="bold" if name == result.metric else ""
        )
    out.print(table)
    if result.calibration:
        out.print(f"expected calibration error: {result.calibration.ece:.1%}")
    weak = sorted((row for row in result.classes if row.support and row.f1 < 1), key=lambda row: row.f1)[:5]
    if weak:
        said = ", ".join(f"{row.label} (F1 {row.f1:.1%}, {row.support:,} rows)" for row in weak)
        out.print(f"weakest classes: {said}", markup=False)
    for wrong in result.worst[:5]:
        place = f"{wrong.row.file}:{wrong.row.line}"
        sure = "" if wrong.confidence is None else f" at {wrong.confidence:.0%}"
        said = f"{wrong.reference!r} taken for {wrong.prediction!r}{sure}"
        out.print(f"{place}: {said}: {shorten(wrong.row.text, 80)}", markup=False)
    for note in result.notes:
        out.print(f"note: {note}", markup=False)
    if result.report:
        out.print(f"report: {result.report}", markup=False)
