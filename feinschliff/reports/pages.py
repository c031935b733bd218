"""Writes a result as one self-contained HTML page and as Markdown. Knows results; no model, no torch, no network."""

from __future__ import annotations

import math
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

import feinschliff
from feinschliff.reports import charts, views
from feinschliff.reports.markdown import escape_markdown, in_code
from feinschliff.reports.views import Page, Reportable
from feinschliff.results import formats
from feinschliff.results.training import RateSearch, TrainingResult
from feinschliff.store.run_directory import RunDirectory, write_bytes

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(result: Reportable, directory: str | Path) -> Path:
    """Write ``report.html`` and ``report.md`` into a run's directory.

    Args:
        result: what `tune`, `evaluate`, `train`, `rates` or `data check` returned.

    Returns:
        The path of the HTML page.

    Raises:
        ResourceError: the disk is full. RunDirectoryError: the directory cannot be written.
    """
    run = RunDirectory(directory)
    write_bytes(run.report, render_html(result).encode())
    write_bytes(run.report_markdown, render_markdown(result).encode())
    return run.report


def render_html(result: Reportable) -> str:
    """The page: styles and charts inside, no scripts, nothing loaded; every text of the data escaped."""
    css = Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8"))
    return _environment(markup=True).get_template("report.html.jinja").render(css=css, **_context(result))


def render_markdown(result: Reportable) -> str:
    """The same in Markdown, for a repository or a message; every text of the data escaped."""
    return _environment(markup=False).get_template("report.md.jinja").render(**_context(result))


def _context(result: Reportable) -> dict[str, Any]:
    page = views.page_of(result)
    return {
        "page": page,
        "contents": _contents(page),
        "forecast": views.forecast(page),
        "announcements": views.announcements(page),
        "coverage": f"{100 * page.evaluation.confidence:.10g}%" if page.evaluation else "",
        "version": feinschliff.__version__,
    }


def _contents(page: Page) -> list[tuple[str, str, str]]:
    """File of the template, anchor and name of each section that this page has."""
    tune, evaluation = page.tune, page.evaluation
    sections = [
        (tune, "parts", "comparison", "Comparison"),
        (tune, "parts", "run", "The run at a glance"),
        (evaluation and not tune, "evaluation", "results", "Metrics"),
        (tune and tune.details.trials, "parts", "candidates", "Candidates tried"),
        (page.training, "parts", "training", "Training"),
        (page.training and page.training.diagnosis, "learning", "learned", "Learned, or learned by heart?"),
        (page.rates, "learning", "rates", "Loss over growing learning rates"),
        (evaluation and evaluation.confusion, "evaluation", "confusion", "Which classes are confused"),
        (evaluation and evaluation.classes, "evaluation", "classes", "Each class"),
        (evaluation and evaluation.targets, "evaluation", "targets", "Predicted against true"),
        (evaluation and evaluation.calibration, "evaluation", "calibration", "Can the probabilities be trusted?"),
        (evaluation and evaluation.worst, "evaluation", "worst", "Worst examples"),
        (evaluation and evaluation.judged, "evaluation", "judged", "What the judge says"),
        (evaluation and evaluation.written, "evaluation", "written", "Answers side by side"),
        (page.data, "data", "data", "What the data check found"),
        (tune, "data", "dropped", "Rows not used"),
        (views.forecast(page), "parts", "time", "Time: forecast and truth"),
        (views.announcements(page) or tune, "parts", "choices", "Choices and their origin"),
        (tune, "parts", "use", "How to use the model"),
        (tune, "parts", "machine", "To repeat this run"),
    ]
    return [(file, anchor, name) for there, file, anchor, name in sections if there]


@cache
def _environment(markup: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=markup,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=None if markup else escape_markdown,
    )
    environment.filters |= _FILTERS
    environment.globals |= _GLOBALS
    return environment


def _curves(training: TrainingResult) -> tuple[Markup, Markup]:
    """The chart of the losses and the chart of the validation metric; empty where there is nothing to draw."""
    curve = training.curve
    train = [(float(p.step), p.train_loss) for p in curve if p.train_loss is not None]
    validation = [(float(p.step), p.validation_loss) for p in curve if p.validation_loss is not None]
    metric = [(float(p.step), p.validation_metric) for p in curve if p.validation_metric is not None]
    loss_lines = [
        charts.Series("training", "train", train),
        charts.Series("validation", "validation", validation, dots=True),
    ]
    metric_lines = [charts.Series("validation", "validation", metric, dots=True)]
    best = (float(training.best_step), "kept") if training.best_metric is not None else None
    name = formats.format_metric_name(training.metric)

    def percent_or_number(value: float) -> str:
        return f"{100 * value:.4g}%" if formats.is_percentage(training.metric) else f"{value:.3g}"

    return (
        charts.line_chart(loss_lines, "Training and validation loss over steps", "step", lambda v: f"{v:.3g}"),
        charts.line_chart(metric_lines, f"Validation {name} over steps", "step", percent_or_number, best),
    )


def _rate_chart(rates: RateSearch) -> Markup:
    """The losses of a sweep over the rate's power of ten."""
    lines = [
        charts.Series("each step", "train", [(math.log10(p.rate), p.loss) for p in rates.points]),
        charts.Series("smoothed", "validation", [(math.log10(p.rate), p.smoothed) for p in rates.points]),
    ]
    mark = None if rates.suggestion is None else (math.log10(rates.suggestion), "suggested")
    return charts.line_chart(
        lines,
        "Training loss over growing learning rates",
        "learning rate",
        lambda v: f"{v:.3g}",
        mark,
        lambda v: f"{10**v:.1g}",
    )


def _not_finite(training: TrainingResult) -> int:
    """How many points of the curves cannot be drawn."""
    values = [
        v for p in training.curve for v in (p.train_loss, p.validation_loss, p.validation_metric) if v is not None
    ]
    return len(values) - len(charts.finite((v, v) for v in values))


def _capitalize_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _breakable(text: str) -> Markup:
    """A long name may break after ``_``, ``.``, ``/`` or ``-`` instead of anywhere."""
    return Markup(re.sub(r"([_./-])", r"\1<wbr>", str(escape(text))))


_FILTERS: dict[str, Any] = {
    "value": lambda value, metric: formats.format_value(metric, value),
    "difference": lambda value, metric: formats.format_difference(metric, value),
    "interval": lambda d, metric: formats.format_interval(metric, d.value, d.low, d.high),
    "metric_name": formats.format_metric_name,
    "candidate": formats.format_candidate,
    "p_value": formats.format_p,
    "duration": formats.format_duration,
    "rate": formats.format_rate,
    "short": formats.shorten,
    "both_ends": formats.both_ends,
    "file_name": lambda file: Path(file).name,
    "shell": shlex.quote,
    "python": repr,
    "in_code": in_code,
    "capitalize_first": _capitalize_first,
    "breakable": _breakable,
}
_GLOBALS: dict[str, Any] = {
    "heading": views.heading,
    "lead": views.lead,
    "compare": views.comparison,
    "difference_position": views.difference_position,
    "all_metrics": views.all_metrics,
    "chosen_by": views.chosen_by,
    "confused_pairs": views.confused_pairs,
    "classes_worst_first": views.classes_worst_first,
    "usage": views.usage,
    "label_balance": views.label_balance,
    "max_confusion_table": views.MAX_CONFUSION_TABLE,
    "max_heatmap": views.MAX_HEATMAP,
    "strip": charts.interval_strip,
    "curves": _curves,
    "not_finite": _not_finite,
    "rate_chart": _rate_chart,
    "reliability": charts.reliability_diagram,
    "heat": charts.heatmap,
    "scatter": charts.scatter,
}
