"""Charts as inline SVG that takes its colours from the page's style sheet, so light and dark both look right.

Knows numbers and labels; no result, no page. Everything returned is safe markup; every text given is escaped.
Sizes: charts with axes are drawn 370 wide and scaled to their column, which keeps their text readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from feinschliff.results.evaluation import Calibration
from feinschliff.results.intervals import proportion_interval

_WIDTH, _HEIGHT = 370.0, 240.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 18.0, 10.0, 38.0
_MAX_POINTS = 300
"""A longer line is averaged in pieces: more points than pixels only thicken the file."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart; ``style`` is a class of the style sheet, ``points`` are (x, y)."""

    label: str
    style: str
    points: Sequence[tuple[float, float]]
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale from data to drawing, with round ticks."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def round_ticks(low: float, high: float, about: int = 5) -> tuple[float, ...]:
    """Ticks at 1, 2 or 5 times a power of ten that lie within ``low`` to ``high``."""
    if high <= low:
        return (low,)
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return tuple(round(index * step, 12) for index in range(first, last + 1))


def line_chart(
    series: Sequence[Series],
    description: str,
    x_label: str,
    format_y: Callable[[float], str],
    mark: tuple[float, str] | None = None,
    format_x: Callable[[float], str] = "{:,g}".format,
) -> Markup:
    """Lines over a common x; ``mark`` draws a dashed upright at an x with a word beside it.

    Points that are not finite are left out (the caller says so beside the chart).
    """
    shown = [Series(s.label, s.style, thinned(finite(s.points)), s.dots) for s in series]
    points = [point for s in shown for point in s.points]
    if not points:
        return Markup("")
    x, y = _axes(points)
    parts = [_frame(x, y, x_label, format_y, format_x)]
    if mark is not None:
        parts.append(_mark(x, *mark))
    for one in shown:
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in one.points)
        parts.append(Markup('<polyline class="line {}" points="{}"/>').format(one.style, path))
        if one.dots:
            parts += [
                Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(one.style, x(a), y(b))
                for a, b in one.points
            ]
    return _svg(parts, description)


def scatter(points: Sequence[tuple[float, float]], description: str, x_label: str) -> Markup:
    """Points (true, predicted) and the line on which they would be right; both axes on one scale."""
    shown = finite(points)
    if not shown:
        return Markup("")
    every = [value for point in shown for value in point]
    low, high = _span(min(every), max(every), 0.04)
    x = Axis(low, high, _LEFT, _WIDTH - _RIGHT, round_ticks(low, high))
    y = Axis(low, high, _HEIGHT - _BOTTOM, _TOP, round_ticks(low, high))
    parts = [_frame(x, y, x_label, "{:,g}".format, "{:,g}".format), _line("ideal", x(low), y(low), x(high), y(high))]
    parts += [Markup('<circle class="point" cx="{:.1f}" cy="{:.1f}" r="2.5"/>').format(x(a), y(b)) for a, b in shown]
    return _svg(parts, description)


def reliability_diagram(calibration: Calibration, confidence: float) -> Markup:
    """Share right against predicted probability, with Wilson's interval per bin, over a strip of row counts."""
    plot_height, strip_height = 240.0, 54.0
    height = plot_height + strip_height + _BOTTOM
    x = Axis(0, 1, _LEFT, _WIDTH - _RIGHT, (0, 0.2, 0.4, 0.6, 0.8, 1.0))
    y = Axis(0, 1, plot_height, _TOP, (0, 0.2, 0.4, 0.6, 0.8, 1.0))
    strip = Axis(0, max((b.count for b in calibration.bins), default=1), height - _BOTTOM, plot_height + 12, ())
    parts = [_grid(x, y, lambda v: f"{v:.0%}")]
    for b in calibration.bins:
        left, width = x(b.low) + 1, x(b.high) - x(b.low) - 2
        share = proportion_interval(round(b.accuracy * b.count), b.count, confidence)
        parts.append(_rect("bar-right", left, y(b.accuracy), width, y(0) - y(b.accuracy)))
        parts.append(_line("gap", left, y(b.confidence), left + width, y(b.confidence)))
        parts.append(_line("whisker", left + width / 2, y(share.low), left + width / 2, y(share.high)))
        parts.append(_rect("bar-count", left, strip(b.count), width, strip(0) - strip(b.count)))
    parts.append(_line("ideal", x(0), y(0), x(1), y(1)))
    parts += [_text(x(t), height - _BOTTOM + 15, f"{t:.0%}", "middle") for t in x.ticks]
    parts.append(_text(_LEFT - 6, plot_height + 12 + strip_height / 2 - 8, "rows", "end"))
    parts.append(_text((x.start + x.end) / 2, height - 4, "predicted probability", "middle"))
    return _svg(parts, "Reliability diagram: share of right rows against predicted probability", height)


def heatmap(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> Markup:
    """All classes against all: right rows in one colour, mistakes in another, darker for a larger share of the row.

    Only cells with rows are drawn; each names itself when pointed at.
    """
    num_classes = len(labels)
    cell = 600.0 / num_classes
    parts = [Markup('<rect class="heat-ground" x="0" y="0" width="600" height="600"/>')]
    for i, row in enumerate(confusion):
        total = max(1, sum(row))
        for j, count in enumerate(row):
            if count:
                style = "heat-right" if i == j else "heat-wrong"
                opacity = 0.3 + 0.7 * math.sqrt(count / total)
                tip = f"{labels[i]} → {labels[j]}: {count:,} of {total:,}"
                parts.append(
                    Markup(
                        '<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}" '
                        'fill-opacity="{:.2f}"><title>{}</title></rect>'
                    ).format(style, j * cell, i * cell, cell, cell, opacity, tip)
                )
    body = Markup("").join(parts)
    return Markup('<svg class="heatmap" viewBox="0 0 600 600" role="img" aria-label="{}">{}</svg>').format(
        f"Confusion of {num_classes} classes; rows are the true class, columns the predicted one", body
    )


def interval_strip(low: float, value: float, high: float, style: str, zero: float | None = None) -> Markup:
    """An interval with its value, all as shares (0 to 1) of the strip's width; an upright line at ``zero``."""
    mark = (
        Markup("")
        if zero is None
        else Markup('<line class="zero" x1="{0:.2f}%" x2="{0:.2f}%" y1="0" y2="100%"/>').format(100 * zero)
    )
    return Markup(
        '<svg class="strip {}" width="100%" height="24" aria-hidden="true">{}'
        '<line class="whisker" x1="{:.2f}%" x2="{:.2f}%" y1="12" y2="12"/>'
        '<circle cx="{:.2f}%" cy="12" r="5"/></svg>'
    ).format(style, mark, 100 * low, 100 * high, 100 * value)


def finite(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that can be drawn."""
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def thinned(points: Sequence[tuple[float, float]], most: int = _MAX_POINTS) -> list[tuple[float, float]]:
    """At most ``most`` points: means of equal pieces of a longer line."""
    if len(points) <= most:
        return list(points)
    edges = [round(piece * len(points) / most) for piece in range(most + 1)]
    pieces = [points[start:end] for start, end in pairwise(edges)]
    return [(sum(x for x, _ in p) / len(p), sum(y for _, y in p) / len(p)) for p in pieces]


def _axes(points: Sequence[tuple[float, float]]) -> tuple[Axis, Axis]:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_low, x_high = _span(min(xs), max(xs), 0.0)
    y_low, y_high = _span(min(ys), max(ys), 0.06)
    x = Axis(x_low, x_high, _LEFT, _WIDTH - _RIGHT, round_ticks(x_low, x_high))
    return x, Axis(y_low, y_high, _HEIGHT - _BOTTOM, _TOP, round_ticks(y_low, y_high))


def _span(low: float, high: float, margin: float) -> tuple[float, float]:
    """The range with a margin; a single value gets room on both sides."""
    room = (high - low) * margin if high > low else max(abs(high) * 0.05, 1e-3)
    return low - room, high + room


def _frame(
    x: Axis, y: Axis, x_label: str, format_y: Callable[[float], str], format_x: Callable[[float], str]
) -> Markup:
    ticks = [_text(x(t), _HEIGHT - _BOTTOM + 15, format_x(t), "middle") for t in x.ticks]
    label = _text((x.start + x.end) / 2, _HEIGHT - 4, x_label, "middle")
    return Markup("").join([_grid(x, y, format_y), *ticks, label])


def _grid(x: Axis, y: Axis, format_y: Callable[[float], str]) -> Markup:
    lines = [_line("grid", x.start, y(t), x.end, y(t)) for t in y.ticks]
    return Markup("").join([*lines, *(_text(_LEFT - 6, y(t) + 4, format_y(t), "end") for t in y.ticks)])


def _mark(x: Axis, at: float, word: str) -> Markup:
    near_end = x(at) > (x.start + x.end) / 2
    label = _text(x(at) + (-5 if near_end else 5), _HEIGHT - _BOTTOM - 6, word, "end" if near_end else "start")
    return _line("mark", x(at), _TOP, x(at), _HEIGHT - _BOTTOM) + label


def _line(style: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(style, x1, y1, x2, y2)


def _rect(style: str, x: float, y: float, width: float, height: float) -> Markup:
    return Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        style, x, y, width, height
    )


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _svg(parts: Sequence[Markup], description: str, height: float = _HEIGHT) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">{}</svg>').format(
        _WIDTH, height, escape(description), Markup("").join(parts)
    )
