"""Charts: scales, ticks, thinning, escaping, colours from the style sheet alone."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from feinschliff.reports.charts import (
    Series,
    heatmap,
    interval_strip,
    line_chart,
    reliability_diagram,
    round_ticks,
    thinned,
)
from feinschliff.results.evaluation import Calibration, CalibrationBin

CALIBRATION = Calibration(
    ece=0.1,
    bins=[
        CalibrationBin(low=0.4, high=0.6, count=10, confidence=0.52, accuracy=0.3),
        CalibrationBin(low=0.8, high=1.0, count=90, confidence=0.95, accuracy=0.9),
    ],
)


def drawn(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        (0.859, 0.945, (0.86, 0.88, 0.9, 0.92, 0.94)),
        (3, 1600, (500, 1000, 1500)),
        (-2.5, 2.5, (-2, -1, 0, 1, 2)),
        (5.0, 5.0, (5.0,)),
    ],
)
def test_ticks_are_round_and_inside(low: float, high: float, ticks: tuple[float, ...]) -> None:
    assert round_ticks(low, high) == pytest.approx(ticks)


def test_a_line_goes_from_corner_to_corner_of_its_scale() -> None:
    chart = drawn(line_chart([Series("a", "train", [(0, 0.0), (10, 1.0)])], "x", "step", str))
    line = chart.find("polyline")
    assert line is not None
    (x0, y0), (x1, y1) = (tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split())
    assert x0 < x1
    assert y0 > y1  # larger is higher up
    grid = [float(e.attrib["y1"]) for e in chart.findall("line")]
    assert max(grid) == y0
    assert min(grid) == y1


def test_one_point_and_no_point() -> None:
    assert line_chart([Series("a", "train", [])], "x", "step", str) == ""
    assert line_chart([Series("a", "train", [(1, float("inf"))])], "x", "step", str) == ""
    single = drawn(line_chart([Series("a", "train", [(1, 0.5)], dots=True)], "x", "step", str, mark=(1, "best")))
    assert len(single.findall("circle")) == 1


def test_a_long_line_is_averaged_in_pieces() -> None:
    points = [(float(i), float(i % 2)) for i in range(10_000)]
    short = thinned(points, 100)
    assert len(short) == 100
    assert short[0] == (49.5, 0.5)
    assert thinned(points[:100], 100) == points[:100]


def test_colours_come_from_the_style_sheet() -> None:
    charts = [
        line_chart([Series("a", "train", [(0, 0), (1, 1)])], "x", "step", str),
        reliability_diagram(CALIBRATION, 0.95),
        heatmap([[3, 1], [0, 4]], ["a", "b"]),
        interval_strip(0.1, 0.2, 0.3, "tuned", zero=0.05),
    ]
    for chart in charts:
        drawn(chart)
        assert not re.search(r'(fill|stroke)="', chart)
        assert "#" not in chart


def test_reliability_bars_stand_at_their_share() -> None:
    chart = drawn(reliability_diagram(CALIBRATION, 0.95))
    bars = [e for e in chart.findall("rect") if e.attrib["class"] == "bar-right"]
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert heights[1] / heights[0] == pytest.approx(3.0, abs=0.01)
    assert len([e for e in chart.findall("line") if e.attrib["class"] == "whisker"]) == 2


def test_the_heatmap_names_its_cells_and_draws_the_filled_ones() -> None:
    chart = drawn(heatmap([[3, 1], [0, 4]], ["<b>", "b"]))
    cells = [e for e in chart.findall("rect") if e.attrib["class"] != "heat-ground"]
    assert [c.attrib["class"] for c in cells] == ["heat-right", "heat-wrong", "heat-right"]
    assert [c.findtext("title") for c in cells] == ["<b> → <b>: 3 of 4", "<b> → b: 1 of 4", "b → b: 4 of 4"]


def test_a_strip_places_its_marks_in_percent() -> None:
    strip = drawn(interval_strip(0.1, 0.25, 0.5, "tuned", zero=0.05))
    zero, whisker = strip.findall("line")
    assert (zero.attrib["x1"], whisker.attrib["x1"], whisker.attrib["x2"]) == ("5.00%", "10.00%", "50.00%")
    dot = strip.find("circle")
    assert dot is not None
    assert dot.attrib["cx"] == "25.00%"
