"""Text classification: one label, several labels, sentence pairs. Knows no method, no file format and no loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from feinschliff.data.examples import Example
from feinschliff.models.native import Problem, save_sequence_classifier
from feinschliff.models.plain import Complete, plain_logits
from feinschliff.tasks._classification import Classification
from feinschliff.tasks._pooled_text import PooledTextTask
from feinschliff.tasks._task import Floats


class TextClassification(Classification, PooledTextTask):
    """Keeps :class:`feinschliff.tasks._task.Task`."""

    def save_native(self, network: nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write config, weights and tokenizer as transformers' own sequence classifier.

        ``weights`` are all fp32 weights by the network's parameter names, adapters merged.
        """
        problem: Problem = "multi_label_classification" if self.context.multi_label else "single_label_classification"
        save_sequence_classifier(network, weights, self.context.label_names, problem, folder)
        self.tokenizer.save_pretrained(folder)

    def plain_outputs(
        self, folder: Path, examples: Sequence[Example], complete: Complete = lambda model: model
    ) -> Floats:
        """Probabilities [N, C] of plain transformers."""
        logits = plain_logits(folder, [example.texts for example in examples], complete)
        return (torch.sigmoid(logits) if self.context.multi_label else torch.softmax(logits, -1)).numpy()
