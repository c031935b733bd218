"""The summary of `tune` on a terminal: one screen of 80 columns and at most 24 lines. Knows no page."""

from __future__ import annotations

import shlex
import sys
import textwrap
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.text import Text

from feinschliff import settings
from feinschliff.reports.views import MORE_ROWS, TUNED, heading, lead, usage
from feinschliff.results.comparison import TuneResult, VerdictWord
from feinschliff.results.formats import (
    format_candidate,
    format_difference,
    format_duration,
    format_interval,
    format_metric_name,
    format_p,
    format_value,
    goodness,
    shorten,
)

_COLORS: dict[VerdictWord, str] = {"ship": "green", "keep-baseline": "yellow", "undecided": "blue"}
_LABELLED = ("single_label", "multi_label", "values", "spans", "answers")
_WIDTH = 80
_MAX_BASELINES = 5


def print_tune_summary(result: TuneResult, stream: TextIO | None = None) -> None:
    """Verdict, candidates with intervals, rows, recipe, time, where things lie, and what to type next.

    In colour on a terminal, plain in a pipe and with ``NO_COLOR``.
    """
    console = Console(file=stream or sys.stdout, no_color=settings.read().no_color, soft_wrap=True, highlight=False)
    word, baseline = result.verdict, result.details.verdict.baseline
    console.print(Text(shorten(heading(word, baseline), _WIDTH), style=f"bold {_COLORS[word]}"))
    console.print(Text(textwrap.fill(lead(result.details.verdict), _WIDTH)))
    if result.details.verdict.caution:
        console.print(Text(textwrap.fill(result.details.verdict.caution, _WIDTH), style="yellow"))
    console.print()
    for line in _table(result):
        console.print(Text(line, style="bold" if line.startswith(f"  {TUNED}") else ""))
    console.print()
    for name, value in _facts(result):
        console.print(Text(f"  {name:<8}{value}"))
    console.print()
    console.print(Text(f"Next: {_next(result)}", style="bold"))


def _table(result: TuneResult) -> list[str]:
    metric = result.metric
    coverage = f"{100 * result.details.evaluation.confidence:.10g}% interval"
    measures = {TUNED: result.test[metric]} | {n: m[metric] for n, m in result.baselines.items() if metric in m}
    strongest_first = sorted(measures.items(), key=lambda item: (item[0] != TUNED, -goodness(metric, item[1].value)))
    lines = [f"  {shorten(format_metric_name(metric), 28):<30}{'value':>12}   {coverage}"]
    for name, m in strongest_first[: _MAX_BASELINES + 1]:
        interval = f"{format_value(metric, m.low)} to {format_value(metric, m.high)}"
        lines.append(f"  {shorten(format_candidate(name), 28):<30}{format_value(metric, m.value):>12}   {interval}")
    left_out = len(measures) - _MAX_BASELINES - 1
    if left_out > 0:
        lines.append(f"  and {left_out} weaker {'baseline' if left_out == 1 else 'baselines'}, see the report")
    d = result.difference
    interval = f"{format_interval(metric, d.value, d.low, d.high)}, {format_p(d.p)}"
    return [*lines, f"  {'difference':<30}{format_difference(metric, d.value):>12}   {interval}"]


def _facts(result: TuneResult) -> list[tuple[str, str]]:
    rows, forecast = result.rows, result.details.forecast_seconds
    said = f" (forecast {format_duration(forecast)})" if forecast is not None else ""
    judged = result.details.evaluation.judged
    judge = [("judge", shorten(judged.said.removeprefix("the judge "), _WIDTH - 10))] if judged else []
    return [
        (
            "rows",
            f"{rows.train:,} train, {rows.validation:,} validation, {rows.test:,} test, {rows.dropped:,} not used",
        ),
        *judge,
        ("recipe", shorten(result.recipe, _WIDTH - 10)),
        ("time", format_duration(result.seconds) + said),
        ("report", result.report),
        ("model", result.model),
    ]


def _more_rows(source: str) -> str:
    """A name with the ending of what was read; rows of the Hub have none."""
    name = "rows.csv" if source.startswith("hf:") else source.removesuffix(".gz").removesuffix(".zst")
    return shlex.quote(f"more_rows{Path(name).suffix}")


def _next(result: TuneResult) -> str:
    run, found = shlex.quote(result.run), result.details.columns
    more = _more_rows(result.details.data.files[0])
    match result.verdict:
        case "ship":
            command = usage(result)[0]
            return command.replace(MORE_ROWS, more)
        case "undecided":
            gather = "label" if found.kind in _LABELLED else "gather"
            return f"{gather} more test rows; feinschliff evaluate {run} {more}"
        case "keep-baseline":
            files = " ".join(shlex.quote(file) for file in result.details.data.files[:1])
            return f"feinschliff data check {files}"
