"""A finished run's answers beside those of the base model it was tuned from, for a judge. Knows no endpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from feinschliff.config.evaluation import EvaluationConfig, faults_of_judge
from feinschliff.config.run import RunConfig
from feinschliff.data.examples import Example
from feinschliff.engine.events import Announced
from feinschliff.engine.precision import Precision
from feinschliff.errors import ConfigError, Fault, RunDirectoryError
from feinschliff.lifecycle.embedding import FrozenEncoder
from feinschliff.lifecycle.judge import EndpointJudge
from feinschliff.lifecycle.observing import Observer, counted, tell
from feinschliff.models.sources import ResolvedModel, resolve_model
from feinschliff.store.run_directory import RunDirectory, read_json
from feinschliff.tasks._task import TaskContext

WHERE = "evaluation.judge_url"


def changed(config: EvaluationConfig, changes: Mapping[str, Any]) -> EvaluationConfig:
    """The same with other values.

    Raises:
        ConfigError: unknown fields and values that do not hold, all of them.
    """
    if not changes:
        return config
    try:
        return EvaluationConfig.model_validate({**config.model_dump(), **changes})
    except ValidationError as error:
        faults = [
            Fault(
                f"{_shown(fault['input'])} does not hold",
                f"evaluation.{fault['loc'][0]}",
                fault["msg"].removeprefix("Value error, "),
                "give another value, or leave it out",
            )
            for fault in error.errors()
        ]
        raise ConfigError(faults) from None


def _shown(value: Any) -> str:
    """What was given; of an address not what may be a password."""
    return repr(re.sub(r"//[^/@]*@", "//...@", str(value))[:80])


@dataclass(frozen=True, slots=True)
class BaseAndJudge:
    """What a comparison with the base model takes."""

    endpoint: EndpointJudge
    config: RunConfig
    model: ResolvedModel

    def in_precision(self, precision: Precision) -> BaseAndJudge:
        """The same with the base model in the type that the tuned one computes in."""
        training = self.config.training.model_copy(update={"precision": precision})
        return replace(self, config=self.config.model_copy(update={"training": training}))

    def base_answers(
        self, examples: Sequence[Example], context: TaskContext, written_rows: int, observers: Sequence[Observer]
    ) -> tuple[str, Any]:
        """Name of the base model, and its answers in the form of the task."""
        tell(observers, Announced(f"{self.model.name}, the base model, answers the same rows"))
        frozen = FrozenEncoder(self.config, self.model, context, observers)
        rival = frozen.task.rivals(frozen, examples, self.config.seed, lambda _: None)[-1]
        on_rows = counted(observers, f"writing, {rival.name}", min(written_rows, len(examples)))
        return rival.name, rival.in_writing(rival.answers(examples), examples, written_rows, on_rows)


def judge_of(run: Path, config: EvaluationConfig, *, writes: bool) -> BaseAndJudge | None:
    """The judge that is asked for, and the base model that it compares with; both are looked for before any work.

    Raises:
        ConfigError: the run's answers are not texts, or its folder does not say what it was tuned from.
        InputError: the endpoint refuses, or cannot be reached.
        ModelError, ResourceError: the base model cannot be had any more.
    """
    if config.judge_url is None:
        faults = [fault for fault in faults_of_judge(config) if fault.where != "evaluation.metric"]
        if faults:
            raise ConfigError(faults)
        return None
    if not writes:
        why = "a judge compares answers that language models write to conversations"
        raise ConfigError("this run writes no answers", where=WHERE, why=why, remedy="leave the judge out")
    directory = RunDirectory(run)
    if not directory.state.exists():
        why = "a judge compares with the base model, and which one that is only the run's directory says"
        remedy = "evaluate the run that this model comes from, or leave the judge out"
        raise ConfigError(f"{run} is a mere model folder", where=WHERE, why=why, remedy=remedy)
    endpoint = EndpointJudge(config)
    try:
        asked = RunConfig.model_validate(read_json(directory.config))
    except (OSError, ValueError, TypeError) as error:
        remedy = "leave the judge out"
        raise RunDirectoryError(f"{directory.config} cannot be read", why=str(error), remedy=remedy) from error
    return BaseAndJudge(endpoint, asked, resolve_model(asked.model.source))
