"""Extractive question answering: the piece of a text that answers a question. Knows no method, file format or loop.

Start and end are each a softmax over the tokens of a window (Devlin et al. 2019); the answer is the best span of all
windows of a text. That there is none is said where the first token, in the window where it scores least, beats the best
span by more than a threshold that was chosen on validation rows (SQuAD 2, Rajpurkar et al. 2018).
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
from feinschliff.data.examples import Example
from feinschliff.engine.batching import Batch, Ints
from feinschliff.engine.contracts import LossOutput
from feinschliff.models.native import save_question_answerer
from feinschliff.models.plain import Complete, plain_answer_logits
from feinschliff.results.answers import (
    DECIDING_METRICS,
    answer_f1,
    answer_figures,
    answer_metrics,
    has_answer,
)
from feinschliff.results.evaluation import EvaluationResult, WrongRow
from feinschliff.results.prediction import PredictedSpan, PredictionResult
from feinschliff.results.verdicts import Evidence, compare
from feinschliff.tasks._answer_pointers import best_spans, fit_pointers, pointer_losses, real_tokens
from feinschliff.tasks._answer_rivals import LikeliestStretch, NeverAnswers, OverlappingSentence, PointerProbe
from feinschliff.tasks._answer_windows import EncodedQuestions, cut_questions, encode_questions
from feinschliff.tasks._answers_found import SCORES, Found, best_threshold, golds, texts
from feinschliff.tasks._shown import joined, row_ref
from feinschliff.tasks._task import EncodedSet, Floats, Frozen, Rival, TaskContext, encoded
from feinschliff.tasks._token_network import TokenTask

if TYPE_CHECKING:
    from feinschliff.tasks.question_answering import QuestionAnsweringConfig

HEAD_WINDOWS = 256
NUM_BEST = 8
"""Spans kept of a window, and of a text."""
NUM_SHOWN = 5
NO_ANSWER = "(no answer)"


class QuestionAnswering(TokenTask):
    """Keeps :class:`feinschliff.tasks._task.Task`. Answers are what was :class:`Found`, one an example."""

    per_token = False

    def __init__(self, config: QuestionAnsweringConfig, context: TaskContext) -> None:
        self.config = config
        self.context = context
        self._mean_length = 1.0

    @property
    def num_outputs(self) -> int:
        """Start and end of an answer."""
        return 2

    def encode(self, examples: Sequence[Example], max_length_tokens: int) -> EncodedQuestions:
        """Windows of tokens; of texts nothing is cut, of questions the end of very long ones."""
        found = encode_questions(self.tokenizer, examples, max_length_tokens, self.config.window_overlap_fraction)
        if len(found.table):
            self._mean_length = float(found.table.lengths.mean())
        return found

    def head_rows(self, encoded: EncodedSet, seed: int) -> Ints:
        """Windows by chance."""
        return np.random.default_rng([seed, 0x4EAD]).permutation(len(encoded.table))[:HEAD_WINDOWS]

    @torch.no_grad()
    def start_head(self, network: Any, features: Tensor, targets: Tensor) -> None:
        """The best linear start and end for the frozen states of some windows."""
        network.head.linear.weight.copy_(fit_pointers(features, targets))
        network.head.linear.bias.zero_()

    def loss(self, network: nn.Module, batch: Batch) -> LossOutput:
        """Summed over windows: the mean of the losses of start and end."""
        if batch.targets is None:
            raise RuntimeError("a batch without targets has no loss")
        smoothing = self.context.label_smoothing if network.training else 0.0
        losses = pointer_losses(*real_tokens(network(batch), batch.targets), smoothing)
        return LossOutput(losses.sum(), len(losses))

    def expected_first_loss(self) -> float:
        """Mean loss of a head that knows nothing: ln(tokens of a mean window)."""
        return float(np.log(max(2.0, self._mean_length)))

    def predict(self, network: nn.Module, batch: Batch) -> Tensor:
        """[B, 2 + 3 * NUM_BEST] of each window: the loss, then what ``best_spans`` gives."""
        if batch.targets is None:
            raise RuntimeError("windows are known by their targets")
        logits, values = real_tokens(network(batch).float(), batch.targets)
        spans = best_spans(logits, values, self.config.max_answer_tokens, NUM_BEST)
        return torch.cat([pointer_losses(logits, values)[:, None], spans], 1)

    def answers(self, outputs: Floats, encoded: EncodedSet) -> list[Found]:
        """The best spans over the windows of each text, as characters."""
        if not isinstance(encoded, EncodedQuestions) or encoded.ranges_T2 is None or encoded.begins_W is None:
            raise TypeError("answers need the windows of the texts")
        borders = encoded.first_windows
        if borders is None:
            raise TypeError("answers need the windows of the texts")
        found = []
        for row in range(len(encoded.examples)):
            windows = np.arange(borders[row], borders[row + 1])
            best: dict[tuple[int, int], float] = {}
            for window in windows.tolist():
                for score, first, last in outputs[window, 2:].reshape(-1, 3).tolist():
                    if score == -math.inf:
                        continue
                    begin = encoded.begins_W[window]
                    span = int(encoded.ranges_T2[begin + int(first), 0]), int(encoded.ranges_T2[begin + int(last), 1])
                    best[span] = max(score, best.get(span, score))
            ordered = sorted(best.items(), key=lambda one: (-one[1], one[0]))[:NUM_BEST]
            found.append(Found(tuple((*span, score) for span, score in ordered), float(outputs[windows, 1].min())))
        return found

    def validation_loss(self, outputs: Floats, encoded: EncodedSet) -> float:
        """Mean over windows."""
        return float(outputs[:, 0].astype(np.float64).mean())

    def temperature(self, outputs: Floats, encoded: EncodedSet) -> float | None:
        """Scores are left as they are; the threshold for no answer is chosen, where there are such questions."""
        answers = self.answers(outputs, encoded)
        self.context = replace(self.context, no_answer_threshold=best_threshold(answers, encoded.examples, "answer_f1"))
        return None

    def deciding_metric(self, examples: Sequence[Example]) -> tuple[str, str]:
        """F1 of words."""
        return "answer_f1", "an answer that covers a part of the right words counts in part"

    def deciding_metrics(self) -> tuple[str, ...]:
        """Exact match can decide too."""
        return DECIDING_METRICS

    def score(self, answers: Sequence[Found], examples: Sequence[Example], metric: str) -> float:
        """One metric by name; as long as no threshold is chosen, with the best for these rows."""
        threshold = self.context.no_answer_threshold
        if threshold is None:
            threshold = best_threshold(answers, examples, metric)
        given = texts(answers, examples, threshold)
        return float(np.mean([SCORES[metric](g, p) for g, p in zip(golds(examples), given, strict=True)]))

    def _texts(self, answers: Sequence[Found], examples: Sequence[Example]) -> list[str]:
        return texts(answers, examples, self.context.no_answer_threshold)

    def judge(
        self, answers: Sequence[Found], examples: Sequence[Example], metric: str, config: EvaluationConfig
    ) -> EvaluationResult:
        """Exact match and F1 with intervals over questions, and the most confident mistakes."""
        given = self._texts(answers, examples)
        return EvaluationResult(
            rows=len(examples),
            metric=metric,
            metrics=answer_metrics(golds(examples), given, config.bootstrap_samples, config.confidence),
            confidence=config.confidence,
            worst=self._worst(answers, given, examples, config.worst_examples),
        )

    def _worst(
        self, answers: Sequence[Found], given: Sequence[str], examples: Sequence[Example], most: int
    ) -> list[WrongRow]:
        wanted = golds(examples)
        sure = np.array([max(self._shares(one).values(), default=0.0) for one in answers])
        wrong = np.array([answer_f1(gold, text) == 0.0 for gold, text in zip(wanted, given, strict=True)])
        order = [row for row in np.argsort(-sure, kind="stable").tolist() if wrong[row]]
        return [
            WrongRow(
                row=row_ref(examples[row]),
                reference=" / ".join(dict.fromkeys(wanted[row])) or NO_ANSWER,
                prediction=given[row] or NO_ANSWER,
                confidence=float(sure[row]),
            )
            for row in order[:most]
        ]

    def _shares(self, found: Found) -> dict[tuple[int, int] | None, float]:
        """Softmax over the best spans, and over no answer (None) where that can be given."""
        scores: dict[tuple[int, int] | None, float] = {(start, end): score for start, end, score in found.spans}
        if self.context.no_answer_threshold is not None or not scores:
            scores[None] = found.none - (self.context.no_answer_threshold or 0.0)
        peak = max(scores.values())
        powers = {span: math.exp(score - peak) for span, score in scores.items()}
        return {span: power / sum(powers.values()) for span, power in powers.items()}

    def compare(
        self,
        metric: str,
        baseline: str,
        examples: Sequence[Example],
        ours: Sequence[Found],
        theirs: Sequence[Found],
        config: EvaluationConfig,
    ) -> Evidence:
        """Paired bootstrap over questions."""
        wanted = golds(examples)
        first, second = (answer_figures(wanted, self._texts(answers, examples))[metric] for answers in (ours, theirs))
        return compare(metric, baseline, first, second, config.confidence, config.bootstrap_samples)

    def rivals(self, frozen: Frozen, examples: Sequence[Example], seed: int, say: Callable[[str], None]) -> list[Rival]:
        """No answer where that can be right, the most similar sentence, a linear probe, a stretch of that sentence."""
        probe = PointerProbe(frozen, examples, seed)
        say(f"linear probe: {probe.note}")
        none: list[Rival] = [] if has_answer(golds(examples)).all() else [NeverAnswers()]
        return [*none, OverlappingSentence(examples), probe, LikeliestStretch(examples)]

    def results(self, answers: Sequence[Found], examples: Sequence[Example]) -> list[PredictionResult]:
        """The answer with its place and score; ``scores`` also holds the next best."""
        given = self._texts(answers, examples)
        return [self._result(*row) for row in zip(answers, given, examples, strict=True)]

    def _result(self, found: Found, given: str, example: Example) -> PredictionResult:
        shares, text = self._shares(found), example.texts[1]
        scores: dict[str, float] = {}
        for span, share in sorted(shares.items(), key=lambda one: -one[1]):
            name = NO_ANSWER if span is None else text[span[0] : span[1]]
            scores[name] = scores.get(name, 0.0) + share
        spans = []
        if given:
            start, end, _ = found.spans[0]
            spans = [PredictedSpan(start=start, end=end, label="answer", text=given, score=shares[start, end])]
        return PredictionResult(
            text=joined(example),
            score=spans[0].score if spans else shares.get(None),
            scores=dict(sorted(scores.items(), key=lambda one: -one[1])[:NUM_SHOWN]),
            spans=spans,
            file=example.place.file,
            line=example.place.line,
        )

    def save_native(self, network: nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write config, weights and tokenizer as transformers' own question answerer."""
        save_question_answerer(network, weights, folder)
        self.tokenizer.save_pretrained(folder)

    def plain_outputs(
        self, folder: Path, examples: Sequence[Example], complete: Complete = lambda model: model
    ) -> Floats:
        """Probabilities of start and end that plain transformers gives the tokens of each first window, [tokens, 2]."""
        questions, _ = cut_questions(self.tokenizer, examples, self.tokenizer.model_max_length)
        pairs = [(question, example.texts[1]) for question, example in zip(questions, examples, strict=True)]
        return torch.cat([torch.softmax(part, 0) for part in plain_answer_logits(folder, pairs, complete)]).numpy()

    @torch.inference_mode()
    def own_outputs(
        self, network: Any, examples: Sequence[Example], max_length_tokens: int, num_virtual_tokens: int = 0
    ) -> Floats:
        """The same from our own network."""
        parts = []
        for example in examples:
            rows = encoded(self, [example], max_length_tokens, num_virtual_tokens)
            batch = rows.table.collate(np.zeros(1, dtype=np.int64))
            logits = network(batch)[num_virtual_tokens : batch.num_tokens].float()
            parts.append(torch.softmax(logits, 0))
        return torch.cat(parts).numpy()
