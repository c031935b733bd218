"""Sequence to sequence: a text written from another one. Knows no method, no file format and no loop.

Training forces the target's own tokens (teacher forcing): the loss is the cross-entropy of each target token after the
source and the tokens before it, as a softmax over the vocabulary. What counts is what the model writes by itself:
validation writes every row greedily, the finished model with the beams asked for (Sutskever et al. 2014).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feinschliff.config.evaluation import EvaluationConfig
from feinschliff.config.model import ModelConfig
from feinschliff.data.examples import Example
from feinschliff.engine.batching import FORWARD_TOKENS, NO_TARGET, Batch, Ints
from feinschliff.engine.contracts import LossOutput
from feinschliff.engine.scoring import outputs
from feinschliff.engine.source_targets import PairedBatch
from feinschliff.errors import ModelError
from feinschliff.models.encoder_decoder import (
    LoadedEncoderDecoder,
    StagedEncoderDecoder,
    load_encoder_decoder,
    save_encoder_decoder,
)
from feinschliff.models.plain import Complete, plain_target_probabilities
from feinschliff.results.evaluation import EvaluationResult, WrongRow
from feinschliff.results.prediction import PredictionResult
from feinschliff.results.resampling import FunctionOfSums, MeanOfUnits, measure_figures, value_of
from feinschliff.results.translation import SUMMARY_METRICS, TRANSLATION_METRICS, summary_figures, translation_figures
from feinschliff.results.verdicts import Evidence, compare
from feinschliff.tasks._shown import SHOWN_CHARACTERS, joined, row_ref
from feinschliff.tasks._task import EncodedSet, Floats, Frozen, Rival, TaskContext
from feinschliff.tasks._text_network import EncoderDecoderNetwork
from feinschliff.tasks._writing_rivals import CopiedSource, UntunedModel
from feinschliff.tasks._writing_rows import encode_texts, texts_of

if TYPE_CHECKING:
    from feinschliff.tasks.sequence_to_sequence import SequenceToSequenceConfig

PADDING_TOLERANCE = 1e-3
PROBED_LENGTHS = (3, 5, 9)
RUNNING_ON = 2
"""Validation stops writing at so many times a batch's longest target, and a few tokens: it is wrong by then."""


class SequenceToSequence:
    """Keeps :class:`feinschliff.tasks._task.Task`. Answers are texts."""

    per_token = False
    partial_targets = False
    long_rows = "sources are cut at"

    def __init__(self, config: SequenceToSequenceConfig, context: TaskContext) -> None:
        self.config = config
        self.context = context
        self.loaded: LoadedEncoderDecoder | None = None
        self._num_beams = 1

    def load_model(self, model: ModelConfig, folder: Path) -> EncoderDecoderNetwork:
        """The encoder-decoder in fp32, its own projection onto the vocabulary included.

        Raises:
            ModelError: it is none, or gives other numbers for a padded batch than row by row.
        """
        self.loaded = load_encoder_decoder(folder, model.dropout, model.new_tokens)
        difference = self.loaded.body.check_padding(PROBED_LENGTHS)
        if not difference < PADDING_TOLERANCE:
            raise ModelError(
                f"{folder} gives other outputs for padded rows than for single rows",
                where="model.source",
                why=f"largest difference {difference:.2g} on a made-up batch: the architecture mixes rows",
                remedy="choose another model",
            )
        return EncoderDecoderNetwork(self.loaded.body)

    def load_finished(self, folder: Path, pooling: str | None) -> EncoderDecoderNetwork:
        """The network of a folder that :meth:`save_native` wrote; it writes with the beams asked for."""
        self.loaded = load_encoder_decoder(folder, 0.0)
        self._num_beams = self.config.num_beams
        return EncoderDecoderNetwork(self.loaded.body)

    @property
    def _ready(self) -> LoadedEncoderDecoder:
        if self.loaded is None:
            raise RuntimeError("load_model comes before encode")
        return self.loaded

    @property
    def _body(self) -> StagedEncoderDecoder:
        return self._ready.body

    def encode(self, examples: Sequence[Example], max_length_tokens: int) -> EncodedSet:
        """Sources and, where all rows have them, targets."""
        config = self.config
        return encode_texts(self._ready.tokenizer, examples, config.prefix, max_length_tokens, config.max_target_tokens)

    def head_rows(self, encoded: EncodedSet, seed: int) -> Ints:
        """None: the head is the model's own."""
        return np.empty(0, dtype=np.int64)

    def start_head(self, network: Any, features: Tensor, targets: Tensor) -> None:
        """It is trained already."""

    def loss(self, network: nn.Module, batch: Batch) -> LossOutput:
        """Summed over target tokens."""
        if batch.targets is None:
            raise RuntimeError("a batch without targets has no loss")
        smoothing = self.context.label_smoothing if network.training else 0.0
        loss = F.cross_entropy(network(batch), batch.targets, reduction="sum", label_smoothing=smoothing)
        return LossOutput(loss, len(batch.targets))

    def expected_first_loss(self) -> float:
        """Mean loss of a model that knows nothing: ln(V)."""
        return math.log(self._body.vocabulary_size)

    def predict(self, network: Any, batch: Batch) -> Tensor:
        """[B, 2 + longest]: summed loss and tokens of the target (0 where there is none), ids written, -1 behind."""
        if not isinstance(batch, PairedBatch):
            raise TypeError("not a batch of sources and targets")
        longest = self.config.longest_written
        most = longest
        if batch.targets is not None and len(batch.targets) and self._num_beams == 1:
            most = min(longest, RUNNING_ON * int(batch.target_lengths_B.max()) + 8)
        logits, ids_BL = network.logits_and_written(batch, self._num_beams, most)
        found = torch.full((len(batch.rows), 2 + longest), -1.0)
        found[:, 2 : 2 + ids_BL.shape[1]] = ids_BL.float()
        found[:, :2] = self._losses(logits, batch)
        return found

    def _losses(self, logits: Tensor | None, batch: PairedBatch) -> Tensor:
        """[B, 2]: summed loss and number of tokens of each row's target."""
        found = torch.zeros(len(batch.rows), 2)
        if logits is not None:
            row_T = torch.repeat_interleave(torch.arange(len(batch.rows)), batch.target_lengths_B)
            losses_T = F.cross_entropy(logits, batch.target_ids_T, ignore_index=NO_TARGET, reduction="none")
            found[:, 0].index_add_(0, row_T, losses_T)
            found[:, 1] = batch.target_lengths_B.float()
        return found

    def answers(self, outputs: Floats, encoded: EncodedSet) -> list[str]:
        """What was written, one text an example."""
        return texts_of(self._ready.tokenizer, outputs[:, 2:])

    def written(self, network: Any, examples: Sequence[Example], max_length_tokens: int) -> list[str]:
        """What a network writes from sources alone, with the beams asked for."""
        before, self._num_beams = self._num_beams, self.config.num_beams
        try:
            rows = self.encode([example.without_target() for example in examples], max_length_tokens)
            return self.answers(outputs(self, network, rows.table, max_tokens=FORWARD_TOKENS), rows)
        finally:
            self._num_beams = before

    @torch.inference_mode()
    def time(self, network: Any, batch: Batch) -> None:
        """One forward pass, for measuring."""
        network(batch)

    def validation_loss(self, outputs: Floats, encoded: EncodedSet) -> float:
        """Mean over target tokens."""
        sums = outputs[:, :2].astype(np.float64).sum(0)
        return float(sums[0] / max(1.0, sums[1]))

    def temperature(self, outputs: Floats, encoded: EncodedSet) -> float | None:
        """No probability is shown."""
        return None

    def deciding_metric(self, examples: Sequence[Example]) -> tuple[str, str]:
        """chrF."""
        return "chrf", "counts parts of words, in any language; for summaries ask for rouge_l"

    def deciding_metrics(self) -> tuple[str, ...]:
        """chrF, BLEU and ROUGE."""
        return ("chrf", "bleu", "rouge_l", "rouge_1", "rouge_2")

    def _figures(self, answers: Sequence[str], examples: Sequence[Example], metric: str) -> dict[str, Any]:
        references = [example.references for example in examples]
        found: dict[str, Any] = {}
        if metric in TRANSLATION_METRICS or not metric:
            found |= translation_figures(references, answers)
        if metric in SUMMARY_METRICS or not metric:
            found |= summary_figures(references, answers)
        return found

    def score(self, answers: Sequence[str], examples: Sequence[Example], metric: str) -> float:
        """One metric by name."""
        return value_of(self._figures(answers, examples, metric)[metric])

    def judge(
        self, answers: Sequence[str], examples: Sequence[Example], metric: str, config: EvaluationConfig
    ) -> EvaluationResult:
        """All metrics with intervals over rows, and the rows that went most wrong."""
        figures = self._figures(answers, examples, "")
        ordered = {name: figures[name] for name in (metric, *(name for name in figures if name != metric))}
        return EvaluationResult(
            rows=len(examples),
            metric=metric,
            metrics=measure_figures(ordered, config.bootstrap_samples, config.confidence, border_units=len(examples)),
            confidence=config.confidence,
            worst=self._worst(answers, examples, figures[metric], config.worst_examples),
        )

    def _worst(
        self, answers: Sequence[str], examples: Sequence[Example], figure: FunctionOfSums | MeanOfUnits, most: int
    ) -> list[WrongRow]:
        """Rows whose text has least in common with what it should be."""
        alone = figure.value(figure.units) if isinstance(figure, FunctionOfSums) else figure.units
        order = [
            row for row in np.argsort(alone, kind="stable").tolist() if answers[row] not in examples[row].references
        ]
        return [
            WrongRow(
                row=row_ref(examples[row]),
                reference=examples[row].references[0][:SHOWN_CHARACTERS],
                prediction=answers[row][:SHOWN_CHARACTERS] or "(nothing)",
            )
            for row in order[:most]
        ]

    def compare(
        self,
        metric: str,
        baseline: str,
        examples: Sequence[Example],
        ours: Sequence[str],
        theirs: Sequence[str],
        config: EvaluationConfig,
    ) -> Evidence:
        """Paired bootstrap over rows (Koehn 2004)."""
        first, second = (self._figures(answers, examples, metric)[metric] for answers in (ours, theirs))
        return compare(metric, baseline, first, second, config.confidence, config.bootstrap_samples)

    def rivals(self, frozen: Frozen, examples: Sequence[Example], seed: int, say: Callable[[str], None]) -> list[Rival]:
        """The source's beginning, and the base model as it is."""
        copied = CopiedSource(examples)
        say(f"copied source: {copied.note}")
        return [copied, UntunedModel(frozen, examples)]

    def results(self, answers: Sequence[str], examples: Sequence[Example]) -> list[PredictionResult]:
        """What was written."""
        return [
            PredictionResult(text=joined(row), written=text, file=row.place.file, line=row.place.line)
            for text, row in zip(answers, examples, strict=True)
        ]

    def exported(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As they are."""
        return dict(weights)

    def save_native(self, network: nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write config, weights, tokenizer, and how it writes: ``generate`` of the folder does what ours does."""
        save_encoder_decoder(self._ready, weights, self.config.num_beams, self.config.longest_written, folder)

    def plain_outputs(
        self, folder: Path, examples: Sequence[Example], complete: Complete = lambda model: model
    ) -> Floats:
        """Probabilities that plain transformers gives the tokens of each target (without one, of the source)."""
        pairs = [(self.config.prefix + row.texts[0], row.references[0]) for row in _with_targets(examples)]
        found: Floats = plain_target_probabilities(folder, pairs, self.config.max_target_tokens, complete).numpy()
        return found

    @torch.inference_mode()
    def own_outputs(
        self, network: Any, examples: Sequence[Example], max_length_tokens: int, num_virtual_tokens: int = 0
    ) -> Floats:
        """The same from our own network."""
        parts = []
        for example in _with_targets(examples):
            batch = self.encode([example], max_length_tokens).table.collate(np.zeros(1, dtype=np.int64))
            chosen = network(batch).softmax(-1).gather(1, batch.target_ids_T[:, None])  # type: ignore[attr-defined]
            parts.append(chosen[:, 0])
        return torch.cat(parts).numpy()


def _with_targets(examples: Sequence[Example]) -> list[Example]:
    """Rows with a target, the source in its place where there is none."""
    return [row if row.references else replace(row, references=row.texts) for row in examples]
