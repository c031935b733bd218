"""A judge over an endpoint: asked about answers of the tuned and the base model to the same rows. Knows no metric.

A reply that does not come is an answer that was not judged, never a lost evaluation: rows are counted, and after some
failures one after the other the judge is given up. The key is read from the environment and shown nowhere.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from feinschliff import settings
from feinschliff.config.evaluation import EvaluationConfig, faults_of_judge
from feinschliff.config.generation import SamplingConfig
from feinschliff.errors import ConfigError, Fault, FeinschliffError, InputError, ResourceError
from feinschliff.generation.openai_backend import Endpoint, OpenAIBackend
from feinschliff.generation.port import Request
from feinschliff.lifecycle.observing import Observer, counted
from feinschliff.results.check_files import Written
from feinschliff.results.evaluation import EvaluationResult
from feinschliff.results.judged import PREFERENCE, Judgement
from feinschliff.results.judging import CUT_OFF, MORE_TOKENS, Judging, PairVerdicts, judge_pairs
from feinschliff.results.measures import Measure
from feinschliff.results.verdicts import Evidence

LONGEST_REPLY_TOKENS = 4096
"""If nothing else is asked for: judges that think aloud do so before the verdict."""
FAILURES_TO_GIVE_UP = 4
"""So many replies one after the other that did not come, each after its tries, and no more is asked."""
TRIES, TRIES_AT_START = 5, 2
PAUSE_SECONDS = 1.0
"""Before the second try; doubled each time, unless the endpoint says how long."""
NEWER_LIMIT = "max_completion_tokens"
"""What OpenAI's newer models call the longest answer, and say so when they are given the older name."""
DISPENSABLE = ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty")
"""Fields that a judge is asked without, where its endpoint refuses them by name: reasoning models often do."""


class EndpointJudge:
    """Prompts to replies. Made before the work begins, so that a wrong address or key is said at once.

    Raises:
        ConfigError: it is not whole.
        InputError: the endpoint refuses the key, the model or the request.
        ResourceError: it cannot be reached, or is no such endpoint.
    """

    def __init__(self, config: EvaluationConfig) -> None:
        faults = faults_of_judge(config)
        if faults:
            raise ConfigError(faults)
        self.config, self._key = config, settings.read().judge_api_key
        self._endpoint = Endpoint(
            str(config.judge_url),
            str(config.judge_model),
            self._key,
            num_tries=TRIES_AT_START,
            pause_seconds=PAUSE_SECONDS,
        )
        if config.judge_timeout_seconds is not None:
            self._endpoint = replace(self._endpoint, timeout_seconds=config.judge_timeout_seconds)
        self._sampling = SamplingConfig(max_new_tokens=config.judge_max_tokens or LONGEST_REPLY_TOKENS)
        self._endpoint = self._tried(self._endpoint)
        self._lock = threading.Lock()
        self._failures, self._prompt_tokens = 0, 0
        self._fault: Fault | None = None
        self.on_replies: Callable[[int], None] = lambda _: None

    def _tried(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint as it wants to be asked, after a word with it, in the form in which it will be asked."""
        hello = Request(messages=[{"role": "user", "content": "Reply with the one word: ready"}])
        try:
            with closing(OpenAIBackend(endpoint)) as backend:
                backend.generate([hello], self._sampling)
        except FeinschliffError as error:
            if NEWER_LIMIT in str(error) and endpoint.limit_field != NEWER_LIMIT:
                return self._tried(replace(endpoint, limit_field=NEWER_LIMIT))
            said = set(re.findall(r"\w+", str(error)))
            named = [name for name in DISPENSABLE if name in said and name not in endpoint.unset]
            if named and isinstance(error, InputError):
                return self._tried(replace(endpoint, unset=(*endpoint.unset, *named)))
            raise type(error)([self._told(fault) for fault in error.faults]) from None
        return replace(endpoint, num_tries=TRIES)

    def _told(self, fault: Fault) -> Fault:
        """The fault with what a person can do here, and without the key, should a server repeat it."""
        remedy = fault.remedy
        if "key" in fault.what:
            remedy = f"put the right key into the environment variable {settings.JUDGE_KEY}"
        elif "refuses the request" in fault.what and re.search("max_(completion_)?tokens|context", fault.why or ""):
            remedy = "give a smaller evaluation.judge_max_tokens, or let the endpoint serve a longer context"
        words = [text and self._without_key(text) for text in (fault.what, fault.where, fault.why, remedy)]
        return Fault(f"the judge: {words[0]}", *words[1:])

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "(the key)") if self._key else text

    @property
    def notes(self) -> list[str]:
        """What is to be said of the way it is asked."""
        unset = self._endpoint.unset
        if not {"temperature", "seed"} & set(unset):
            return []
        return [
            f"the judge's endpoint refuses {' and '.join(unset)}: it is asked without, and may say otherwise next time"
        ]

    @property
    def given_up(self) -> bool:
        """Whether too many replies in a row did not come."""
        return self._failures >= FAILURES_TO_GIVE_UP

    def problem(self, other: Fault | None = None) -> str:
        """The last fault of the endpoint, and another one, on one line; empty where there is none."""
        return "; ".join(" ".join(str(fault).split()) for fault in (self._fault, other) if fault is not None)

    def tokens_used(self) -> tuple[int, int]:
        """Prompt and completion tokens; the latter are not told."""
        return self._prompt_tokens, 0

    def __call__(self, prompts: Sequence[str]) -> list[str]:
        """A reply a prompt, empty where none came, marked where it was cut off."""
        with (
            closing(OpenAIBackend(self._endpoint)) as backend,
            ThreadPoolExecutor(self._endpoint.num_parallel) as pool,
        ):
            asked = [pool.submit(self._ask, backend, prompt) for prompt in prompts]
            try:
                return [one.result() for one in asked]
            finally:
                pool.shutdown(cancel_futures=True)

    def _ask(self, backend: OpenAIBackend, prompt: str) -> str:
        if self.given_up:
            return ""
        request = Request(messages=[{"role": "user", "content": prompt}])
        try:
            (reply,) = backend.generate([request], self._sampling)
        except FeinschliffError as error:
            with self._lock:
                self._failures, self._fault = self._failures + 1, self._told(error.faults[0])
            return ""
        with self._lock:
            self._failures, self._prompt_tokens = 0, self._prompt_tokens + (reply.num_prompt_tokens or 0)
            self.on_replies(1)
        return reply.text + CUT_OFF if reply.finish_reason == "length" else reply.text


@dataclass(frozen=True, slots=True)
class Compared:
    """What the judge made of two candidates."""

    judgement: Judgement
    verdicts: PairVerdicts | None
    """None: too few rows were judged."""
    notes: Sequence[str] = ()

    def evidence(self) -> Evidence:
        """For a verdict.

        Raises:
            ResourceError: the judge gave no result.
        """
        if self.verdicts is None:
            raise ResourceError(
                f"{self.judgement.said}, and it was to decide",
                where="evaluation.metric",
                why=self.judgement.problem or None,
                remedy="start the same command again, with other judge options or without: what is trained is kept",
            )
        return self.verdicts.evidence(self.judgement.baseline)

    def on(self, evaluation: EvaluationResult) -> EvaluationResult:
        """Our evaluation with the judge's figure and what is to be said of it."""
        pairs, notes = self.judgement.pairs, [self.judgement.said, *self.notes]
        if self.judgement.problem:
            notes.append(self.judgement.problem)
        found = {} if pairs is None else {PREFERENCE: pairs.preference}
        return _with(evaluation, found, notes).model_copy(update={"judged": self.judgement})

    def on_baseline(self, evaluation: EvaluationResult) -> EvaluationResult:
        """The baseline's, with the other side of the same figure."""
        pairs = self.judgement.pairs
        if pairs is None:
            return evaluation
        ours = pairs.preference
        theirs = Measure(value=1.0 - ours.value, low=1.0 - ours.high, high=1.0 - ours.low)
        return _with(evaluation, {PREFERENCE: theirs}, [])


def _with(evaluation: EvaluationResult, found: dict[str, Measure], notes: list[str]) -> EvaluationResult:
    changes: dict[str, Any] = {"metrics": {**evaluation.metrics, **found}, "notes": [*evaluation.notes, *notes]}
    return evaluation.model_copy(update=changes)


def deciding(evaluation: EvaluationResult, metric: str) -> EvaluationResult:
    """The same with ``metric`` as the one that decides, and first of all, where it was measured."""
    if metric not in evaluation.metrics:
        return evaluation
    first = {metric: evaluation.metrics[metric]}
    return evaluation.model_copy(update={"metric": metric, "metrics": first | evaluation.metrics})


def beside(ours: EvaluationResult, theirs: EvaluationResult) -> EvaluationResult:
    """Our written answers with those of the baseline to the same rows."""
    said = {(one.row.file, one.row.line): one.written for one in theirs.written}
    written = [one.model_copy(update={"baseline": said.get((one.row.file, one.row.line))}) for one in ours.written]
    return ours.model_copy(update={"written": written})


def compared(
    judge: EndpointJudge,
    pairs: tuple[Sequence[Written], Sequence[str]],
    baseline: str,
    observers: Sequence[Observer] = (),
) -> Compared:
    """Every row is asked about twice, the answers exchanged.

    Args:
        pairs: rows with our answers, and the baseline's answers to the same rows.
        baseline: its name.
        observers: told how many replies came.
    """
    config, (ours, theirs) = judge.config, pairs
    found = Judgement(
        model=str(config.judge_model),
        url=str(config.judge_url),
        rubric=config.judge_rubric,
        baseline=baseline,
        rows=len(ours),
        unjudged_rows=len(ours),
        pairs=None,
        problem="" if ours else "no row was answered in writing by both",
    )
    if not ours:
        return Compared(found, None)
    judge.on_replies = counted(observers, "judging", 2 * len(ours))
    judging = Judging(
        judge,
        rubric=config.judge_rubric,
        tokens_used=judge.tokens_used,
        samples=config.bootstrap_samples,
        confidence=config.confidence,
    )
    try:
        verdicts = judge_pairs(judging, ours, theirs)
    except InputError as error:
        return Compared(found.model_copy(update={"problem": judge.problem(error.faults[0])}), None)
    judged = {"pairs": verdicts.found, "unjudged_rows": verdicts.found.unparsable_rows, "problem": judge.problem()}
    cut = verdicts.found.cut_off_replies
    said = f"{cut:,} of {2 * len(ours):,} replies of the judge were cut off ({MORE_TOKENS})"
    return Compared(found.model_copy(update=judged), verdicts, [*judge.notes, *([said] if cut else [])])
