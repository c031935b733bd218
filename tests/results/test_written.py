"""Figures of written texts: matches by hand and against SQuAD's, likelihoods against plain sums, lower is better."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feinschliff.results.answers import exact_match
from feinschliff.results.check_files import Written
from feinschliff.results.checkers import load_checks
from feinschliff.results.formats import format_metric_name, format_value, goodness
from feinschliff.results.intervals import paired_bootstrap, proportion_interval
from feinschliff.results.resampling import value_of
from feinschliff.results.verdicts import compare, verdict
from feinschliff.results.written import check_figures, likelihood_figures, match_figures, measure_written


def matches(golds: list[list[str]], texts: list[str]) -> dict[str, float]:
    return {name: value_of(figure) for name, figure in match_figures(golds, texts).items()}


def test_matches_normalised_and_to_the_letter() -> None:
    golds = [["The cat."], ["the cat"], ["dog", "A dog"], ["x"]]
    assert matches(golds, ["cat", "the cat\n", "A dog", "y"]) == {"exact_match": 0.75, "strict_match": 0.5}


def test_a_reference_of_which_normalisation_leaves_nothing_is_not_everything() -> None:
    assert exact_match(["A"], "the") == 1.0  # SQuAD's own rule: both are no answer
    assert matches([["A"]], ["the"])["exact_match"] == 0.0
    assert matches([["A"]], [" a "])["exact_match"] == 1.0


words = st.lists(st.sampled_from(["cat", "The", "a", "Dog!", "1,000", "x-y"]), min_size=1, max_size=4).map(" ".join)


@given(words, words)
def test_elsewhere_the_match_is_squads(gold: str, text: str) -> None:
    if exact_match([gold], ""):
        return
    assert matches([[gold]], [text])["exact_match"] == exact_match([gold], text)


def test_shares_have_wilsons_interval_and_checks_their_own_names() -> None:
    rows = [Written("q", f"so {i}", (f"#### {i if i < 3 else 9}",), f"f:{i}") for i in range(5)]
    measures = measure_written(check_figures(load_checks(["number=last_number", "says=regex:^so"]), rows))
    assert measures["number"] == proportion_interval(3, 5)
    assert measures["says"] == proportion_interval(5, 5)


losses = st.lists(st.tuples(st.floats(0, 8), st.integers(1, 40)), min_size=2, max_size=12)


@settings(max_examples=60, deadline=None)
@given(losses)
def test_loss_and_perplexity_are_those_of_all_tokens_laid_end_to_end(rows: list[tuple[float, int]]) -> None:
    every_token = np.concatenate([np.full(count, mean) for mean, count in rows])
    sums, counts = np.array([mean * count for mean, count in rows]), np.array([count for _, count in rows])
    found = {name: value_of(figure) for name, figure in likelihood_figures(sums, counts).items()}
    assert found["loss"] == pytest.approx(every_token.mean())
    assert found["perplexity"] == pytest.approx(math.prod(np.exp(every_token / len(every_token))))


def test_resampled_rows_keep_their_tokens() -> None:
    """Against a bootstrap written out: rows are drawn, their tokens pooled."""
    generator = np.random.default_rng(0)
    counts = generator.integers(1, 60, 80)
    right = generator.binomial(counts, 0.6)
    sums = counts * generator.normal(2, 0.3, 80).clip(0.1)
    figures = likelihood_figures(sums, counts, right)
    measured = measure_written(figures, samples=4000)
    drawn = generator.integers(0, 80, (4000, 80))
    pooled = sums[drawn].sum(1) / counts[drawn].sum(1)
    assert [measured["loss"].low, measured["loss"].high] == pytest.approx(np.quantile(pooled, [0.025, 0.975]), abs=0.01)
    assert measured["perplexity"].low == pytest.approx(math.exp(measured["loss"].low), rel=1e-9)
    assert measured["perplexity"].value == pytest.approx(math.exp(sums.sum() / counts.sum()))
    assert measured["token_accuracy"].value == pytest.approx(right.sum() / counts.sum())


def test_perplexity_is_that_of_torch_cross_entropy() -> None:
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(30, 11, generator=generator), torch.randint(11, (30,), generator=generator)
    row = torch.tensor([0] * 4 + [1] * 20 + [2] * 6)
    each = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    sums = [float(each[row == i].sum()) for i in range(3)]
    right = [int((logits.argmax(1) == targets)[row == i].sum()) for i in range(3)]
    found = likelihood_figures(np.array(sums), np.array([4, 20, 6]), np.array(right))
    expected = math.exp(float(torch.nn.functional.cross_entropy(logits, targets)))
    assert value_of(found["perplexity"]) == pytest.approx(expected, rel=1e-5)
    assert value_of(found["token_accuracy"]) == pytest.approx(float((logits.argmax(1) == targets).float().mean()))


def test_rows_without_tokens_count_nothing_and_a_certain_model_has_no_borrowed_interval() -> None:
    figures = likelihood_figures(np.array([0.0, 4.0]), np.array([0, 2]))
    assert value_of(figures["loss"]) == 2.0
    certain = measure_written(likelihood_figures(np.zeros(30), np.full(30, 5), np.full(30, 5)), samples=100)
    assert (certain["loss"].low, certain["loss"].high) == (0.0, 0.0)
    assert (certain["perplexity"].low, certain["perplexity"].high) == (1.0, 1.0)
    assert certain["token_accuracy"] == proportion_interval(30, 30)


@pytest.mark.parametrize(
    ("sums", "counts", "right", "says"),
    [
        ([1.0], [0], None, "no token"),
        ([1.0, 2.0], [1], None, "must be"),
        ([float("nan")], [1], None, "finite"),
        ([-1.0], [1], None, "negative"),
        ([1.0], [1], [2], "more right"),
        ([], [], None, "no token"),
    ],
    ids=["no tokens", "shapes", "nan", "negative", "too many right", "no rows"],
)
def test_likelihoods_that_cannot_be(sums: list[float], counts: list[int], right: list[int] | None, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        likelihood_figures(np.array(sums), np.array(counts), None if right is None else np.array(right))


def test_rows_that_cannot_be_matched() -> None:
    with pytest.raises(ValueError, match="must match"):
        match_figures([["a"]], [])
    with pytest.raises(ValueError, match="at least one reference"):
        match_figures([[]], ["a"])
    with pytest.raises(ValueError, match="no rows"):
        check_figures(load_checks(["a=json"]), [])


@pytest.mark.parametrize("metric", ["loss", "perplexity"])
def test_less_is_better_in_a_paired_comparison(metric: str) -> None:
    generator = np.random.default_rng(1)
    counts = generator.integers(5, 60, 150)
    base = counts * generator.normal(2.5, 0.6, 150).clip(0.1)
    tuned = base - counts * generator.normal(0.3, 0.1, 150)
    ours, theirs = (likelihood_figures(sums, counts)[metric] for sums in (tuned, base))
    better, worse = compare(metric, "base", ours, theirs), compare(metric, "base", theirs, ours)
    assert better.difference.value == pytest.approx(value_of(theirs) - value_of(ours))
    assert better.difference.low > 0.0
    assert worse.difference.value == -better.difference.value
    assert [verdict(evidence).verdict for evidence in (better, worse)] == ["ship", "keep-baseline"]
    assert "less" in verdict(better).sentence
    assert goodness(metric, 1.0) > goodness(metric, 2.0)
    rows = np.stack([np.stack([tuned, counts]), np.stack([base, counts])]).transpose(0, 2, 1)

    def loss(_: object, table: np.ndarray) -> float:
        mean = table[:, 0].sum() / table[:, 1].sum()
        return -float(mean if metric == "loss" else math.exp(mean))

    plain = paired_bootstrap(loss, rows[0], rows[0], rows[1], samples=2000)
    assert better.difference.value == pytest.approx(plain.value)
    assert [better.difference.low, better.difference.high] == pytest.approx([plain.low, plain.high], rel=0.1)


def test_a_small_gain_is_one_percent_of_perplexity_and_a_hundredth_of_loss() -> None:
    """The same gain either way: the loss is the perplexity's logarithm."""
    generator = np.random.default_rng(2)
    counts = np.full(4000, 50)
    base = counts * generator.normal(3.0, 0.2, 4000)
    tuned = base - counts * generator.normal(0.001, 0.02, 4000)
    words_of = set()
    for metric in ("loss", "perplexity"):
        ours, theirs = (likelihood_figures(sums, counts)[metric] for sums in (tuned, base))
        words_of.add(verdict(compare(metric, "base", ours, theirs, samples=500)).verdict)
    assert words_of <= {"keep-baseline", "ship"}
    assert len(words_of) == 1


def test_undecided_says_how_many_rows_in_plain_words() -> None:
    counts = np.full(12, 10)
    base = counts * np.random.default_rng(3).normal(2.0, 0.5, 12)
    tuned = base + np.random.default_rng(4).normal(0.0, 3.0, 12)
    ours, theirs = (likelihood_figures(sums, counts)["loss"] for sums in (tuned, base))
    sentence = verdict(compare("loss", "base", ours, theirs)).sentence
    assert "Cannot tell" in sentence
    assert "gain of 0.010 less" not in sentence


def test_how_they_are_written() -> None:
    assert [format_value("perplexity", v) for v in (7.3941, 1234.5)] == ["7.394", "1,234"]
    assert [format_value(name, 0.5) for name in ("loss", "token_accuracy", "strict_match")] == [
        "0.500",
        "50.0%",
        "50.0%",
    ]
    assert format_metric_name("strict_match") == "exact match to the letter"
