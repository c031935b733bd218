"""How figures are written for people: metrics, p-values, durations, counts. Knows no result and no page."""

from __future__ import annotations

import math

LESS_IS_BETTER = frozenset({"rmse", "mae", "hamming_loss", "loss", "perplexity"})
"""Metrics of which less is better. Differences are turned round for them, so that positive always means better."""
LIKELIHOOD_METRICS = ("loss", "perplexity", "token_accuracy")
"""Of language models: how likely the right texts are to them. All others look at what they write."""
_METRIC_NAMES = {
    "accuracy": "accuracy",
    "exact_match": "exact match",
    "token_accuracy": "token accuracy",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "weighted_f1": "weighted F1",
    "balanced_accuracy": "balanced accuracy",
    "mcc": "Matthews correlation",
    "subset_accuracy": "all labels right",
    "hamming_loss": "Hamming loss",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "r2": "R²",
    "rmse": "RMSE",
    "mae": "mean absolute error",
    "entity_f1": "entity F1",
    "answer_f1": "answer F1",
    "exact_match_has_answer": "exact match, questions with an answer",
    "answer_f1_has_answer": "answer F1, questions with an answer",
    "no_answer_accuracy": "right that there is no answer",
    "mrr": "MRR",
    "bleu": "BLEU",
    "chrf": "chrF",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "strict_match": "exact match to the letter",
    "extracted_match": "extracted answer right",
    "judge_preference": "preferred by the judge",
    "judge_score": "score of the judge",
}
_CUTOFF_NAMES = {"recall": "recall", "ndcg": "nDCG"}
_PLAIN_NUMBERS = {"mcc", "loss", "pearson", "spearman", "r2", "mrr"}
_SCORES_OF_100 = {"bleu", "chrf", "rouge_1", "rouge_2", "rouge_l"}
"""Kept as fractions like every metric, but written as their fields write them: BLEU 32.4."""
_IN_UNITS = {"rmse", "mae", "perplexity"}
"""In units of what is predicted, or else of any size: what matters is a share of it."""


def format_metric_name(metric: str) -> str:
    """``macro_f1`` becomes ``macro F1``, ``ndcg_at_10`` ``nDCG@10``; an unknown name loses its underscores."""
    kind, at, cutoff = metric.partition("_at_")
    if at and kind in _CUTOFF_NAMES and cutoff.isdecimal():
        return f"{_CUTOFF_NAMES[kind]}@{cutoff}"
    return _METRIC_NAMES.get(metric, metric.replace("_", " "))


def is_known(metric: str) -> bool:
    """Whether a metric's name says how it is written and which side of it is better; no one else may take the name."""
    cutoff = metric.partition("_at_")[0] in _CUTOFF_NAMES
    return cutoff or metric in LESS_IS_BETTER or metric in _METRIC_NAMES or not is_percentage(metric)


def goodness(metric: str, value: float) -> float:
    """A number of which more is better, whatever the metric."""
    return -value if metric in LESS_IS_BETTER else value


def format_candidate(name: str) -> str:
    """``linear_probe`` becomes ``linear probe``."""
    return name.replace("_", " ")


def is_in_units(metric: str) -> bool:
    """Whether a metric is in units of what is predicted, or a perplexity: no size of it is large or small in itself."""
    return metric in _IN_UNITS


def is_percentage(metric: str) -> bool:
    """Whether a metric is a share of something, written in percent."""
    return metric not in _PLAIN_NUMBERS | _SCORES_OF_100 | _IN_UNITS and not metric.startswith("ndcg_at_")


def format_value(metric: str, value: float) -> str:
    """A metric for people: a percentage, a plain number (correlations, losses), or in units of the target."""
    if metric in _IN_UNITS:
        return _significant(value, 4)
    if metric in _SCORES_OF_100:
        return f"{100 * value:.1f}"
    return f"{100 * value:.1f}%" if is_percentage(metric) else f"{value:.3f}"


def format_difference(metric: str, value: float) -> str:
    """A difference of two values, positive for better: signed points or a plain signed number; ``0.043 less``, or
    ``more``, where less is better."""
    unit = " points" if is_percentage(metric) or metric in _SCORES_OF_100 else ""
    if metric in LESS_IS_BETTER:
        return f"{_scaled(metric, abs(value))}{unit} {'less' if value >= 0 else 'more'}"
    return f"{_scaled(metric, value, '+')}{unit}"


def format_bound(metric: str, value: float) -> str:
    """A bound of a difference's interval, in points or as a plain number, without a unit."""
    return _scaled(metric, value)


def format_interval(metric: str, value: float, low: float, high: float) -> str:
    """The interval of the difference ``value``: ``0.4 to 2.0``. Beside ``0.012 more`` it too counts what is more."""
    if metric in LESS_IS_BETTER and value < 0:
        low, high = -high, -low
    return f"{_scaled(metric, low)} to {_scaled(metric, high)}"


def format_p(p: float) -> str:
    """``p = 0.003``, ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def format_duration(seconds: float) -> str:
    """``0.4 s``, ``42 s``, ``6 min 20 s``, ``2 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_rate(rows_per_second: float) -> str:
    """``1,240 rows/s``, ``3.2 rows/s``."""
    return f"{rows_per_second:,.0f} rows/s" if rows_per_second >= 10 else f"{rows_per_second:.1f} rows/s"


def shorten(text: str, max_characters: int) -> str:
    """One line of at most ``max_characters``: blanks run together, unprintable characters shown as a box, cut with …"""
    start = text[: 4 * max_characters]
    line = " ".join(
        "".join(c if c.isprintable() or c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in start).split()
    )
    if len(line) > max_characters or len(text) > len(start):
        return line[: max_characters - 1].rstrip() + "…"
    return line


def both_ends(text: str, max_characters: int) -> str:
    """At most ``max_characters``: of a longer text two thirds from its beginning and one from its end."""
    if len(text) <= max_characters:
        return text
    last = max_characters // 3
    return f"{text[: max_characters - last - 3].rstrip()} \N{HORIZONTAL ELLIPSIS} {text[-last:].lstrip()}"


def _scaled(metric: str, value: float, sign: str = "-") -> str:
    """In points, as a plain number, or with three digits where nothing is known about its size."""
    if metric in _IN_UNITS:
        return _significant(value, 3)
    points = is_percentage(metric) or metric in _SCORES_OF_100
    return _rounded(100 * value, 1, sign) if points else _rounded(value, 3, sign)


def _significant(value: float, digits: int) -> str:
    """``0.0412``, ``12.3``, ``1,235``; very small and very large numbers with an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    size = math.floor(math.log10(abs(value)))
    if not -5 < size < 9:
        return f"{value:.{digits}g}"
    return f"{value:,.{max(0, digits - 1 - size)}f}"


def _rounded(value: float, digits: int, sign: str = "-") -> str:
    """Rounded, one digit more where rounding would hide on which side of zero it is, and no minus before a zero."""
    text = f"{value:{sign}.{digits}f}"
    if float(text) == 0 and value != 0:
        text = f"{value:{sign}.{digits + 1}f}"
    return text.lstrip("+-") if float(text) == 0 else text
