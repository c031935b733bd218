"""What a tuned token classifier has to beat: a list of known entities, and a linear probe on frozen states."""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from feinschliff.data.examples import Example
from feinschliff.data.spans import Span, without_overlaps
from feinschliff.engine.batching import FORWARD_TOKENS, NO_TARGET, by_length
from feinschliff.engine.scoring import outputs
from feinschliff.tasks._task import Frozen

PROBE_WORDS = 40_000
"""The probe is fitted on at most so many words, drawn by chance."""
PROBE_C = 10.0
_WORD = re.compile(r"\w+|[^\w\s]")


class Dictionary:
    """Every entity of the training rows, found again word for word where it was one more often than not."""

    name, note = "list of known entities", "the training rows' entities, word for word"

    def __init__(self, examples: Sequence[Example]) -> None:
        labels: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for example in examples:
            for span in example.spans:
                labels[example.texts[0][span.start : span.end]][span.label] += 1
        self._label = {surface: counts.most_common(1)[0] for surface, counts in labels.items()}
        self._longest = max((len(_WORD.findall(surface)) for surface in labels), default=0)
        seen: Counter[str] = Counter()
        for example in examples:
            seen.update(surface for _, _, surface in self._candidates(example.texts[0]))
        self._label = {s: (label, n) for s, (label, n) in self._label.items() if 2 * n >= seen[s]}

    def _candidates(self, text: str) -> list[tuple[int, int, str]]:
        """Stretches of whole words that are known."""
        words = [match.span() for match in _WORD.finditer(text)]
        return [
            (start, end, text[start:end])
            for first, (start, _) in enumerate(words)
            for _, end in words[first : first + self._longest]
            if text[start:end] in self._label
        ]

    def answers(self, examples: Sequence[Example]) -> list[list[tuple[Span, float]]]:
        """The longest of those that overlap."""
        found = []
        for example in examples:
            spans = [Span(start, end, self._label[s][0]) for start, end, s in self._candidates(example.texts[0])]
            found.append([(span, 1.0) for span in without_overlaps(spans)[0]])
        return found


class TagProbe:
    """Logistic regression from the frozen state of a word's first token to its tag."""

    name = "linear probe"

    def __init__(self, task: Any, frozen: Frozen, examples: Sequence[Example], seed: int) -> None:
        self._task, self._frozen = frozen.task, frozen
        states, tags = self._states(examples)
        rows = np.sort(np.random.default_rng([seed, 0x7A6]).permutation(len(tags))[:PROBE_WORDS])
        weight, bias = _fit(states[rows], tags[rows], len(task.tags.names))
        with torch.no_grad():
            frozen.network.head.linear.weight.copy_(torch.from_numpy(weight))
            frozen.network.head.linear.bias.copy_(torch.from_numpy(bias))
        self.note = f"C = {PROBE_C:g}, fitted on {len(rows):,} words"

    def _states(self, examples: Sequence[Example]) -> tuple[Any, Any]:
        """[W, d] states and [W] tags of all words."""
        encoded = self._task.encode(examples, self._frozen.max_length_tokens)
        states, tags = [], []
        with torch.inference_mode(), self._frozen.timed(len(examples)):
            for rows in by_length(encoded.table.lengths, FORWARD_TOKENS):
                batch = encoded.table.collate(rows, encoded.targets)
                words = batch.targets != NO_TARGET
                states.append(self._frozen.network.features(batch)[words].numpy())
                tags.append(batch.targets[words].numpy())
        return np.concatenate(states), np.concatenate(tags)

    def answers(self, examples: Sequence[Example]) -> list[list[tuple[Span, float]]]:
        """Decoded as the tuned model's."""
        encoded = self._task.encode(examples, self._frozen.max_length_tokens)
        found = outputs(
            self._task, self._frozen.network, encoded.table, max_tokens=FORWARD_TOKENS, targets=encoded.targets
        )
        answers: list[list[tuple[Span, float]]] = self._task.answers(found, encoded)
        return answers


def _fit(states: Any, tags: Any, num_tags: int) -> tuple[Any, Any]:
    """Weight [C, d] and bias [C]; a tag that does not occur is never chosen."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    scale = float(np.linalg.norm(states, axis=1).mean())
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=PROBE_C, max_iter=100, tol=1e-3).fit(states / scale, tags)
    weight = np.zeros((num_tags, states.shape[1]), dtype=np.float32)
    bias = np.full(num_tags, -1e4, dtype=np.float32)
    coefficients, intercepts = model.coef_, model.intercept_
    if len(model.classes_) == 2:
        coefficients, intercepts = (
            np.concatenate([-coefficients, coefficients]) / 2,
            np.append(-intercepts, intercepts) / 2,
        )
    weight[model.classes_], bias[model.classes_] = coefficients / scale, intercepts
    return weight, bias
