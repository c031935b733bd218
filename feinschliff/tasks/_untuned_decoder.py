"""What a tuned language model has to beat: its base model as it is, with the same chat template. Knows no training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from feinschliff.data.examples import Example
from feinschliff.engine.batching import FORWARD_TOKENS
from feinschliff.engine.scoring import outputs
from feinschliff.tasks._chat_answers import ChatAnswers
from feinschliff.tasks._task import Frozen

TIMED_ROWS = 16


class UntunedDecoder:
    """What is to be beaten: the base model with the same template, untuned."""

    name, note = "base model", "the base model as it is, with the same chat template"

    def __init__(self, frozen: Frozen, examples: Sequence[Example]) -> None:
        self._frozen = frozen
        self._examples, rows = examples, list(examples[:TIMED_ROWS])
        self.answers(rows)  # kernels are made for these shapes
        with frozen.timed(len(rows)):
            self.answers(rows)

    def answers(self, examples: Sequence[Example]) -> ChatAnswers:
        """Likelihoods of the right answers."""
        frozen = self._frozen
        rows = frozen.task.encode(examples, frozen.max_length_tokens)
        found = outputs(frozen.task, frozen.network, rows.table, max_tokens=FORWARD_TOKENS, targets=rows.targets)
        answers: ChatAnswers = frozen.task.answers(found, rows)
        return answers

    def in_writing(
        self,
        answers: ChatAnswers,
        examples: Sequence[Example],
        most: int,
        on_rows: Callable[[int], None] = lambda _: None,
    ) -> ChatAnswers:
        """The same with what the base model writes for ``most`` examples."""
        found: ChatAnswers = self._frozen.task.in_writing(answers, examples, most, on_rows)
        return found

    def seconds_to_write(self, most: int) -> float:
        """What its answers to so many examples take at most, measured."""
        task = self._frozen.task
        if all(example.conversation is None for example in self._examples):
            return 0.0
        seconds: float = task.writer().seconds_to_write(self._examples, most, task.config.max_new_tokens)
        return seconds
