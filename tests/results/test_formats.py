"""Figures as people read them."""

import pytest

from feinschliff.results.formats import (
    both_ends,
    format_bound,
    format_difference,
    format_duration,
    format_interval,
    format_metric_name,
    format_p,
    format_rate,
    format_value,
    is_percentage,
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


@pytest.mark.parametrize(
    ("metric", "name", "value", "text"),
    [
        ("pearson", "Pearson correlation", 0.87, "0.870"),
        ("r2", "R²", -0.2, "-0.200"),
        ("rmse", "RMSE", 12.345, "12.35"),
        ("mae", "mean absolute error", 123456.7, "123,457"),
        ("entity_f1", "entity F1", 0.914, "91.4%"),
        ("entity_precision", "entity precision", 0.914, "91.4%"),
        ("exact_match", "exact match", 0.8, "80.0%"),
        ("answer_f1", "answer F1", 0.8, "80.0%"),
        ("recall_at_10", "recall@10", 0.8, "80.0%"),
        ("ndcg_at_10", "nDCG@10", 0.5123, "0.512"),
        ("mrr", "MRR", 0.5, "0.500"),
        ("bleu", "BLEU", 0.3243, "32.4"),
        ("rouge_l", "ROUGE-L", 0.3243, "32.4"),
    ],
)
def test_metrics_of_other_tasks(metric: str, name: str, value: float, text: str) -> None:
    assert format_metric_name(metric) == name
    assert format_value(metric, value) == text
    assert is_percentage(metric) == text.endswith("%")


def test_errors_keep_their_size() -> None:
    assert [format_value("rmse", v) for v in (0.0, 0.04123, 1.0, 9.9999, 4.5e-7, 3.21e12)] == [
        "0", "0.04123", "1.000", "10.000", "4.5e-07", "3.21e+12",
    ]  # fmt: skip
    assert [format_difference("rmse", v) for v in (0.0431, -12.0, 0.0)] == ["0.0431 less", "12.0 more", "0 less"]
    assert format_difference("hamming_loss", -0.012) == "1.2 points more"
    assert format_interval("rmse", 0.01, -0.02, 0.04) == "-0.0200 to 0.0400"
    assert format_interval("rmse", -0.01, -0.04, 0.02) == "-0.0200 to 0.0400"
    assert format_interval("accuracy", -0.01, -0.04, 0.02) == "-4.0 to 2.0"


@pytest.mark.parametrize("length", [9, 10, 30, 100, 101, 1000])
def test_of_long_texts_both_ends_are_kept(length: int) -> None:
    text = ("abc" * length)[: length - 4] + "# 42"
    found = both_ends(text, 100)
    assert len(found) <= 100
    assert found.endswith("# 42")
    kept = found if length <= 100 else found.partition(" … ")[0]
    assert text.startswith(kept)
    assert len(kept) > 60 or kept == text
