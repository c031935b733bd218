"""Figures as people read them."""

import pytest

from feinschliff.results.formats import (
    format_bound,
    format_difference,
    format_duration,
    format_metric_name,
    format_p,
    format_rate,
    format_value,
    shorten,
)


def test_metrics_and_p_values() -> None:
    assert format_value("accuracy", 0.9423) == "94.2%"
    assert format_value("mcc", 0.9423) == "0.942"
    assert format_metric_name("macro_f1") == "macro F1"
    assert format_metric_name("my_metric") == "my metric"
    assert [format_p(p) for p in (0.00001, 0.0123, 0.5)] == ["p < 0.001", "p = 0.012", "p = 0.50"]


def test_differences_keep_their_side_of_zero() -> None:
    assert format_difference("accuracy", 0.0123) == "+1.2 points"
    assert format_difference("mcc", -0.0123) == "-0.012"
    assert format_difference("accuracy", 0.0) == "0.0 points"
    assert [format_bound("accuracy", v) for v in (0.0004, -0.0004, 0.0, -0.000001)] == ["0.04", "-0.04", "0.0", "0.00"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.7, "1 min 00 s"), (380, "6 min 20 s"), (7530, "2 h 06 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_rates() -> None:
    assert (format_rate(1239.6), format_rate(3.21)) == ("1,240 rows/s", "3.2 rows/s")


def test_shorten_makes_one_printable_line() -> None:
    assert shorten("a\n\tb\x00c", 10) == "a b\N{REPLACEMENT CHARACTER}c"
    assert shorten("x" * 5_000_000, 10) == "x" * 9 + "…"
    assert shorten("exactly ten", 11) == "exactly ten"
