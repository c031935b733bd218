"""How figures are written for people: metrics, p-values, durations, counts. Knows no result and no page."""

from __future__ import annotations

_METRIC_NAMES = {
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "weighted_f1": "weighted F1",
    "balanced_accuracy": "balanced accuracy",
    "mcc": "Matthews correlation",
    "subset_accuracy": "all labels right",
    "hamming_loss": "Hamming loss",
}
_PLAIN_NUMBERS = {"mcc", "loss"}


def format_metric_name(metric: str) -> str:
    """``macro_f1`` becomes ``macro F1``; an unknown name loses its underscores."""
    return _METRIC_NAMES.get(metric, metric.replace("_", " "))


def format_candidate(name: str) -> str:
    """``linear_probe`` becomes ``linear probe``."""
    return name.replace("_", " ")


def is_percentage(metric: str) -> bool:
    """Whether a metric is a share of something, written in percent."""
    return metric not in _PLAIN_NUMBERS


def format_value(metric: str, value: float) -> str:
    """A metric for people: a percentage, or (correlations, losses) a plain number."""
    return f"{100 * value:.1f}%" if is_percentage(metric) else f"{value:.3f}"


def format_difference(metric: str, value: float) -> str:
    """A difference of two values: signed percentage points, or a plain signed number."""
    scale, digits, unit = (100, 1, " points") if is_percentage(metric) else (1, 3, "")
    return f"{_rounded(scale * value, digits, '+')}{unit}"


def format_bound(metric: str, value: float) -> str:
    """A bound of a difference's interval, in percentage points or as a plain number, without a unit."""
    scale, digits = (100, 1) if is_percentage(metric) else (1, 3)
    return _rounded(scale * value, digits)


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


def _rounded(value: float, digits: int, sign: str = "-") -> str:
    """Rounded, one digit more where rounding would hide on which side of zero it is, and no minus before a zero."""
    text = f"{value:{sign}.{digits}f}"
    if float(text) == 0 and value != 0:
        text = f"{value:{sign}.{digits + 1}f}"
    return text.lstrip("+-") if float(text) == 0 else text
