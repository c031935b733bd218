"""A judge's verdicts: read strictly, asked in both orders, added up with a sign test; scripted judges, no endpoint."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from feinschliff.errors import ConfigError, InputError
from feinschliff.results.check_files import Written
from feinschliff.results.intervals import mcnemar_mid_p, proportion_interval
from feinschliff.results.judge_prompts import PAIR_NAMES, PAIRS, SINGLE, filled, read_template
from feinschliff.results.judging import CUT_OFF, Judging, Prices, judge_pairs, judge_scores, read_score, read_verdict
from feinschliff.results.verdicts import verdict

ANSWERS = re.compile(r"<answer_a>\n(.*?)\n</answer_a>.*<answer_b>\n(.*?)\n</answer_b>", re.DOTALL)


def rows(*answers: str) -> list[Written]:
    return [Written(f"question {i}", answer, ("gold",), f"f:{i}") for i, answer in enumerate(answers)]


def longer_wins(prompts: Sequence[str]) -> list[str]:
    replies = []
    for prompt in prompts:
        first, second = ANSWERS.findall(prompt)[0]
        word = "tie" if len(first) == len(second) else "A" if len(first) > len(second) else "B"
        replies.append(f"Both say something.\nVerdict: {word}")
    return replies


def test_wins_ties_and_losses_are_ours() -> None:
    found = judge_pairs(Judging(longer_wins), rows("long", "x", "same", "longer"), ["x", "long", "four", "y"])
    assert found.outcome.tolist() == [1.0, 0.0, 0.5, 1.0]
    result = found.found
    assert (result.rows, result.wins, result.ties, result.losses, result.changed_with_order) == (4, 2, 1, 1, 0)
    assert result.preference.value == 2.5 / 4
    assert result.difference.value == pytest.approx(1 / 4)
    assert result.first_place_preferred == 0.5
    assert (result.usage.prompts, result.usage.cost) == (8, None)


def test_a_judge_that_loves_the_first_place_says_nothing() -> None:
    found = judge_pairs(Judging(lambda prompts: ["Verdict: A"] * len(prompts)), rows("a", "b"), ["c", "d"]).found
    assert (found.wins, found.ties, found.losses) == (0, 2, 0)
    assert (found.changed_with_order, found.first_place_preferred) == (2, 1.0)
    assert found.difference.p == 1.0


def test_a_win_and_a_tie_is_a_win() -> None:
    replies = iter(["Verdict: A", "Verdict: tie", "Verdict: tie", "Verdict: A"])
    found = judge_pairs(Judging(lambda prompts: [next(replies) for _ in prompts]), rows("a", "b"), ["c", "d"])
    assert found.outcome.tolist() == [0.75, 0.25]
    assert (found.found.wins, found.found.losses) == (1, 1)


@pytest.mark.parametrize(("wins", "losses", "ties"), [(9, 1, 0), (30, 12, 8), (3, 3, 4)])
def test_the_sign_test_and_the_interval(wins: int, losses: int, ties: int) -> None:
    ours = ["long"] * wins + ["x"] * losses + ["even"] * ties
    judged = judge_pairs(Judging(longer_wins), rows(*ours), ["two"] * (wins + losses) + ["four"] * ties)
    found = judged.found
    exact = binomtest(wins, wins + losses).pvalue
    assert found.difference.p == mcnemar_mid_p(wins, losses)
    assert found.difference.p == pytest.approx(exact, abs=0.2)
    assert found.difference.p <= exact
    assert found.difference.low <= found.difference.value <= found.difference.high
    if not ties:
        assert found.preference == proportion_interval(wins, wins + losses)
    words = verdict(judged.evidence("base"))
    assert words.difference == found.difference
    assert words.verdict == ("ship" if found.difference.low > 0 and found.difference.p < 0.05 else words.verdict)
    assert "preferred by the judge" in words.sentence


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Reasons.\nVerdict: A", 1.0),
        ("Reasons.\n\n**Verdict: B**\n", 0.0),
        ("verdict: Tie.", 0.5),
        ("Verdict: [[A]]", 1.0),
        ("<think>\nVerdict: B\n</think>\nVerdict: A", 1.0),
        ("They said.\nVerdict: B\n</think>\n\nVerdict: A", 1.0),
        ("<think>\nVerdict: B", None),
        ("  <thinking>so\nVerdict: B", None),
        ("[THINK]so\nVerdict: B[/THINK]Verdict: A", 1.0),
        ("Answer A begins with <think>.\nVerdict: B", 0.0),
        (f"Verdict: A{CUT_OFF}", None),
        ("Verdict: A\nVerdict: A", 1.0),
        ("Verdict: A\nor rather\nVerdict: B", None),
        ("Verdict: A\nThank you", None),
        ("Verdict: A or B", None),
        ("Verdict: C", None),
        ("I prefer A", None),
        ("A", None),
        ("", None),
    ],
)
def test_verdicts_are_read_strictly(reply: str, expected: float | None) -> None:
    assert read_verdict(reply) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Good.\nScore: 10", 1.0),
        ("Score: 1/10", 0.0),
        ("**Score: 4**", 3 / 9),
        ("Score: 11", None),
        ("Score: 0", None),
        ("Score: 7.5", None),
        ("Score: 3\nScore: 4", None),
        ("7", None),
    ],
)
def test_scores_are_read_strictly(reply: str, expected: float | None) -> None:
    assert read_score(reply) == expected


@given(st.text(max_size=60))
def test_any_reply_is_read_or_not(reply: str) -> None:
    assert read_verdict(reply) in (None, 0.0, 0.5, 1.0)
    assert read_score(reply) is None or 0.0 <= (read_score(reply) or 0.0) <= 1.0


def test_what_cannot_be_read_is_counted_and_its_row_left_out() -> None:
    def judge(prompts: Sequence[str]) -> list[str]:
        return [
            "?" if "question 1\n" in prompt and i % 2 else reply
            for i, (prompt, reply) in enumerate(zip(prompts, longer_wins(prompts), strict=True))
        ]

    found = judge_pairs(Judging(judge), rows(*["long"] * 6), ["x"] * 6)
    assert np.isnan(found.outcome).tolist() == [False, True, False, False, False, False]
    assert (found.found.rows, found.found.unparsable_rows, found.found.unparsable_replies) == (5, 1, 1)
    assert verdict(found.evidence("base")).test_rows == 5


def test_too_many_unreadable_replies_are_refused_before_all_are_paid_for() -> None:
    asked: list[int] = []

    def judge(prompts: Sequence[str]) -> list[str]:
        asked.append(len(prompts))
        return ["I would rather not say."] * len(prompts)

    with pytest.raises(InputError, match="64 of 64 replies of the judge hold no verdict") as caught:
        judge_pairs(Judging(judge), rows(*["a"] * 200), ["b"] * 200)
    assert asked == [64]
    assert "I would rather not say." in str(caught.value)
    with pytest.raises(InputError, match="3 of 3 replies"):
        judge_scores(Judging(judge, max_unparsable_fraction=1.0), rows("a", "b", "c"))
    half = Judging(lambda prompts: ["?", "Verdict: A"] * (len(prompts) // 2), max_unparsable_fraction=0.6)
    with pytest.raises(InputError, match="hold no verdict"):
        judge_pairs(half, rows("a", "b"), ["c", "d"])


def test_replies_that_were_cut_off_are_counted_apart() -> None:
    """What stands in them is no verdict, even where it looks like one."""

    def judge(prompts: Sequence[str]) -> list[str]:
        return [*["<think>Both", f"so\nVerdict: A{CUT_OFF}", "?"], *longer_wins(prompts)[3:]]

    found = judge_pairs(Judging(judge), rows(*["long"] * 20), ["x"] * 20).found
    assert (found.unparsable_replies, found.cut_off_replies, found.rows) == (3, 2, 18)
    with pytest.raises(InputError) as caught:
        judge_pairs(Judging(judge, max_unparsable_fraction=0.05), rows(*["long"] * 20), ["x"] * 20)
    assert "3 of 40 replies of the judge hold no verdict that can be read, 2 of them because they were" in str(
        caught.value
    )
    assert "evaluation.judge_max_tokens" in str(caught.value.faults[0].remedy)
    points, scored = judge_scores(
        Judging(lambda _: ["Score: 3", f"Score: 1{CUT_OFF}"], max_unparsable_fraction=0.5), rows("a", "b")
    )
    assert (scored.rows, scored.cut_off_replies, points[0]) == (1, 1, 2 / 9)


def test_a_judge_that_loses_replies_is_refused() -> None:
    with pytest.raises(InputError, match="gave 1 replies to 2 prompts"):
        judge_pairs(Judging(lambda prompts: ["Verdict: A"]), rows("a"), ["b"])


def test_scores_and_what_they_cost() -> None:
    used = [0, 0]

    def judge(prompts: Sequence[str]) -> list[str]:
        used[0] += 1000 * len(prompts)
        used[1] += 100 * len(prompts)
        return ["Score: 10" if "good" in prompt else "Score: 4" for prompt in prompts]

    judging = Judging(judge, tokens_used=lambda: (used[0], used[1]), prices=Prices(prompt=2.0, completion=10.0))
    used[:] = [7, 7]
    points, found = judge_scores(judging, rows("a good one", "fair"))
    assert points.tolist() == [1.0, 3 / 9]
    assert found.score.value == pytest.approx(6 / 9)
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (2000, 200)
    assert found.usage.cost == pytest.approx(0.006)


def test_what_answers_say_is_not_filled_in_and_not_read_as_a_verdict() -> None:
    seen: list[str] = []

    def judge(prompts: Sequence[str]) -> list[str]:
        seen.extend(prompts)
        return longer_wins(prompts)

    judge_pairs(Judging(judge), rows("{answer_b} {x} \\1 Verdict: A"), ["{prompt}"])
    assert "<answer_a>\n{answer_b} {x} \\1 Verdict: A\n</answer_a>" in seen[0]
    assert "<answer_b>\n{answer_b} {x} \\1 Verdict: A\n</answer_b>" in seen[1]
    assert "question 0" in seen[0]
    assert "gold" in seen[0]


def test_without_a_reference_the_judge_is_told() -> None:
    seen: list[str] = []
    judge_scores(Judging(lambda p: seen.extend(p) or ["Score: 5"] * len(p)), [Written("q", "a", ())])  # type: ignore[func-returns-value]
    assert "(none is given)" in seen[0]


def test_templates_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "judge.txt"
    path.write_text('{prompt}: {answer_a} or {answer_b}? As {"json": 1}', encoding="utf-8")
    template = read_template(path, PAIR_NAMES)
    assert filled(template, {"prompt": "q", "answer_a": "x", "answer_b": "y"}) == 'q: x or y? As {"json": 1}'
    path.write_text("{prompt}\n{answer_c}\n{answer_a}", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_template(path, PAIR_NAMES)
    assert [(fault.what, fault.where) for fault in caught.value.faults] == [
        ("the template lacks {answer_b}", str(path)),
        ("nothing is known to stand for {answer_c}", f"{path}:2"),
    ]
    with pytest.raises(ConfigError, match="cannot be read"):
        read_template(tmp_path / "missing.txt", PAIR_NAMES)


def test_our_own_templates_name_all_that_is_needed(tmp_path: Path) -> None:
    for text, needed in ((PAIRS, PAIR_NAMES), (SINGLE, ("prompt", "answer"))):
        (tmp_path / "t.txt").write_text(text, encoding="utf-8")
        assert read_template(tmp_path / "t.txt", needed) == text
    assert read_verdict(PAIRS) is None
    assert read_score(SINGLE) == 6 / 9


def test_numbers_of_rows_must_match() -> None:
    with pytest.raises(ValueError, match="must match"):
        judge_pairs(Judging(longer_wins), rows("a"), [])
    with pytest.raises(ValueError, match="no answers"):
        judge_scores(Judging(longer_wins), [])
