"""What classifiers share, whatever they read: loss, answers, judgement, rivals. Knows no network and no file format.

One label: softmax cross-entropy with label smoothing (Szegedy et al. 2016). Several: a sigmoid and binary cross-entropy
per label, unsmoothed. Both are sums; the loop divides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feinschliff.config.evaluation import EvaluationConfig
from feinschliff.data.examples import Example
from feinschliff.engine.batching import Batch, Ints
from feinschliff.engine.calibration import fit_temperature
from feinschliff.engine.contracts import LossOutput
from feinschliff.engine.scoring import mean_loss
from feinschliff.results.classification import DECIDING_METRICS, metric_function
from feinschliff.results.evaluation import EvaluationResult
from feinschliff.results.prediction import PredictionResult
from feinschliff.results.verdicts import Evidence, compare_predictions
from feinschliff.tasks import _classified
from feinschliff.tasks._classified import Classified, references_of
from feinschliff.tasks._pooled_text import row_targets
from feinschliff.tasks._rivals import Baseline, majority, probe, probe_weights
from feinschliff.tasks._task import EncodedSet, Floats, Frozen, Rival, TaskContext


class Classification:
    """One label or several a row, from one vector a row."""

    config: Any
    context: TaskContext
    class_weights: Tensor | None = None
    """[C]: see ``engine.class_balance``; None: all count alike."""

    @property
    def num_outputs(self) -> int:
        """Classes."""
        return len(self.context.label_names)

    def targets_of(self, examples: Sequence[Example]) -> Tensor | None:
        """Class numbers [N], or indicators [N, C]; None where a row has no label."""
        if not examples or not all(example.labels or self.context.multi_label for example in examples):
            return None
        targets = torch.from_numpy(references_of(examples, self.context.label_names, self.context.multi_label))
        return targets.float() if self.context.multi_label else targets

    def head_rows(self, encoded: EncodedSet, seed: int) -> Ints:
        """Some rows of each class."""
        return _classified.sample_per_class(row_targets(encoded).numpy(), seed)

    def start_head(self, network: Any, features: Tensor, targets: Tensor) -> None:
        """Class means: training begins where a nearest-mean classifier stands."""
        network.head.start_from_class_means(features, targets)

    def probe_rows(self, encoded: EncodedSet, seed: int) -> Ints:
        """All rows, or some thousands by chance."""
        return np.random.default_rng([seed, 0x4EAD]).permutation(len(encoded.table))[: _classified.HEAD_ROWS]

    def start_head_at_probe(self, network: Any, features: Tensor, targets: Tensor) -> None:
        """Logistic regression: training begins where the strongest cheap rival stands."""
        length = float(features.float().norm(dim=1).mean())
        unit = F.normalize(features.float(), dim=1)
        weights, biases = probe_weights(unit.cpu().numpy(), targets.cpu().numpy(), self.num_outputs)
        network.head.start_from_weights(torch.from_numpy(weights / length), torch.from_numpy(biases))

    def loss(self, network: nn.Module, batch: Batch) -> LossOutput:
        """Summed over rows (one label) or over rows and labels (several)."""
        return self.loss_of(network, self.logits(network, batch), batch)

    def logits(self, network: nn.Module, batch: Batch) -> Tensor:
        """Logits [B, C] of one pass."""
        logits: Tensor = network(batch)
        return logits

    def loss_of(self, network: nn.Module, logits: Tensor, batch: Batch) -> LossOutput:
        """The summed loss of logits [B, C]; targets count by their class's weight, where classes have weights."""
        targets = batch.targets
        weights_C = None if self.class_weights is None else self.class_weights.to(logits.device)
        if targets is None:
            raise RuntimeError("a batch without targets has no loss")
        if self.context.multi_label:
            total = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum", pos_weight=weights_C)
            counted = targets.numel() if weights_C is None else float((1.0 + (weights_C - 1.0) * targets).sum())
            return LossOutput(total, counted)
        smoothing = self.context.label_smoothing if network.training else 0.0
        total = F.cross_entropy(logits, targets, weights_C, reduction="sum", label_smoothing=smoothing)
        return LossOutput(total, len(targets) if weights_C is None else float(weights_C[targets].sum()))

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """``(KL(p | q) + KL(q | p)) / 2`` of two passes' logits [B, C], summed over rows, or over rows and labels."""
        if self.context.multi_label:
            return 0.5 * ((torch.sigmoid(first) - torch.sigmoid(second)) * (first - second)).sum()
        p, q = torch.log_softmax(first, -1), torch.log_softmax(second, -1)
        return 0.5 * ((p.exp() - q.exp()) * (p - q)).sum()

    def expected_first_loss(self) -> float:
        """Mean loss of a head that knows nothing: ln(classes), or ln 2 a label."""
        return float(np.log(2.0 if self.context.multi_label else len(self.context.label_names)))

    def predict(self, network: nn.Module, batch: Batch) -> Tensor:
        """Probabilities [B, C]: softmax over classes, or a sigmoid per label."""
        logits = network(batch)
        return torch.sigmoid(logits) if self.context.multi_label else torch.softmax(logits, -1)

    def answers(self, outputs: Floats, encoded: EncodedSet | None = None) -> Classified:
        """The most probable class, or every label over the threshold."""
        if self.context.multi_label:
            return Classified(outputs, (outputs >= self.config.threshold).astype(np.int64))
        return Classified(outputs, outputs.argmax(1))

    def validation_loss(self, outputs: Floats, encoded: EncodedSet) -> float:
        """Mean unsmoothed cross-entropy."""
        return mean_loss(outputs, row_targets(encoded))

    def temperature(self, outputs: Floats, encoded: EncodedSet) -> float | None:
        """Temperature scaling of one-label probabilities."""
        return None if self.context.multi_label else fit_temperature(outputs, row_targets(encoded).numpy())

    def deciding_metric(self, examples: Sequence[Example]) -> tuple[str, str]:
        """Accuracy; macro F1 of very uneven classes; micro F1 of several labels."""
        return _classified.deciding_metric(examples, self.context.multi_label)

    def deciding_metrics(self) -> tuple[str, ...]:
        """Those of which more is better."""
        return DECIDING_METRICS[self.context.multi_label]

    def references(self, examples: Sequence[Example]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Class numbers [N], or indicators [N, C]."""
        return references_of(examples, self.context.label_names, self.context.multi_label)

    def score(self, answers: Classified, examples: Sequence[Example], metric: str) -> float:
        """One metric by name."""
        function = metric_function(metric, len(self.context.label_names))
        return float(function(self.references(examples), answers.decisions))

    def judge(
        self, answers: Classified, examples: Sequence[Example], metric: str, config: EvaluationConfig
    ) -> EvaluationResult:
        """See ``_classified.judge``."""
        return _classified.judge(answers, examples, self.context.label_names, metric, config)

    def compare(
        self,
        metric: str,
        baseline: str,
        examples: Sequence[Example],
        ours: Classified,
        theirs: Classified,
        config: EvaluationConfig,
    ) -> Evidence:
        """McNemar's test or the paired bootstrap, as the metric asks."""
        return compare_predictions(
            metric,
            baseline,
            self.references(examples),
            ours.decisions,
            theirs.decisions,
            len(self.context.label_names),
            config.confidence,
            config.bootstrap_samples,
        )

    def rivals(self, frozen: Frozen, examples: Sequence[Example], seed: int, say: Callable[[str], None]) -> list[Rival]:
        """Majority class and linear probe."""
        targets, classes = self.references(examples), len(self.context.label_names)
        fitted = probe(frozen.features(examples), targets, classes, seed)
        say(f"linear probe: {fitted.note}")
        return [_Fitted(self, frozen, majority(targets, classes)), _Fitted(self, frozen, fitted)]

    def results(self, answers: Classified, examples: Sequence[Example]) -> list[PredictionResult]:
        """Labels with scores."""
        return _classified.results_of(answers, examples, self.context.label_names)


class _Fitted:
    """A baseline on frozen features."""

    def __init__(self, task: Classification, frozen: Frozen, baseline: Baseline) -> None:
        self.name, self.note = baseline.name, baseline.note
        self._task, self._frozen, self._baseline = task, frozen, baseline

    def answers(self, examples: Sequence[Example]) -> Classified:
        """Its probabilities, decided as the task decides."""
        return self._task.answers(self._baseline.probabilities(self._frozen.features(examples)))
