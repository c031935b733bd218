"""What a judge found: verdicts of pairs and points of single answers, added up. Knows no judge and no prompt."""

from __future__ import annotations

from feinschliff.results.measures import Difference, Measure, Result

PREFERENCE, SCORE = "judge_preference", "judge_score"


class Usage(Result):
    """What judging took."""

    prompts: int = 0
    prompt_tokens: int = 0
    """As the endpoint counted them; 0 where it did not say."""
    completion_tokens: int = 0
    cost: float | None = None
    """In the currency of the prices given; None: no prices are known."""


class JudgedPairs(Result):
    """Two candidates, row by row."""

    rows: int
    """Rows that were judged: of which both verdicts could be read."""
    wins: int
    ties: int
    """Also rows whose two verdicts contradict each other."""
    losses: int
    unparsable_rows: int
    unparsable_replies: int
    cut_off_replies: int = 0
    """Of these, the ones that were longer than the judge was allowed."""
    preference: Measure
    """Wins and half of the ties, as a share of the rows."""
    difference: Difference
    """Share of wins minus share of losses, McNemar's mid-p (a sign test without the ties) and Newcombe's interval."""
    confidence: float
    changed_with_order: int
    """Rows on which the judge said something else after the answers had changed places."""
    first_place_preferred: float
    """Share of all verdicts, a tie counting half, for the answer that stood first; 0.5: no bias."""
    usage: Usage


class JudgedScores(Result):
    """One candidate, row by row."""

    rows: int
    unparsable_replies: int
    cut_off_replies: int = 0
    """Of these, the ones that were longer than the judge was allowed."""
    score: Measure
    """Mean over rows; 1 to 10 points as 0 to 1."""
    confidence: float
    usage: Usage


class Judgement(Result):
    """Who judged a model's written answers against a baseline's, and what came of it."""

    model: str
    """Of the judge, as its endpoint names it."""
    url: str
    rubric: str | None
    """What a better answer is, as the judge was told; None: the words that stand in `results/judge_prompts.py`."""
    baseline: str
    rows: int
    """Rows that both answered in writing, and that were given to the judge."""
    unjudged_rows: int
    """Of these, rows without a verdict in both orders: no reply, or none that can be read."""
    pairs: JudgedPairs | None
    """None: too few rows were judged, see `problem`."""
    problem: str = ""
    """What went wrong with the endpoint or its replies; empty: nothing did."""

    @property
    def said(self) -> str:
        """One sentence."""
        missing = f"; {self.unjudged_rows:,} of {self.rows:,} rows not judged" if self.unjudged_rows else ""
        if self.pairs is None:
            return f"the judge {self.model} gave no result{missing}"
        found = self.pairs
        return (
            f"the judge {self.model} prefers the tuned model on {found.wins:,} rows, the {self.baseline} on "
            f"{found.losses:,}, and neither on {found.ties:,}{missing}"
        )
