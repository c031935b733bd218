"""What a tuned answerer has to beat: a sentence chosen by its words, a piece of it, no answer, a linear probe."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from feinschliff.data.examples import Example
from feinschliff.engine.batching import FORWARD_TOKENS, Ints, micro_batches
from feinschliff.engine.scoring import outputs
from feinschliff.tasks._answer_pointers import fit_pointers, real_tokens
from feinschliff.tasks._answer_windows import EncodedQuestions
from feinschliff.tasks._answers_found import FAR, Found, best_threshold, texts
from feinschliff.tasks._task import Frozen

PROBE_TOKENS = 60_000
"""The probe is fitted on windows of at most so many tokens, drawn by chance."""
STEM_CHARACTERS = 5
"""Words that begin alike count as the same: a crude stem that needs no language."""
NUM_COMMON = 60
"""So many of the most frequent words are no answers."""
_WORD = re.compile(r"\w+")
_SENTENCE = re.compile(r"[^.!?\n]*(?:[.!?](?!\s|$)[^.!?\n]*)*[.!?]*")


class NeverAnswers:
    """That there is no answer, whatever the question."""

    name, note = "never an answer", "says that there is none"

    def answers(self, examples: Sequence[Example]) -> list[Found]:
        """Nothing."""
        return [Found((), 0.0) for _ in examples]


class OverlappingSentence:
    """The sentence that shares the rarest words with the question (inverse document frequency, Sparck Jones 1972)."""

    name, note = "most similar sentence", "rare words of the question, sentences of the training rows as documents"

    def __init__(self, examples: Sequence[Example]) -> None:
        self._counts: Counter[str] = Counter()
        contexts = dict.fromkeys(example.texts[1] for example in examples)
        found = [text[start:end] for text in contexts for start, end in _sentences(text)]
        for sentence in found:
            self._counts.update(_stems(sentence))
        self._num_sentences = len(found)

    def _weight(self, stem: str) -> float:
        return math.log((self._num_sentences + 1) / (self._counts[stem] + 1))

    def _sentence(self, example: Example) -> tuple[int, int]:
        question, text = _stems(example.texts[0]), example.texts[1]

        def likeness(span: tuple[int, int]) -> float:
            return math.fsum(map(self._weight, sorted(question & _stems(text[span[0] : span[1]]))))

        return max(_sentences(text) or [(0, len(text))], key=likeness)

    def answers(self, examples: Sequence[Example]) -> list[Found]:
        """One sentence each, always."""
        return [Found(((*self._sentence(example), 0.0),), -FAR) for example in examples]


class LikeliestStretch(OverlappingSentence):
    """Of that sentence the stretch of rare words that are not the question's."""

    name, note = "stretch of that sentence", "its rarest words in a row that the question does not hold"

    def __init__(self, examples: Sequence[Example]) -> None:
        super().__init__(examples)
        self._common = {stem for stem, _ in self._counts.most_common(NUM_COMMON)}

    def answers(self, examples: Sequence[Example]) -> list[Found]:
        """One stretch each, always."""
        return [Found(((*self._stretch(example), 0.0),), -FAR) for example in examples]

    def _stretch(self, example: Example) -> tuple[int, int]:
        start, end = self._sentence(example)
        text, left_out = example.texts[1], _stems(example.texts[0]) | self._common
        runs: list[list[tuple[int, int]]] = [[]]
        before = start
        for match in _WORD.finditer(text, start, end):
            out = _stem(match.group()) in left_out
            if out or text[before : match.start()].strip(" -'’"):
                runs.append([])
            if not out:
                runs[-1].append(match.span())
            before = match.end()
        best = max(runs, key=lambda run: math.fsum(self._weight(_stem(text[a:b])) for a, b in run))
        return (best[0][0], best[-1][1]) if best else (start, end)


def _sentences(text: str) -> list[tuple[int, int]]:
    """Where sentences stand, without the blanks around them."""
    found = [match.span() for match in _SENTENCE.finditer(text)]
    whole = [(start + len(text[start:end]) - len(text[start:end].lstrip()), end) for start, end in found]
    return [(start, end) for start, end in whole if start < end]


def _stem(word: str) -> str:
    return word.casefold()[:STEM_CHARACTERS]


def _stems(text: str) -> set[str]:
    return {_stem(word) for word in _WORD.findall(text)}


class PointerProbe:
    """Linear start and end on the frozen states."""

    name = "linear probe"

    def __init__(self, frozen: Frozen, examples: Sequence[Example], seed: int) -> None:
        self._task, self._frozen = frozen.task, frozen
        rows = self._task.encode(examples, frozen.max_length_tokens)
        order = np.random.default_rng([seed, 0x7A6]).permutation(len(rows.table))
        chosen = order[: max(1, int(np.searchsorted(np.cumsum(rows.table.lengths[order]), PROBE_TOKENS)))]
        states, values = self._states(rows, chosen)
        with torch.no_grad():
            frozen.network.head.linear.weight.copy_(fit_pointers(states, values))
            frozen.network.head.linear.bias.zero_()
        self.note = f"fitted on {len(chosen):,} windows"
        picked = [examples[row] for row in np.unique(np.searchsorted(rows.first_windows, chosen, "right") - 1).tolist()]
        self._threshold = best_threshold(self._found(picked), picked, "answer_f1")

    def _states(self, rows: EncodedQuestions, chosen: Ints) -> tuple[torch.Tensor, torch.Tensor]:
        """[T, d] states and [T] values of all tokens of the chosen windows."""
        states, values = [], []
        with torch.inference_mode():
            for part in micro_batches(chosen, rows.table.lengths, FORWARD_TOKENS):
                batch = rows.table.collate(part, rows.targets)
                if batch.targets is None:
                    raise TypeError("windows are known by their targets")
                real = real_tokens(self._frozen.network.features(batch), batch.targets)
                states.append(real[0])
                values.append(real[1])
        return torch.cat(states).clone(), torch.cat(values).clone()

    def _found(self, examples: Sequence[Example]) -> list[Found]:
        rows = self._task.encode(examples, self._frozen.max_length_tokens)
        with self._frozen.timed(len(examples)):
            made = outputs(
                self._task, self._frozen.network, rows.table, max_tokens=FORWARD_TOKENS, targets=rows.targets
            )
        found: list[Found] = self._task.answers(made, rows)
        return found

    def answers(self, examples: Sequence[Example]) -> list[Found]:
        """As the tuned model's; whether there is an answer is decided by a threshold of its own."""
        found = self._found(examples)
        given = texts(found, examples, self._threshold)
        return [Found(one.spans if text else (), -FAR) for one, text in zip(found, given, strict=True)]
