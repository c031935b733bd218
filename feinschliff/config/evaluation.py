"""How a model is judged. Knows no model."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from feinschliff.config.bases import Config
from feinschliff.errors import Fault
from feinschliff.results.checkers import syntax_faults, whole_checks
from feinschliff.results.judged import PREFERENCE
from feinschliff.settings import JUDGE_KEY


class EvaluationConfig(Config):
    """Metrics and their intervals."""

    metric: str | None = None
    """The metric that decides; None: the task's (accuracy; macro F1 of very uneven classes; micro F1 multi-label)."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Coverage of every interval."""
    bootstrap_samples: int = Field(default=2000, ge=100, le=100000)
    """Resamples of a bootstrap interval."""
    worst_examples: int = Field(default=20, ge=0, le=1000)
    """How many of the most confidently wrong rows are listed."""
    written_rows: int = Field(default=32, ge=0)
    """How many held-out rows a language model answers in writing, to be read and checked; likelihoods are taken of all.
    """
    checks: tuple[str, ...] = ()
    """Checks of written answers, each a metric by its name: `NAME=KIND` or `NAME=KIND:ARGUMENT`. Comparing with the
    reference: `after:####`, `boxed`, `last_number`, `choice:ABCD`, `extract:REGEX` (its group), `json_field:PATH`.
    Looking at the answer alone: `regex:REGEX`, `json`, `json_schema:FILE`. A function of your own:
    `python:FILE.py:FUNCTION`. Empty: what the references mark (`####`, `\\boxed{}`), if they do."""
    judge_url: str | None = None
    """An endpoint that speaks OpenAI's HTTP, such as http://localhost:8000/v1: its model compares what the tuned and
    the base model wrote, row by row and in both orders. Its key comes from FEINSCHLIFF_JUDGE_API_KEY. None: no judge.
    """
    judge_model: str | None = Field(default=None, min_length=1)
    """The judging model, as the endpoint names it."""
    judge_rubric: str | None = Field(default=None, min_length=1, max_length=20000)
    """What a better answer is, in words for the judge; None: right, complete, to the point, following what was asked.
    """
    judge_timeout_seconds: float | None = Field(default=None, gt=0.0)
    """How long one reply of the judge may take; None: 300."""
    judge_max_tokens: int | None = Field(default=None, ge=64, le=1_000_000)
    """Longest reply of the judge, its thoughts included; None: 4,096. A longer one is cut off and holds no verdict."""

    @field_validator("judge_url")
    @classmethod
    def _is_an_address_without_secrets(cls, url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            host, secret = parts.hostname, parts.username or parts.password or parts.query or parts.fragment
            _ = parts.port
        except ValueError as error:
            raise ValueError(f"{error}; give it as http://HOST:PORT/v1 or https://HOST/v1") from None
        if parts.scheme not in ("http", "https") or not host:
            raise ValueError("give it as http://HOST:PORT/v1 or https://HOST/v1")
        if secret:
            raise ValueError(f"it is written into the run's files: put the key into {JUDGE_KEY}, not into the URL")
        return url

    @field_validator("checks")
    @classmethod
    def _can_be_made(cls, checks: tuple[str, ...]) -> tuple[str, ...]:
        whole = whole_checks(checks)
        faults = syntax_faults(whole)
        if faults:
            told = (f"{fault.what}: {fault.why}" + f" ({fault.remedy})" * bool(fault.remedy) for fault in faults)
            raise ValueError("\n       ".join(told))
        return whole


def faults_of_judge(config: EvaluationConfig) -> list[Fault]:
    """A judge that is half said, or that there is nothing for."""
    faults = []
    beside = {
        "evaluation.judge_model": config.judge_model,
        "evaluation.judge_rubric": config.judge_rubric,
        "evaluation.judge_timeout_seconds": config.judge_timeout_seconds,
        "evaluation.judge_max_tokens": config.judge_max_tokens,
    }
    if config.judge_url is None:
        remedy = "add evaluation.judge_url, such as http://localhost:8000/v1, or leave it out"
        faults = [Fault("there is no judge", name, None, remedy) for name, given in beside.items() if given is not None]
        if config.metric == PREFERENCE:
            faults.append(Fault(f"{PREFERENCE} needs a judge", "evaluation.metric", None, remedy))
        return faults
    if config.judge_model is None:
        why, remedy = "an endpoint may serve several models", "add evaluation.judge_model"
        faults.append(Fault("it is not said which model judges", "evaluation.judge_url", why, remedy))
    if not config.written_rows:
        why = "evaluation.written_rows is 0: nothing is written"
        faults.append(Fault("there is nothing to judge", "evaluation.judge_url", why, "let some rows be written"))
    return faults
