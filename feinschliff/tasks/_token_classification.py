"""Token classification: labelled pieces of a text. Knows no method, no file format and no loop.

Every word gets a tag (``O``, ``B-X``, ``I-X``) from the state of its first token; the loss is softmax cross-entropy
over words, summed. Answers are the likeliest tags that the scheme allows, as spans of characters of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feinschliff.config.evaluation import EvaluationConfig
from feinschliff.data.examples import Example
from feinschliff.data.spans import Span
from feinschliff.data.token_tags import TagSet, spans_from_tags
from feinschliff.engine.batching import NO_TARGET, Batch, Ints
from feinschliff.engine.contracts import LossOutput
from feinschliff.models.native import save_token_classifier
from feinschliff.models.plain import Complete, plain_token_logits
from feinschliff.results.data import Scheme
from feinschliff.results.evaluation import EvaluationResult, WrongRow
from feinschliff.results.prediction import PredictedSpan, PredictionResult
from feinschliff.results.spans import DECIDING_METRICS, entity_figures, entity_metrics, entity_statistic, per_label
from feinschliff.results.verdicts import Evidence, compare
from feinschliff.tasks._shown import joined, row_ref
from feinschliff.tasks._span_rivals import Dictionary, TagProbe
from feinschliff.tasks._tag_decoding import TagDecoder
from feinschliff.tasks._task import EncodedSet, Floats, Frozen, Rival, TaskContext, encoded
from feinschliff.tasks._token_network import TokenTask
from feinschliff.tasks._token_windows import EncodedWords, encode_words

if TYPE_CHECKING:
    from feinschliff.tasks.token_classification import TokenClassificationConfig

HEAD_ROWS = 512
SCHEME: Scheme = "IOB2"
Found = list[list[tuple[Span, float]]]
"""Of each example its spans with their scores."""


class TokenClassification(TokenTask):
    """Keeps :class:`feinschliff.tasks._task.Task`. Answers are spans with scores, a list an example."""

    per_token = True

    def __init__(self, config: TokenClassificationConfig, context: TaskContext) -> None:
        self.config = config
        self.context = context
        self.tags = TagSet(context.label_names, SCHEME)
        self._decoder = TagDecoder(self.tags.names)

    @property
    def num_outputs(self) -> int:
        """Tags."""
        return len(self.tags.names)

    def encode(self, examples: Sequence[Example], max_length_tokens: int) -> EncodedWords:
        """Windows of tokens, and the tags of words; nothing is cut."""
        return encode_words(self.tokenizer, examples, self.tags, max_length_tokens, self.config.window_overlap_fraction)

    def head_rows(self, encoded: EncodedSet, seed: int) -> Ints:
        """Windows by chance."""
        return np.random.default_rng([seed, 0x4EAD]).permutation(len(encoded.table))[:HEAD_ROWS]

    def start_head(self, network: Any, features: Tensor, targets: Tensor) -> None:
        """Tag means of the frozen states."""
        network.head.start_from_class_means(features, targets)

    def loss(self, network: nn.Module, batch: Batch) -> LossOutput:
        """Summed over words."""
        if batch.targets is None:
            raise RuntimeError("a batch without targets has no loss")
        words = batch.targets != NO_TARGET
        smoothing = self.context.label_smoothing if network.training else 0.0
        total = F.cross_entropy(network(batch)[words], batch.targets[words], reduction="sum", label_smoothing=smoothing)
        return LossOutput(total, int(words.sum()))

    def expected_first_loss(self) -> float:
        """Mean loss of a head that knows nothing: ln(tags)."""
        return float(np.log(len(self.tags.names)))

    def predict(self, network: nn.Module, batch: Batch) -> Tensor:
        """[tokens, 3]: the tag decided on, its probability, and minus the log probability of the target.

        Tokens that begin no word get zeros.
        """
        if batch.targets is None:
            raise RuntimeError("words are known by their targets")
        targets = batch.targets[: batch.num_tokens]
        words = torch.nonzero(targets != NO_TARGET).squeeze(1)
        out = torch.zeros(batch.num_tokens, 3)
        if not len(words):
            return out
        scores = torch.log_softmax(network(batch)[words].float(), -1)
        tags = self._decided(scores, words, batch.lengths_B)
        out[words, 0] = tags.float()
        out[words, 1] = scores.gather(1, tags[:, None]).squeeze(1).exp()
        out[words, 2] = -scores.gather(1, targets[words][:, None]).squeeze(1)
        return out

    def _decided(self, scores_WC: Tensor, words: Tensor, lengths_B: Tensor) -> Tensor:
        """[W] tags, decoded row by row."""
        rows = torch.searchsorted(torch.cumsum(lengths_B, 0), words, right=True)
        counts = torch.bincount(rows, minlength=len(lengths_B))
        within = torch.arange(len(words)) - (torch.cumsum(counts, 0) - counts)[rows]
        padded = scores_WC.new_zeros(len(lengths_B), int(counts.max()), scores_WC.shape[1])
        padded[rows, within] = scores_WC
        return self._decoder.decode(padded, counts)[rows, within]

    def answers(self, outputs: Floats, encoded: EncodedSet) -> Found:
        """Spans of characters with the mean probability of their words' tags."""
        if not isinstance(encoded, EncodedWords) or encoded.words is None or encoded.ranges_W2 is None:
            raise TypeError("answers need the words of the texts")
        borders = encoded.first_words
        if borders is None or not len(encoded.words):
            return [[] for _ in encoded.examples]
        tags, sure = outputs[encoded.words, 0].astype(np.int64), outputs[encoded.words, 1]
        found: Found = []
        for row, example in enumerate(encoded.examples):
            part = slice(int(borders[row]), int(borders[row + 1]))
            ranges = encoded.ranges_W2[part]
            spans = spans_from_tags(ranges, tags[part], example.texts[0], self.tags)
            inside = [(ranges[:, 0] >= span.start) & (ranges[:, 1] <= span.end) for span in spans]
            found.append(
                [(s, float(sure[part][w].mean()) if w.any() else 0.0) for s, w in zip(spans, inside, strict=True)]
            )
        return found

    def validation_loss(self, outputs: Floats, encoded: EncodedSet) -> float:
        """Mean unsmoothed cross-entropy over words."""
        if not isinstance(encoded, EncodedWords) or encoded.words is None:
            raise TypeError("the loss needs the words of the texts")
        return float(outputs[encoded.words, 2].astype(np.float64).mean())

    def temperature(self, outputs: Floats, encoded: EncodedSet) -> float | None:
        """Probabilities of tags are left as they are."""
        return None

    def deciding_metric(self, examples: Sequence[Example]) -> tuple[str, str]:
        """F1 of whole entities."""
        return "entity_f1", "an entity is right where its type and both its borders are"

    def deciding_metrics(self) -> tuple[str, ...]:
        """Precision and recall can decide too."""
        return DECIDING_METRICS

    def score(self, answers: Found, examples: Sequence[Example], metric: str) -> float:
        """One metric by name."""
        return entity_statistic(metric)(_given(examples), _plain(answers))

    def judge(
        self, answers: Found, examples: Sequence[Example], metric: str, config: EvaluationConfig
    ) -> EvaluationResult:
        """Entity precision, recall and F1 with intervals over rows, each type, the rows with most mistakes."""
        references, found = _given(examples), _plain(answers)
        return EvaluationResult(
            rows=len(examples),
            metric=metric,
            metrics=entity_metrics(references, found, config.bootstrap_samples, config.confidence),
            confidence=config.confidence,
            labels=list(self.context.label_names),
            classes=per_label(references, found, confidence=config.confidence),
            worst=_worst(references, found, examples, config.worst_examples),
        )

    def compare(
        self,
        metric: str,
        baseline: str,
        examples: Sequence[Example],
        ours: Found,
        theirs: Found,
        config: EvaluationConfig,
    ) -> Evidence:
        """Paired bootstrap over rows."""
        references = _given(examples)
        first, second = (entity_figures(references, _plain(answers))[metric] for answers in (ours, theirs))
        return compare(metric, baseline, first, second, config.confidence, config.bootstrap_samples)

    def rivals(self, frozen: Frozen, examples: Sequence[Example], seed: int, say: Callable[[str], None]) -> list[Rival]:
        """A list of the training rows' entities, and a linear probe on frozen states."""
        probe = TagProbe(self, frozen, examples, seed)
        say(f"linear probe: {probe.note}")
        return [Dictionary(examples), probe]

    def results(self, answers: Found, examples: Sequence[Example]) -> list[PredictionResult]:
        """Spans with their text."""
        return [
            PredictionResult(
                text=joined(example),
                labels=sorted({span.label for span, _ in found}),
                spans=[
                    PredictedSpan(
                        start=span.start,
                        end=span.end,
                        label=span.label,
                        text=example.texts[0][span.start : span.end],
                        score=score,
                    )
                    for span, score in found
                ],
                file=example.place.file,
                line=example.place.line,
            )
            for found, example in zip(answers, examples, strict=True)
        ]

    def save_native(self, network: nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write config, weights and tokenizer as transformers' own token classifier."""
        save_token_classifier(network, weights, self.tags.names, folder)
        self.tokenizer.save_pretrained(folder)

    def plain_outputs(
        self, folder: Path, examples: Sequence[Example], complete: Complete = lambda model: model
    ) -> Floats:
        """Probabilities of the tags of all tokens that plain transformers reads, [tokens, C]."""
        found = plain_token_logits(folder, [example.texts[0] for example in examples], complete)
        return torch.softmax(torch.cat(found), -1).numpy()

    @torch.inference_mode()
    def own_outputs(
        self, network: Any, examples: Sequence[Example], max_length_tokens: int, num_virtual_tokens: int = 0
    ) -> Floats:
        """The same from our own network: of the first window of each text."""
        parts = []
        for example in examples:
            table = encoded(self, [example], max_length_tokens, num_virtual_tokens).table
            batch = table.collate(np.zeros(1, dtype=np.int64))
            parts.append(torch.softmax(network(batch)[num_virtual_tokens : batch.num_tokens].float(), -1))
        return torch.cat(parts).numpy()


def _given(examples: Sequence[Example]) -> list[list[tuple[int, int, str]]]:
    return [[(span.start, span.end, span.label) for span in example.spans] for example in examples]


def _plain(answers: Found) -> list[list[tuple[int, int, str]]]:
    return [[(span.start, span.end, span.label) for span, _ in found] for found in answers]


def _worst(references: Any, found: Any, examples: Sequence[Example], most: int) -> list[WrongRow]:
    """The rows with the most spans missed or made up."""
    wrong = np.array([len(set(a) ^ set(b)) for a, b in zip(references, found, strict=True)])
    order = [row for row in np.argsort(-wrong, kind="stable")[:most].tolist() if wrong[row]]
    return [
        WrongRow(
            row=row_ref(examples[row]),
            reference=_listed(set(references[row]) - set(found[row]), examples[row]),
            prediction=_listed(set(found[row]) - set(references[row]), examples[row]),
            error=float(wrong[row]),
        )
        for row in order
    ]


def _listed(spans: set[tuple[int, int, str]], example: Example) -> str:
    text = example.texts[0]
    return "; ".join(f"{label}: {text[start:end]}" for start, end, label in sorted(spans)) or "(nothing)"
