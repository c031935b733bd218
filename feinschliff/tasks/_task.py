"""The protocol every task keeps, and what a task is told. Knows no method and no member."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from feinschliff.config.evaluation import EvaluationConfig
from feinschliff.config.model import ModelConfig
from feinschliff.data.examples import Example
from feinschliff.engine.batching import Batch, Ints, Targets, TokenTable, TokenTargets
from feinschliff.engine.contracts import LossOutput, Table
from feinschliff.engine.virtual_tokens import targets_behind, with_virtual_tokens
from feinschliff.errors import Fault
from feinschliff.models.plain import Complete
from feinschliff.results.evaluation import EvaluationResult
from feinschliff.results.prediction import PredictionResult
from feinschliff.results.verdicts import Evidence

Floats = npt.NDArray[np.float32]
Answers = Any
"""What a task says of some examples, in its own form: see ``Task.answers``."""


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What the data says about the task. All of it goes into the model folder's facts and comes back from there."""

    label_names: tuple[str, ...]
    multi_label: bool
    num_texts: int
    """1, or 2 for pairs."""
    label_smoothing: float = 0.0
    target_names: tuple[str, ...] = ()
    """Regression: the columns that are predicted."""
    number_names: tuple[str, ...] = ()
    """Rows of numbers: the columns that are read, in the order of the model's input."""
    target_means: tuple[float, ...] = ()
    """Regression: of the training rows, per target."""
    target_scales: tuple[float, ...] = ()
    """Regression: standard deviations of the training rows, per target."""
    no_answer_threshold: float | None = None
    """Question answering: by how much no answer must score above the best one to be given; None: there always is one.
    """
    global_batch_rows: int = 1
    """Embeddings: rows whose texts are compared with each other in the loss."""


@dataclass(slots=True)
class EncodedSet:
    """A set of examples as a network takes them in, with what was cut."""

    table: Table
    targets: Targets | None
    num_cut: int
    """Rows longer than the limit, whose end is not seen."""
    examples: Sequence[Example] = ()
    """The rows themselves, in order."""
    num_targets_cut: int = 0
    """Where targets are texts: those longer than their limit, whose end is not learned."""
    notes: Sequence[str] = ()
    """What was left out or made otherwise, in sentences."""
    faults: Sequence[Fault] = ()
    """Why nothing good can be learned from these rows; a run is refused with all of them."""

    def behind(self, count: int) -> Self:
        """The set with places for ``count`` virtual tokens in front of each row of tokens."""
        if count == 0 or not isinstance(self.table, TokenTable):
            return self
        targets = self.targets
        if isinstance(targets, TokenTargets):
            targets = targets_behind(targets, self.table, count)
        return replace(self, table=with_virtual_tokens(self.table, count), targets=targets)


class Frozen(Protocol):
    """The base model as it is, for baselines."""

    task: Any
    network: Any
    max_length_tokens: int

    def features(self, examples: Sequence[Example]) -> Floats:
        """One vector a row [N, d]."""
        ...

    def timed(self, rows: int) -> AbstractContextManager[None]:
        """Around a forward pass over so many rows: what trials will take is told from it."""
        ...


class Rival(Protocol):
    """What a tuned model has to beat, fitted on the training rows."""

    name: str
    note: str

    def answers(self, examples: Sequence[Example]) -> Answers:
        """In the form of the task's own."""
        ...


def encoded(task: Any, examples: Sequence[Example], max_length_tokens: int, num_virtual_tokens: int = 0) -> EncodedSet:
    """Examples as at most ``max_length_tokens`` tokens a row, behind the places of a method's virtual tokens."""
    found: EncodedSet = task.encode(examples, max_length_tokens)
    return found.behind(num_virtual_tokens)


class ExportedAsTrained:
    """Of tasks whose weights are written as they were learned."""

    def exported(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As they are."""
        return dict(weights)


class Task(Protocol):
    """What is learned, from rows to answers and their judgement."""

    context: TaskContext
    loaded: Any
    """Encoder and tokenizer, after :meth:`load_model`."""
    per_token: bool
    """Whether what :meth:`predict` keeps belongs to tokens instead of rows."""
    partial_targets: bool
    """Whether a row of several targets may lack some."""
    long_rows: str
    """What becomes of rows over the limit, as a sentence that the limit ends."""

    def load_model(self, model: ModelConfig, folder: Path) -> nn.Module:
        """Base model with a head, in fp32."""
        ...

    def load_finished(self, folder: Path, pooling: str) -> nn.Module:
        """The network of a folder that :meth:`save_native` wrote."""
        ...

    def encode(self, examples: Sequence[Example], max_length_tokens: int) -> EncodedSet:
        """Examples to what a network takes in. Call after a model is loaded."""
        ...

    def head_rows(self, encoded: EncodedSet, seed: int) -> Ints:
        """Rows whose frozen features the head is started from."""
        ...

    def start_head(self, network: Any, features: Tensor, targets: Tensor) -> None:
        """Start the head from frozen features [n, d] and their targets."""
        ...

    def loss(self, network: nn.Module, batch: Batch) -> LossOutput:
        """Summed loss."""
        ...

    def expected_first_loss(self) -> float:
        """Mean loss of a head that knows nothing."""
        ...

    def predict(self, network: nn.Module, batch: Batch) -> Tensor:
        """What is kept of a batch's outputs: [B, ...], or [tokens, ...] where ``per_token``."""
        ...

    def answers(self, outputs: Floats, encoded: EncodedSet) -> Answers:
        """From the outputs of a whole set to one answer an example."""
        ...

    def validation_loss(self, outputs: Floats, encoded: EncodedSet) -> float:
        """Mean loss of outputs."""
        ...

    def temperature(self, outputs: Floats, encoded: EncodedSet) -> float | None:
        """What the head is divided by so that probabilities mean what they say; None where there are none."""
        ...

    def deciding_metric(self, examples: Sequence[Example]) -> tuple[str, str]:
        """The metric that decides where none was asked for, and why."""
        ...

    def deciding_metrics(self) -> tuple[str, ...]:
        """Those that can decide: more of them is better."""
        ...

    def score(self, answers: Answers, examples: Sequence[Example], metric: str) -> float:
        """One metric by name."""
        ...

    def judge(
        self, answers: Answers, examples: Sequence[Example], metric: str, config: EvaluationConfig
    ) -> EvaluationResult:
        """All metrics with intervals, and what a report shows."""
        ...

    def compare(
        self,
        metric: str,
        baseline: str,
        examples: Sequence[Example],
        ours: Answers,
        theirs: Answers,
        config: EvaluationConfig,
    ) -> Evidence:
        """Two candidates' answers on the same rows, paired."""
        ...

    def rivals(self, frozen: Frozen, examples: Sequence[Example], seed: int, say: Callable[[str], None]) -> list[Rival]:
        """Baselines fitted on training rows, the strongest cheap one last."""
        ...

    def results(self, answers: Answers, examples: Sequence[Example]) -> list[PredictionResult]:
        """Answers as people and programs read them."""
        ...

    def exported(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Trained weights as :meth:`save_native` writes them: the head may answer on another scale there."""
        ...

    def save_native(self, network: nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write a folder that the ecosystem loads."""
        ...

    def plain_outputs(self, folder: Path, examples: Sequence[Example], complete: Complete) -> Floats:
        """What plain transformers makes of a written folder; ``complete`` adds what lies beside its weights."""
        ...

    def own_outputs(
        self, network: Any, examples: Sequence[Example], max_length_tokens: int, num_virtual_tokens: int
    ) -> Floats:
        """What our own network makes of the same rows, in the form of :meth:`plain_outputs`."""
        ...
