"""Embeddings: a vector for each text. Knows no method, no file format and no loop.

Vectors are pooled states of the encoder, of length one, as sentence-transformers computes them; there is no head. Of
pairs and triplets the loss ranks each anchor's positive among all texts of the global batch; of pairs with a number it
orders cosines as the numbers are ordered (see ``_embedding_losses``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from feinschliff.config.evaluation import EvaluationConfig
from feinschliff.config.model import ModelConfig
from feinschliff.data.examples import Example
from feinschliff.engine import attention
from feinschliff.engine.batching import FORWARD_TOKENS, Batch, Ints
from feinschliff.engine.contracts import CoupledObjective, LossOutput
from feinschliff.engine.scoring import outputs
from feinschliff.errors import DataError
from feinschliff.models.heads import Pooling
from feinschliff.models.load import LoadedEncoder, load_encoder
from feinschliff.models.plain import Complete
from feinschliff.models.sentence_folder import plain_vectors, save_sentence_encoder
from feinschliff.results.evaluation import EvaluationResult
from feinschliff.results.prediction import PredictionResult
from feinschliff.results.resampling import measure_figures, value_of
from feinschliff.results.verdicts import Evidence, compare
from feinschliff.tasks._embedding_judges import Judge, SearchJudge, SimilarityJudge
from feinschliff.tasks._embedding_losses import correlation_loss, ranking_loss, similarity_loss
from feinschliff.tasks._embedding_rows import EncodedTexts, encode_texts, groups_of, members_of
from feinschliff.tasks._loading import load_base
from feinschliff.tasks._retrieval import Bm25, Scores, Vectors
from feinschliff.tasks._sequence_network import EmbeddingNetwork
from feinschliff.tasks._shown import joined
from feinschliff.tasks._task import EncodedSet, ExportedAsTrained, Floats, Frozen, Rival, TaskContext, encoded

if TYPE_CHECKING:
    from feinschliff.tasks.embeddings import EmbeddingsConfig

SIMILARITY_LOSSES = {"cosent": similarity_loss, "pearson": correlation_loss}
CHANCE_SPREAD = 0.1
"""Cosines of texts that have nothing to do with each other scatter by about so much."""
TIMED_ROWS = 128
"""Rows on which the frozen model is timed."""


class Embeddings(ExportedAsTrained, CoupledObjective):
    """Keeps :class:`feinschliff.tasks._task.Task`. Answers are :class:`Vectors` of all texts."""

    per_token = False
    partial_targets = False
    long_rows = "texts are cut at"

    def __init__(self, config: EmbeddingsConfig, context: TaskContext) -> None:
        if len(context.target_names) > 1 or (context.target_names and context.num_texts != 2):
            raise DataError(
                f"{context.num_texts} text columns and {len(context.target_names)} number columns",
                where="task.type",
                why="embeddings learn from two texts and one number of how near they are, or from texts alone",
                remedy="name them: --text COLUMN --text COLUMN --target COLUMN",
            )
        self.config = config
        self.context = context
        self.loaded: LoadedEncoder | None = None
        self._labelled = bool(context.target_names)
        self._judge: Judge = SimilarityJudge() if self._labelled else SearchJudge()

    def load_model(self, model: ModelConfig, folder: Path) -> EmbeddingNetwork:
        """The encoder in fp32.

        Raises:
            ModelError: the architecture cannot be loaded, or gives other numbers packed than row by row.
        """
        self.loaded = load_base(model, folder)
        return EmbeddingNetwork(self.loaded.encoder, self.loaded.pooling)

    def load_finished(self, folder: Path, pooling: str) -> EmbeddingNetwork:
        """The network of a folder that :meth:`save_native` wrote."""
        self.loaded = load_encoder(folder, attention.NAME, pooling)
        return EmbeddingNetwork(self.loaded.encoder, self.loaded.pooling)

    @property
    def _ready(self) -> LoadedEncoder:
        if self.loaded is None:
            raise RuntimeError("load_model comes before encode")
        return self.loaded

    def encode(self, examples: Sequence[Example], max_length_tokens: int) -> EncodedTexts:
        """Each text by itself, cut at the limit; targets are numbers, or which texts are the same."""
        return encode_texts(self._ready.tokenizer, examples, self._labelled, max_length_tokens)

    def head_rows(self, encoded: EncodedSet, seed: int) -> Ints:
        """None: there is no head."""
        return np.empty(0, dtype=np.int64)

    def start_head(self, network: Any, features: Tensor, targets: Tensor) -> None:
        """There is no head."""

    def embed(self, network: nn.Module, batch: Batch) -> Tensor:
        """Vectors [S, d] of the batch's texts."""
        vectors: Tensor = network(batch)
        return vectors

    def coupled_loss(self, outputs_Bd: Tensor, batch: Batch) -> LossOutput:
        """Summed over rows."""
        if batch.targets is None or batch.members is None:
            raise RuntimeError("a batch without targets has no loss")
        return LossOutput(self._loss(outputs_Bd, batch.members, batch.targets), len(batch.members))

    def _loss(self, vectors_Sd: Tensor, members_EW: Tensor, targets: Tensor) -> Tensor:
        loss = SIMILARITY_LOSSES[self.config.similarity_loss] if self._labelled else ranking_loss
        return loss(vectors_Sd, members_EW, targets, self.config.temperature)

    def loss(self, network: nn.Module, batch: Batch) -> LossOutput:
        """Of rows that are a global batch of their own."""
        return self.coupled_loss(self.embed(network, batch), batch)

    def expected_first_loss(self) -> float:
        """Of cosines that are there by chance: the mean of exponentials of normally distributed numbers."""
        rows, texts = self.context.global_batch_rows, max(1, self.context.num_texts - 1)
        spread = CHANCE_SPREAD / self.config.temperature
        if self._labelled and self.config.similarity_loss == "pearson":
            return 1.0
        if self._labelled:
            return math.log1p(rows * (rows - 1) / 2) + spread**2
        return math.log(max(2, rows * texts)) + spread**2 / 2

    def predict(self, network: nn.Module, batch: Batch) -> Tensor:
        """Vectors [S, d]."""
        return self.embed(network, batch)

    def answers(self, outputs: Floats, encoded: EncodedSet) -> Vectors:
        """With which row each belongs to."""
        return Vectors(outputs, groups_of(encoded).first)

    def validation_loss(self, outputs: Floats, encoded: EncodedSet) -> float:
        """The training loss's mean over global batches, in the order of the rows."""
        if not isinstance(encoded.targets, Tensor):
            raise TypeError("rows without targets")
        vectors, members, total = torch.from_numpy(outputs), members_of(groups_of(encoded).first), 0.0
        step = self.context.global_batch_rows
        for begin in range(0, len(members), step):
            part = slice(begin, begin + step)
            total += float(self._loss(vectors, members[part], encoded.targets[part]))
        return total / max(1, len(members))

    def temperature(self, outputs: Floats, encoded: EncodedSet) -> float | None:
        """There are no probabilities."""
        return None

    def deciding_metric(self, examples: Sequence[Example]) -> tuple[str, str]:
        """nDCG of a search; Spearman's correlation where pairs have numbers."""
        return self._judge.metrics[0], self._judge.reason

    def deciding_metrics(self) -> tuple[str, ...]:
        """All of them."""
        return self._judge.metrics

    def score(self, answers: Scores, examples: Sequence[Example], metric: str) -> float:
        """One metric by name."""
        return value_of(self._judge.figures(answers, examples)[metric])

    def judge(
        self, answers: Scores, examples: Sequence[Example], metric: str, config: EvaluationConfig
    ) -> EvaluationResult:
        """Metrics with intervals, the rows that went most wrong."""
        figures = self._judge.figures(answers, examples)
        units = None if self._labelled else figures[metric].num_units
        return EvaluationResult(
            rows=len(examples),
            metric=metric,
            metrics=measure_figures(figures, config.bootstrap_samples, config.confidence, border_units=units),
            confidence=config.confidence,
            worst=self._judge.worst(answers, examples, config.worst_examples),
        )

    def compare(
        self,
        metric: str,
        baseline: str,
        examples: Sequence[Example],
        ours: Scores,
        theirs: Scores,
        config: EvaluationConfig,
    ) -> Evidence:
        """Paired over queries, or over pairs."""
        first, second = (self._judge.figures(answers, examples)[metric] for answers in (ours, theirs))
        return compare(metric, baseline, first, second, config.confidence, config.bootstrap_samples)

    def rivals(self, frozen: Frozen, examples: Sequence[Example], seed: int, say: Callable[[str], None]) -> list[Rival]:
        """The frozen model's cosine; for a search also its words."""
        cosine = FrozenCosine(frozen)
        cosine.answers(examples[:TIMED_ROWS])
        return [cosine] if self._labelled else [Bm25(), cosine]

    def results(self, answers: Vectors, examples: Sequence[Example]) -> list[PredictionResult]:
        """The vector of a text alone; of a pair the cosine."""
        found = []
        for row, example in enumerate(examples):
            own = answers.values[answers.first[row] : answers.first[row + 1]]
            alone = len(own) == 1
            found.append(
                PredictionResult(
                    text=joined(example),
                    vector=own[0].tolist() if alone else None,
                    similarity=None if alone else float(own[0] @ own[1]),
                    file=example.place.file,
                    line=example.place.line,
                )
            )
        return found

    def save_native(self, network: Any, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write a folder of sentence-transformers."""
        tokenizer = self._ready.tokenizer
        save_sentence_encoder(network, weights, tokenizer.model_max_length, folder)
        tokenizer.save_pretrained(folder)

    def plain_outputs(
        self, folder: Path, examples: Sequence[Example], complete: Complete = lambda model: model
    ) -> Floats:
        """Vectors of all texts by plain transformers, [S, d]."""
        pooling: Pooling = self._ready.pooling
        found: Floats = plain_vectors(folder, _texts(examples), pooling, complete).numpy()
        return found

    def own_outputs(
        self, network: Any, examples: Sequence[Example], max_length_tokens: int, num_virtual_tokens: int = 0
    ) -> Floats:
        """Vectors of all texts, [S, d]."""
        rows = encoded(self, examples, max_length_tokens, num_virtual_tokens)
        return outputs(self, network, rows.table, max_tokens=FORWARD_TOKENS)


class FrozenCosine:
    """The base model's own vectors, nothing trained."""

    name, note = "frozen cosine", "cosine of the base model's vectors as they are"

    def __init__(self, frozen: Frozen) -> None:
        self._frozen = frozen

    def answers(self, examples: Sequence[Example]) -> Vectors:
        """Of all texts."""
        task, network, limit = self._frozen.task, self._frozen.network, self._frozen.max_length_tokens
        rows = task.encode(examples, limit)
        with self._frozen.timed(len(examples)):
            found = outputs(task, network, rows.table, max_tokens=FORWARD_TOKENS)
        answers: Vectors = task.answers(found, rows)
        return answers


def _texts(examples: Sequence[Example]) -> list[str]:
    return [text for example in examples for text in example.texts]
