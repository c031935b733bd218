"""Regression: one number or several for a text or a pair. Knows no method, no file format and no loop.

Targets are scaled to mean 0 and variance 1 over the training rows, and answers are given back in their units. The loss
is half the squared error on that scale, summed over the targets that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from feinschliff.config.evaluation import EvaluationConfig
from feinschliff.data.examples import Example
from feinschliff.engine.batching import Batch, Ints
from feinschliff.engine.contracts import LossOutput
from feinschliff.models.native import save_sequence_classifier
from feinschliff.models.plain import Complete, plain_logits
from feinschliff.results.evaluation import EvaluationResult, WrongRow
from feinschliff.results.prediction import PredictionResult
from feinschliff.results.regression import (
    DECIDING_METRICS,
    per_target,
    regression_figures,
    regression_metrics,
    regression_statistic,
    row_errors,
)
from feinschliff.results.verdicts import Evidence, compare
from feinschliff.tasks._pooled_text import PooledTextTask, row_targets
from feinschliff.tasks._rivals import Cosine, MeanValue, Ridge, ridge
from feinschliff.tasks._sequence_network import SequenceNetwork
from feinschliff.tasks._shown import joined, row_ref
from feinschliff.tasks._task import EncodedSet, Floats, Frozen, Rival

HEAD_ROWS = 4096
Values = npt.NDArray[np.float64]


class Regression(PooledTextTask):
    """Keeps :class:`feinschliff.tasks._task.Task`. Answers are numbers [N, K] in the units of the data."""

    partial_targets = True

    @property
    def num_outputs(self) -> int:
        """Targets."""
        return len(self.context.target_names)

    def references(self, examples: Sequence[Example]) -> Values:
        """[N, K] in units, NaN where a row lacks one."""
        return np.array([example.values for example in examples], dtype=np.float64).reshape(len(examples), -1)

    def targets_of(self, examples: Sequence[Example]) -> Tensor | None:
        """[N, K] scaled; None where a row has none."""
        if not examples or not all(example.values for example in examples):
            return None
        scaled = (self.references(examples) - self._means) / self._scales
        return torch.from_numpy(scaled.astype(np.float32))

    @property
    def _means(self) -> Values:
        return np.array(self.context.target_means)

    @property
    def _scales(self) -> Values:
        return np.array(self.context.target_scales)

    @torch.no_grad()
    def load_finished(self, folder: Path, pooling: str) -> SequenceNetwork:
        """The written folder answers in units; the network in memory on the scaled targets, as in training."""
        network = super().load_finished(folder, pooling)
        scales, means = torch.from_numpy(self._scales).float(), torch.from_numpy(self._means).float()
        named = dict(network.head.named_parameters())
        named["linear.bias"].sub_(means).div_(scales)
        named["linear.weight"].div_(scales[:, None])
        return network

    def head_rows(self, encoded: EncodedSet, seed: int) -> Ints:
        """Rows by chance."""
        return np.random.default_rng([seed, 0x4EAD]).permutation(len(encoded.table))[:HEAD_ROWS]

    def start_head(self, network: Any, features: Tensor, targets: Tensor) -> None:
        """Ridge regression on the frozen features: training begins where a probe stands."""
        network.head.start_from_ridge(features, targets)

    def loss(self, network: nn.Module, batch: Batch) -> LossOutput:
        """Half the squared error, over the targets that are there."""
        if batch.targets is None:
            raise RuntimeError("a batch without targets has no loss")
        known = torch.isfinite(batch.targets)
        wrong = (network(batch) - batch.targets)[known]
        return LossOutput(0.5 * wrong.square().sum(), int(known.sum()))

    def expected_first_loss(self) -> float:
        """Half the variance: that of a head which answers with the mean."""
        return 0.5

    def predict(self, network: nn.Module, batch: Batch) -> Tensor:
        """Scaled answers [B, K]."""
        found: Tensor = network(batch)
        return found

    def answers(self, outputs: Floats, encoded: EncodedSet | None = None) -> Values:
        """In units."""
        return outputs.astype(np.float64) * self._scales + self._means

    def validation_loss(self, outputs: Floats, encoded: EncodedSet) -> float:
        """The training loss's mean."""
        return float(0.5 * np.nanmean((outputs - row_targets(encoded).numpy()) ** 2))

    def temperature(self, outputs: Floats, encoded: EncodedSet) -> float | None:
        """There are no probabilities."""
        return None

    def deciding_metric(self, examples: Sequence[Example]) -> tuple[str, str]:
        """Pearson's correlation for pairs (similarity), else the share of the variance that is explained."""
        if self.context.num_texts == 2:
            return "pearson", "pairs are mostly ranked by what is predicted"
        return "r2", "orders models as the squared error does"

    def deciding_metrics(self) -> tuple[str, ...]:
        """All of them; of errors less is better."""
        return DECIDING_METRICS

    def score(self, answers: Values, examples: Sequence[Example], metric: str) -> float:
        """One metric by name, the mean over several targets."""
        return regression_statistic(metric)(self.references(examples), answers)

    def judge(
        self, answers: Values, examples: Sequence[Example], metric: str, config: EvaluationConfig
    ) -> EvaluationResult:
        """Metrics with intervals, the rows farthest off."""
        references, names = self.references(examples), self.context.target_names
        samples, confidence = config.bootstrap_samples, config.confidence
        return EvaluationResult(
            rows=len(examples),
            metric=metric,
            metrics=regression_metrics(references, answers, samples, confidence),
            confidence=confidence,
            targets=per_target(references, answers, names, samples, confidence),
            worst=self._worst(answers, references, examples, config.worst_examples),
        )

    def _worst(self, answers: Values, references: Values, examples: Sequence[Example], most: int) -> list[WrongRow]:
        single = references.shape[1] == 1
        off = row_errors(references[:, 0], answers[:, 0]) if single else row_errors(references, answers)
        return [
            WrongRow(
                row=row_ref(examples[row]),
                reference=", ".join(f"{value:.4g}" for value in references[row]),
                prediction=", ".join(f"{value:.4g}" for value in answers[row]),
                error=float(off[row]),
            )
            for row in np.argsort(-off, kind="stable")[:most].tolist()
        ]

    def compare(
        self,
        metric: str,
        baseline: str,
        examples: Sequence[Example],
        ours: Values,
        theirs: Values,
        config: EvaluationConfig,
    ) -> Evidence:
        """Paired bootstrap over rows."""
        references = self.references(examples)
        first, second = (regression_figures(references, answers)[metric] for answers in (ours, theirs))
        return compare(metric, baseline, first, second, config.confidence, config.bootstrap_samples)

    def rivals(self, frozen: Frozen, examples: Sequence[Example], seed: int, say: Callable[[str], None]) -> list[Rival]:
        """The mean; for pairs the frozen cosine; ridge regression on frozen features."""
        references = self.references(examples)
        found: list[Rival] = [MeanValue(references)]
        if self.context.num_texts == 2:
            found.append(Cosine(frozen, examples, references))
        fitted: Ridge = ridge(frozen, examples, references, seed)
        say(f"linear probe: {fitted.note}")
        return [*found, fitted]

    def results(self, answers: Values, examples: Sequence[Example]) -> list[PredictionResult]:
        """Numbers by the names of their columns."""
        names = self.context.target_names
        return [
            PredictionResult(
                text=joined(example),
                values=dict(zip(names, answers[row].tolist(), strict=True)),
                file=example.place.file,
                line=example.place.line,
            )
            for row, example in enumerate(examples)
        ]

    def save_native(self, network: nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write transformers' own sequence classifier for regression; its outputs are in units."""
        scales, means = torch.from_numpy(self._scales).float(), torch.from_numpy(self._means).float()
        head = {
            "head.linear.weight": weights["head.linear.weight"].float() * scales[:, None],
            "head.linear.bias": weights["head.linear.bias"].float() * scales + means,
        }
        save_sequence_classifier(network, {**weights, **head}, self.context.target_names, "regression", folder)
        self.tokenizer.save_pretrained(folder)

    def plain_outputs(
        self, folder: Path, examples: Sequence[Example], complete: Complete = lambda model: model
    ) -> Floats:
        """Answers of plain transformers on the scale of the targets, [N, K]."""
        units = plain_logits(folder, [example.texts for example in examples], complete).double().numpy()
        scaled: Floats = ((units - self._means) / self._scales).astype(np.float32)
        return scaled
