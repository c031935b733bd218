"""Text classification: one label, several labels, sentence pairs. Knows no method, no file format and no loop.

One label: softmax cross-entropy with label smoothing (Szegedy et al. 2016). Several: a sigmoid and binary cross-entropy
per label, unsmoothed. Both are sums; the loop divides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feinschliff.config.model import ModelConfig
from feinschliff.data.examples import Example
from feinschliff.engine import attention
from feinschliff.engine.batching import Batch, TokenTable, group_by_length
from feinschliff.engine.contracts import LossOutput
from feinschliff.errors import ModelError
from feinschliff.models.heads import Head
from feinschliff.models.load import LoadedEncoder, load_encoder
from feinschliff.models.native import read_head, to_native
from feinschliff.results.classification import metric_function
from feinschliff.tasks._sequence_network import SequenceNetwork
from feinschliff.tasks._task import EncodedSet, Floats, TaskContext

if TYPE_CHECKING:
    from feinschliff.tasks.text_classification import TextClassificationConfig

TOKENIZE_ROWS = 2048
"""Texts tokenized at once; bounds memory."""
PACKING_TOLERANCE = 1e-3


class TextClassification:
    """Keeps :class:`feinschliff.tasks._task.Task`."""

    def __init__(self, config: TextClassificationConfig, context: TaskContext) -> None:
        self.config = config
        self.context = context
        self.loaded: LoadedEncoder | None = None
        self.class_weights: Tensor | None = None
        """[C]: see ``engine.class_balance``; None: all count alike."""

    def load_model(self, model: ModelConfig, folder: Path) -> SequenceNetwork:
        """Encoder and head in fp32; the head is random until the engine has features to start it from.

        Raises:
            ModelError: the architecture cannot be loaded, or gives other numbers packed than row by row.
        """
        self.loaded = load_encoder(folder, attention.NAME, model.pooling)
        encoder = self.loaded.encoder.eval()
        lengths = [3, 5, 9]
        difference = encoder.check_packing(group_by_length(lengths), lengths)
        if not difference < PACKING_TOLERANCE:
            raise ModelError(
                f"{folder} gives other outputs for packed rows than for single rows",
                where="model.source",
                why=f"largest difference {difference:.2g} on a made-up batch: the architecture mixes rows",
                remedy="choose another model",
            )
        encoder.set_dropout(model.dropout)
        head = Head(encoder.hidden_width, len(self.context.label_names), model.dropout)
        return SequenceNetwork(encoder, head, self.loaded.pooling)

    @torch.no_grad()
    def load_finished(self, folder: Path, pooling: str) -> SequenceNetwork:
        """The network of a folder that :meth:`save_native` wrote, without the block that stands for mean pooling."""
        self.loaded = load_encoder(folder, attention.NAME, pooling, drop_last_layer=pooling == "mean")
        encoder = self.loaded.encoder
        head = Head(encoder.hidden_width, len(self.context.label_names), 0.0)
        weight, bias = read_head(folder)
        head.linear.weight.copy_(weight)
        head.linear.bias.copy_(bias)
        return SequenceNetwork(encoder, head, self.loaded.pooling)

    @property
    def _tokenizer(self) -> Any:
        if self.loaded is None:
            raise RuntimeError("load_model comes before encode")
        return self.loaded.tokenizer

    def encode(self, examples: Sequence[Example], max_length_tokens: int) -> EncodedSet:
        """Tokens (special ones included), targets where all rows have labels, and how many rows were cut."""
        ids, segments, lengths, num_cut = [], [], [0], 0
        for part, part_segments, cut in self._tokenized(examples, max_length_tokens):
            num_cut += cut
            for row in part:
                lengths.append(lengths[-1] + len(row))
            ids.append(np.concatenate([np.asarray(row, dtype=np.int32) for row in part]))
            if part_segments is not None:
                segments.append(np.concatenate([np.asarray(row, dtype=np.int8) for row in part_segments]))
        table = TokenTable(
            np.concatenate(ids) if ids else np.empty(0, np.int32),
            np.asarray(lengths, dtype=np.int64),
            np.concatenate(segments) if segments else None,
        )
        return EncodedSet(table, self._targets(examples), num_cut)

    def _tokenized(
        self, examples: Sequence[Example], limit: int
    ) -> Iterator[tuple[list[list[int]], list[list[int]] | None, int]]:
        pairs = self.context.num_texts == 2
        for begin in range(0, len(examples), TOKENIZE_ROWS):
            chunk = examples[begin : begin + TOKENIZE_ROWS]
            columns = [[example.texts[i] for example in chunk] for i in range(self.context.num_texts)]
            whole = self._tokenizer(*columns, verbose=False, return_attention_mask=False)
            cut = sum(len(row) > limit for row in whole["input_ids"])
            if cut:
                whole = self._tokenizer(*columns, truncation=True, max_length=limit, return_attention_mask=False)
            yield whole["input_ids"], whole.get("token_type_ids") if pairs else None, cut

    def for_single_texts(self) -> TextClassification:
        """The same task and tokenizer for one text a row: pairs are also embedded side by side."""
        single = TextClassification(self.config, replace(self.context, num_texts=1))
        single.loaded = self.loaded
        return single

    def _targets(self, examples: Sequence[Example]) -> Tensor | None:
        if not examples or not all(example.labels or self.context.multi_label for example in examples):
            return None
        index = {name: place for place, name in enumerate(self.context.label_names)}
        if not self.context.multi_label:
            return torch.tensor([index[example.labels[0]] for example in examples])
        targets = torch.zeros(len(examples), len(index))
        for row, example in enumerate(examples):
            targets[row, [index[label] for label in example.labels]] = 1.0
        return targets

    def loss(self, network: nn.Module, batch: Batch) -> LossOutput:
        """Summed over rows (one label) or over rows and labels (several)."""
        return self.loss_of(network, self.logits(network, batch), batch)

    def logits(self, network: nn.Module, batch: Batch) -> Tensor:
        """Logits [B, C] of one pass."""
        logits: Tensor = network(batch)
        return logits

    def loss_of(self, network: nn.Module, logits: Tensor, batch: Batch) -> LossOutput:
        """The summed loss of logits [B, C]; targets count by their class's weight, where classes have weights."""
        targets, weights_C = batch.targets, self.class_weights
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

    def decide(self, probabilities: Floats) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Class numbers [N], or indicators [N, C] for several labels."""
        if self.context.multi_label:
            return (probabilities >= self.config.threshold).astype(np.int64)
        best: np.ndarray[Any, np.dtype[np.int64]] = probabilities.argmax(1)
        return best

    def score(self, probabilities: Floats, targets: Tensor, metric: str) -> float:
        """One metric by name on probabilities [N, C]."""
        function = metric_function(metric, len(self.context.label_names))
        return float(function(targets.numpy().astype(np.int64), self.decide(probabilities)))

    def save_native(self, network: nn.Module, weights: dict[str, Tensor], folder: Path) -> None:
        """Write config, weights and tokenizer as transformers' own sequence classifier.

        ``weights`` are all fp32 weights by the network's parameter names, adapters merged.
        """
        if not isinstance(network, SequenceNetwork) or self.loaded is None:
            raise RuntimeError("only a network from load_model can be saved")
        body = {name.removeprefix("body.model."): w for name, w in weights.items() if name.startswith("body.model.")}
        model = to_native(
            network.body.model,
            body,
            weights["head.linear.weight"],
            weights["head.linear.bias"],
            network.pooling,
            list(self.context.label_names),
            self.context.multi_label,
        )
        model.save_pretrained(folder, safe_serialization=True)
        self._tokenizer.save_pretrained(folder)
