"""Supervised fine-tuning of a decoder language model. Knows no method, no file format and no loop.

The loss is the cross-entropy of each token that is to be learned after all before it in its row (Ouyang et al. 2022),
summed over tokens with their weights. Rows are what inference sees: ``models.chat_rows`` makes both from one template.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from feinschliff.config.evaluation import EvaluationConfig
from feinschliff.config.generation import SamplingConfig
from feinschliff.config.model import ModelConfig
from feinschliff.data.examples import Example
from feinschliff.engine import causal_attention
from feinschliff.engine.batching import NO_TARGET, Batch, Ints, TokenTargets, group_by_length
from feinschliff.engine.contracts import LossOutput
from feinschliff.engine.devices import device_of, on
from feinschliff.engine.token_loss import token_loss, token_scores
from feinschliff.errors import Fault, ModelError
from feinschliff.models.chat_rows import ChatRenderer
from feinschliff.models.decoder import (
    LoadedDecoder,
    end_ids,
    load_decoder,
    plain_token_probabilities,
    save_decoder,
)
from feinschliff.models.plain import Complete
from feinschliff.results.check_files import Written
from feinschliff.results.evaluation import EvaluationResult
from feinschliff.results.formats import LIKELIHOOD_METRICS
from feinschliff.results.judged import PREFERENCE
from feinschliff.results.prediction import PredictionResult
from feinschliff.results.resampling import value_of
from feinschliff.results.verdicts import Evidence, compare
from feinschliff.tasks import _base_loss, _chat_answers, _chat_encoding, _chat_rules
from feinschliff.tasks._base_loss import BaseRows, base_loss
from feinschliff.tasks._chat_answers import WRITTEN_METRICS, ChatAnswers, checks_of, figures
from feinschliff.tasks._chat_encoding import ChatSet
from feinschliff.tasks._chat_writing import ChatWriter, WrittenAnswers, texts_of, unfinished
from feinschliff.tasks._decoder_network import DecoderNetwork
from feinschliff.tasks._task import EncodedSet, Floats, Frozen, Rival, TaskContext
from feinschliff.tasks._untuned_decoder import UntunedDecoder

if TYPE_CHECKING:
    from feinschliff.tasks.sft import SftConfig

PACKING_TOLERANCE = 1e-2
"""Of states that come out of a norm, some of them in the tens."""
PROBED_LENGTHS = (3, 5, 9, 70)


class Sft:
    """Keeps :class:`feinschliff.tasks._task.Task`. Answers are :class:`ChatAnswers`."""

    per_token = False
    partial_targets = False
    long_rows = "rows may have"

    def __init__(self, config: SftConfig, context: TaskContext) -> None:
        self.config = config
        self.context = context
        self.loaded: LoadedDecoder | None = None
        self._renderer: ChatRenderer | None = None
        self._disagreements: list[Fault] = []
        self._base_rows: BaseRows | None = None
        """Some rows of the first set that was encoded."""
        self._ends: set[int] = set()

    def load_model(self, model: ModelConfig, folder: Path) -> DecoderNetwork:
        """The decoder in fp32, its tokenizer with the template that is used.

        Raises:
            ModelError: it is none, or gives other numbers packed than row by row.
            ConfigError: there is no such template.
        """
        loaded = load_decoder(folder, causal_attention.NAME, model.new_tokens)
        lengths = list(PROBED_LENGTHS)
        difference = loaded.body.check_packing(group_by_length(lengths), lengths)
        if not difference < PACKING_TOLERANCE:
            raise ModelError(
                f"{folder} gives other outputs for packed rows than for single rows",
                where="model.source",
                why=f"largest difference {difference:.2g} on a made-up batch: it computes in a way not known here",
                remedy="choose another model",
            )
        self._use(loaded)
        read = _chat_rules.reading(loaded.tokenizer, self.config, self._ends)
        loaded.announcements += read.announcements
        self._renderer, self._disagreements = read.renderer, read.disagreements
        if self.context.label_smoothing:
            loaded.announcements.append("label smoothing has no effect on language models")
        return DecoderNetwork(loaded.body)

    def load_finished(self, folder: Path, pooling: str | None) -> DecoderNetwork:
        """The network of a folder that :meth:`save_native` wrote."""
        self._use(load_decoder(folder, causal_attention.NAME))
        return DecoderNetwork(self._ready.body)

    def _use(self, loaded: LoadedDecoder) -> None:
        self.loaded = loaded
        self._ends = set(end_ids(loaded))
        if loaded.tokenizer.chat_template is not None:
            self._renderer = ChatRenderer(loaded.tokenizer, self._ends, _chat_rules.arguments_of(self.config))

    @property
    def renderer(self) -> ChatRenderer:
        """The template at work."""
        if self._renderer is None:
            raise RuntimeError("load_model comes before encode")
        return self._renderer

    @property
    def _ready(self) -> LoadedDecoder:
        if self.loaded is None:
            raise RuntimeError("load_model comes before encode")
        return self.loaded

    def encode(self, examples: Sequence[Example], max_length_tokens: int) -> ChatSet:
        """Rows of tokens with the targets that carry loss; an example may have several rows, or none."""
        documents = bool(examples) and examples[0].conversation is None
        rules = _chat_rules.rules_of(self.config, max_length_tokens, documents=documents)
        found, rendered = _chat_encoding.encode(self.renderer, examples, rules)
        self._ends |= set(rendered.end_token_ids)
        if not documents:
            found.faults = [*self._disagreements, *found.faults]
        if self._base_rows is None:
            self._base_rows = _base_loss.chosen(*_parts(found))
        return found

    def head_rows(self, encoded: EncodedSet, seed: int) -> Ints:
        """None: the head is the model's own."""
        return np.empty(0, dtype=np.int64)

    def start_head(self, network: Any, features: Tensor, targets: Tensor) -> None:
        """It is trained already."""

    def loss(self, network: Any, batch: Batch) -> LossOutput:
        """Summed over the tokens that carry loss, each by its weight."""
        if batch.targets is None:
            raise RuntimeError("a batch without targets has no loss")
        at = (batch.targets != NO_TARGET).nonzero().squeeze(1)
        weights = None if batch.weights_T is None else batch.weights_T[at]
        body = network.body
        loss = token_loss(network(batch)[at], body.projection.weight, batch.targets[at], weights, body.softcap)
        return LossOutput(loss, float(len(at) if weights is None else weights.sum()))

    def expected_first_loss(self) -> float:
        """What the model as it is gives some of the rows by transformers' own forward pass, row by row; at most ln(V).

        Raises:
            PreflightError: our own forward pass gives them another loss.
        """
        worst = math.log(self._ready.body.vocabulary_size)
        return worst if self._base_rows is None else min(worst, base_loss(self._ready.body, self._base_rows))

    def predict(self, network: Any, batch: Batch) -> Tensor:
        """[B, 3]: summed loss, its weight, and the weight of tokens that were the likeliest."""
        found = torch.zeros(len(batch.rows), 3, device=batch.ids_T.device)
        if batch.targets is None:
            return found
        at = (batch.targets != NO_TARGET).nonzero().squeeze(1)
        body = network.body
        scores = token_scores(network(batch)[at], body.projection.weight, batch.targets[at], body.softcap)
        weights = torch.ones_like(scores.losses_n) if batch.weights_T is None else batch.weights_T[at]
        columns = torch.stack([scores.losses_n * weights, weights, scores.correct_n * weights], 1)
        row_T = torch.repeat_interleave(torch.arange(len(batch.rows), device=found.device), batch.lengths_B)
        return found.index_add_(0, row_T[at], columns)

    def answers(self, outputs: Floats, encoded: EncodedSet) -> ChatAnswers:
        """Sums an example over its rows."""
        sums = np.zeros((len(encoded.examples), 3), dtype=np.float32)
        if isinstance(encoded, ChatSet) and len(encoded.owner):
            np.add.at(sums, encoded.owner, outputs)
        return ChatAnswers(sums)

    def writer(self) -> ChatWriter:
        """The model as it is now, writing."""
        return ChatWriter(self._ready, self.renderer, sorted(self._ends))

    def sampling(self, given: SamplingConfig) -> SamplingConfig:
        """The same with the task's own longest answer, where none was given."""
        if "max_new_tokens" in given.model_fields_set:
            return given
        longest = max(self.config.max_new_tokens, given.min_new_tokens)
        return given.model_copy(update={"max_new_tokens": longest})

    def written(
        self,
        examples: Sequence[Example],
        sampling: SamplingConfig | None = None,
        on_rows: Callable[[int], None] = lambda _: None,
        *,
        leaves_out: bool = False,
    ) -> WrittenAnswers:
        """Answers in writing alone; None: always the likeliest word. See :meth:`ChatWriter.answered`."""
        asked = self.sampling(sampling or SamplingConfig())
        return self.writer().answered(examples, asked, on_rows, leaves_out=leaves_out)

    def in_writing(
        self,
        answers: ChatAnswers,
        examples: Sequence[Example],
        most: int,
        on_rows: Callable[[int], None] = lambda _: None,
    ) -> ChatAnswers:
        """The same answers with what the model writes for ``most`` examples, drawn from those that can be asked."""
        if not _asks(examples):
            return answers
        writer = self.writer()
        askable = writer.askable(examples, most)
        notes = askable.notes
        on_rows(min(most, len(examples)) - len(askable.rows))
        if not askable.rows:
            return replace(answers, notes=notes)
        asked = self.sampling(SamplingConfig())
        chosen = [examples[row] for row in askable.rows]
        found = writer.write(chosen, asked, on_rows)
        return replace(
            answers,
            texts=dict(zip(askable.rows, texts_of(found), strict=True)),
            references={askable.rows[place]: golds for place, golds in writer.references(chosen).items()},
            notes=[*notes, *unfinished(found, asked)],
        )

    @torch.inference_mode()
    def time(self, network: Any, batch: Batch) -> None:
        """One forward pass, for measuring."""
        self.predict(network, batch)

    def validation_loss(self, outputs: Floats, encoded: EncodedSet) -> float:
        """Mean over the tokens that carry loss."""
        sums = outputs[:, :2].astype(np.float64).sum(0)
        return float(sums[0] / max(1.0, sums[1]))

    def temperature(self, outputs: Floats, encoded: EncodedSet) -> float | None:
        """No probability is shown."""
        return None

    def deciding_metric(self, examples: Sequence[Example]) -> tuple[str, str]:
        """The loss on held-out rows."""
        return "loss", "how likely the right answers are to the model, a token; every row counts, nothing is written"

    def deciding_metrics(self) -> tuple[str, ...]:
        """Likelihoods, what compares written answers with the right ones, and a judge."""
        return (*LIKELIHOOD_METRICS, *WRITTEN_METRICS, PREFERENCE)

    def can_ask(self, examples: Sequence[Example]) -> tuple[bool, list[str]]:
        """Whether any of the examples can be answered in writing, and why others cannot."""
        if not _asks(examples):
            return False, []
        found = self.writer().askable(examples, 1)
        return bool(found.rows), found.notes

    def names_of_checks(self, config: EvaluationConfig, examples: Sequence[Example]) -> list[str]:
        """Metrics that the checks of written answers give, and that can decide as well."""
        return [check.name for check in checks_of(config, examples)[0]]

    def score(self, answers: ChatAnswers, examples: Sequence[Example], metric: str) -> float:
        """One metric by name."""
        return value_of(figures(answers, examples, (), metric)[metric])

    def judge(
        self, answers: ChatAnswers, examples: Sequence[Example], metric: str, config: EvaluationConfig
    ) -> EvaluationResult:
        """All metrics with intervals over rows, and answers side by side with what they should be."""
        checks, said = checks_of(config, examples)
        found = _chat_answers.judge(answers, examples, checks, metric, config)
        return found.model_copy(update={"notes": [*found.notes, *(said if answers.texts else [])]})

    def compare(
        self,
        metric: str,
        baseline: str,
        examples: Sequence[Example],
        ours: ChatAnswers,
        theirs: ChatAnswers,
        config: EvaluationConfig,
    ) -> Evidence:
        """Paired bootstrap over rows."""
        checks, _ = checks_of(config, examples)
        first, second = (figures(answers, examples, checks, metric)[metric] for answers in (ours, theirs))
        return compare(metric, baseline, first, second, config.confidence, config.bootstrap_samples)

    def side_by_side(
        self, ours: ChatAnswers, theirs: ChatAnswers, examples: Sequence[Example]
    ) -> tuple[list[Written], list[str]]:
        """For a judge: rows that both answered in writing, with our answers, and theirs."""
        return _chat_answers.side_by_side(ours, theirs, examples)

    def rivals(self, frozen: Frozen, examples: Sequence[Example], seed: int, say: Callable[[str], None]) -> list[Rival]:
        """The base model as it is."""
        return [UntunedDecoder(frozen, examples)]

    def results(self, answers: WrittenAnswers, examples: Sequence[Example]) -> list[PredictionResult]:
        """What was written, or why nothing was."""
        return answers.results(examples)

    def exported(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As they are."""
        return dict(weights)

    def save_native(self, network: nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write config, weights, tokenizer with its template, and where answers end."""
        save_decoder(self._ready, weights, sorted(self._ends), folder)

    def plain_outputs(
        self, folder: Path, examples: Sequence[Example], complete: Complete = lambda model: model
    ) -> Floats:
        """Probabilities that plain transformers gives the tokens to be learned."""
        ids, targets, _ = _parts(self.encode(examples, self._ready.max_length_tokens))
        rows = list(zip(ids, targets, strict=True))
        found: Floats = plain_token_probabilities(folder, rows, complete).numpy()
        return found

    @torch.inference_mode()
    def own_outputs(
        self, network: Any, examples: Sequence[Example], max_length_tokens: int, num_virtual_tokens: int = 0
    ) -> Floats:
        """The same from our own network."""
        encoded = self.encode(examples, max_length_tokens)
        parts = []
        for row in range(len(encoded.table)):
            batch = on(encoded.table.collate(np.array([row]), encoded.targets), device_of(network))
            assert batch.targets is not None
            at = (batch.targets != NO_TARGET).nonzero().squeeze(1)
            body = network.body
            scores = token_scores(network(batch)[at], body.projection.weight, batch.targets[at], body.softcap)
            parts.append(torch.exp(-scores.losses_n).cpu())
        return torch.cat(parts).numpy() if parts else np.empty(0, np.float32)


def _asks(examples: Sequence[Example]) -> bool:
    return any(example.conversation is not None for example in examples)


def _parts(encoded: ChatSet) -> tuple[list[Ints], list[Ints], list[Floats] | None]:
    """Ids, targets and, where they differ, weights of each row: [T]."""
    table, targets = encoded.table, encoded.targets
    if not isinstance(targets, TokenTargets):
        raise TypeError("targets are one a token")
    if not len(table):
        return [], [], None
    cuts = table.offsets[1:-1]  # type: ignore[attr-defined]
    ids = np.split(table.ids.astype(np.int64), cuts)  # type: ignore[attr-defined]
    weights = None if targets.weights is None else np.split(targets.weights, cuts)
    return ids, np.split(targets.values, cuts), weights
