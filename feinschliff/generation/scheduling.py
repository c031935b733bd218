"""Continuous batching: which rows are computed in the next step, and what becomes of each token.

Prompts are taken longest first, so that rows beside each other are of similar length. A row that ends leaves at once
and a waiting prompt takes its place; prompts are read in stretches beside the rows that generate, so many tokens a
step. What all prompts begin with is read once. Answers to one prompt share its reading: the others are copies, and when
there is no room for all at once, a row that ends gives its place, prompt still in it, to the next answer.

Knows no model: it is given a function from steps to logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from feinschliff.config.generation import SamplingConfig
from feinschliff.generation.choosing import Chooser, choose, draws_of
from feinschliff.generation.forward import Forward, make_step
from feinschliff.generation.kv_cache import Place, Slab
from feinschliff.generation.port import FinishReason, Generation, Piece
from feinschliff.generation.structured import GrammarState
from feinschliff.generation.text import TextStream

SHORTEST_CLASS = 128
"""Prompts of up to so many tokens share a slab; those up to twice as many the next, and so on."""
SHARED_FROM_TOKENS = 8
"""A common beginning of all prompts that is shorter is not worth sharing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is computed and kept at once."""

    num_rows: int = 64
    """Rows that generate at the same time, at most."""
    step_tokens: int = 2048
    """Tokens of one step: more of them make reading faster, and take memory."""
    cache_tokens: int = 65536
    """Tokens for whose keys and values there is room, counting each answer as long as it may become."""


@dataclass(slots=True, eq=False)
class Prompt:
    """A prompt and its answers that have not begun."""

    request: int
    ids: Sequence[int]
    samples: Sequence[int]
    """Which of the request's answers."""
    max_new_tokens: int
    num_before: int = 0
    """Answers that equal requests before it get: theirs and its own shall differ."""
    num_begun: int = 0
    logits_V: Tensor | None = None
    """For the first token of an answer, once it is read and while answers wait."""

    @property
    def num_waiting(self) -> int:
        """Answers that have not begun."""
        return len(self.samples) - self.num_begun

    @property
    def most_tokens(self) -> int:
        """Length of prompt and answer, at most."""
        return len(self.ids) + self.max_new_tokens

    @property
    def length_class(self) -> int:
        """Longest prompt of those it shares a slab with."""
        size = SHORTEST_CLASS
        while size < len(self.ids):
            size *= 2
        return size


@dataclass(slots=True, eq=False)
class Row:
    """An answer that is being written."""

    prompt: Prompt
    sample: int
    place: Place
    chooser: Chooser
    text: TextStream | None
    unread: list[int]
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Writing:
    """What does not change during a call."""

    forward: Forward
    sampling: SamplingConfig
    end_ids: Sequence[int]
    decode: Callable[[list[int]], str]
    start_grammar: Callable[[], GrammarState | None]
    device: torch.device
    limits: Limits
    is_streamed: bool
    """Whether text is wanted while tokens come."""
    shares: bool = True
    """Whether keys and values of one row can be copied to another."""


class Schedule:
    """The rows of one call. Iterate over ``run()``."""

    def __init__(self, prompts: Sequence[Prompt], writing: Writing) -> None:
        self.writing = writing
        self.waiting = sorted(prompts, key=lambda prompt: len(prompt.ids), reverse=True)
        self.rows: dict[Place, Row] = {}
        self.slabs: dict[int, Slab] = {}
        self.shared: Place | None = None
        self.num_computed_tokens = 0
        """Through the model so far."""

    def run(self) -> Iterator[Piece]:
        """Compute until every answer is whole."""
        self._read_beginning()
        while self.waiting or self.rows:
            self._admit()
            yield from self._step()

    def _read_beginning(self) -> None:
        prompts = [prompt.ids for prompt in self.waiting]
        length = _common_length(prompts) if self.writing.shares and len(prompts) > 1 else 0
        if length < SHARED_FROM_TOKENS:
            return
        self.shared = Slab(1).take()
        size = self.writing.limits.step_tokens
        for begin in range(0, length, size):
            part = list(prompts[0][begin : min(length, begin + size)])
            self._compute([], [(self.shared, part, False)])
            self.shared.length += len(part)

    def _has_room(self, prompt: Prompt) -> bool:
        """For one more answer to ``prompt``; there always is where nothing else is computed."""
        limits = self.writing.limits
        kept = sum(row.prompt.most_tokens for row in self.rows.values()) + prompt.most_tokens
        return not self.rows or (len(self.rows) < limits.num_rows and kept <= limits.cache_tokens)

    def _admit(self) -> None:
        while self.waiting and self._has_room(self.waiting[0]):
            prompt = self.waiting[0]
            slab = self._slab(prompt)
            if not slab.num_free:
                return
            self.waiting.pop(0)
            row = self._begin(prompt, slab.take())
            row.unread = list(prompt.ids)
            if self.shared is not None:
                slab.copy(self.shared, row.place, self.shared.length)
                row.unread = row.unread[self.shared.length :]

    def _slab(self, prompt: Prompt) -> Slab:
        size = prompt.length_class
        for other in [key for key, slab in self.slabs.items() if key != size and not slab.places]:
            del self.slabs[other]
        if size not in self.slabs:
            expected = sum(other.num_waiting for other in self.waiting if other.length_class == size)
            self.slabs[size] = Slab(min(self.writing.limits.num_rows, expected))
        return self.slabs[size]

    def _begin(self, prompt: Prompt, place: Place) -> Row:
        writing, sample = self.writing, prompt.samples[prompt.num_begun]
        prompt.num_begun += 1
        draws = draws_of(writing.sampling.seed, prompt.ids, prompt.num_before + sample)
        chooser = Chooser(prompt.ids, draws, writing.start_grammar())
        text = TextStream(writing.decode, writing.sampling.stop) if writing.is_streamed else None
        row = self.rows[place] = Row(prompt, sample, place, chooser, text, [])
        return row

    def _step(self) -> Iterator[Piece]:
        generating = [(slab, [self.rows[place] for place in _writing_places(slab)]) for slab in self.slabs.values()]
        generating = [(slab, rows) for slab, rows in generating if rows]
        rows = [row for _, some in generating for row in some]
        stretches = self._stretches(self.writing.limits.step_tokens - len(rows))
        logits = self._compute(
            [(slab, [row.ids[-1] for row in some]) for slab, some in generating],
            [(row.place, part, len(part) == len(row.unread)) for row, part in stretches],
        )
        for row in rows:
            row.place.length += 1
        for row, part in stretches:
            row.place.length += len(part)
            row.unread = row.unread[len(part) :]
        rows += [row for row, _ in stretches if not row.unread]
        if rows:
            yield from self._take(*self._with_siblings(rows, logits))

    def _stretches(self, num_tokens: int) -> list[tuple[Row, list[int]]]:
        found = []
        for row in list(self.rows.values()):
            if row.unread and num_tokens > 0:
                found.append((row, row.unread[:num_tokens]))
                num_tokens -= len(found[-1][1])
        return found

    def _compute(
        self, generating: Sequence[tuple[Slab, Sequence[int]]], stretches: Sequence[tuple[Place, Sequence[int], bool]]
    ) -> Tensor:
        step = make_step(generating, stretches, self.writing.device)
        self.num_computed_tokens += sum(part.end - part.begin for part in step.parts)
        with torch.inference_mode():
            return self.writing.forward(step)

    def _with_siblings(self, rows: list[Row], logits_mV: Tensor) -> tuple[list[Row], Tensor]:
        """Rows that have read their prompt start to write, and as many more answers to it as there is room for."""
        sources = list(range(len(rows)))
        begun = [(index, row) for index, row in enumerate(rows) if not row.ids]
        for _, row in begun:
            row.place.slab.start_writing(row.place)
        for index, row in begun:
            prompt, slab = row.prompt, row.place.slab
            while prompt.num_waiting and slab.num_free and self._has_room(prompt):
                place = slab.take()
                slab.copy(row.place, place, len(prompt.ids))
                slab.start_writing(place)
                rows.append(self._begin(prompt, place))
                sources.append(index)
            if prompt.num_waiting:
                prompt.logits_V = logits_mV[index].clone()
        return rows, logits_mV[torch.tensor(sources)] if len(sources) > len(logits_mV) else logits_mV

    def _take(self, rows: Sequence[Row], logits_mV: Tensor) -> Iterator[Piece]:
        """Choose the next token of ``rows``; those that end leave, and where an answer waits for the place it
        begins."""
        writing, todo = self.writing, [(rows, logits_mV)]
        while todo:
            rows, logits_mV = todo.pop()
            ids, logprobs = choose(logits_mV, [row.chooser for row in rows], writing.sampling, writing.end_ids)
            for index, (row, id) in enumerate(zip(rows, ids, strict=True)):
                row.ids.append(id)
                if logprobs is not None:
                    row.logprobs.append(logprobs[index])
                piece = row.text.push(id) if row.text is not None and id not in writing.end_ids else ""
                reason = self._ended(row, id)
                if reason is not None:
                    yield self._whole(row, piece, reason)
                    todo += self._leave(row)
                elif row.text is not None:
                    yield Piece(row.prompt.request, row.sample, piece, (id,))

    def _ended(self, row: Row, id: int) -> FinishReason | None:
        if id in self.writing.end_ids or (row.text is not None and row.text.is_stopped):
            return "stop"
        if row.chooser.grammar is not None:
            row.chooser.grammar.accept(id)
            if row.chooser.grammar.is_complete:
                return "stop"
        return "length" if len(row.ids) >= row.prompt.max_new_tokens else None

    def _whole(self, row: Row, piece: str, reason: FinishReason) -> Piece:
        if row.text is None:
            text = piece = self.writing.decode([id for id in row.ids if id not in self.writing.end_ids])
        else:
            piece += row.text.finish()
            text = row.text.text
        prompt, logprobs = row.prompt, tuple(row.logprobs) if self.writing.sampling.logprobs else None
        ids = tuple(row.ids)
        whole = Generation(prompt.request, row.sample, text, reason, ids, logprobs, len(prompt.ids))
        return Piece(prompt.request, row.sample, piece, ids[-1:] if row.text is not None else ids, whole)

    def _leave(self, row: Row) -> list[tuple[Sequence[Row], Tensor]]:
        """Free the row's place, or give it, prompt still in it, to the next answer; that one and its first logits."""
        prompt, place = row.prompt, row.place
        del self.rows[place]
        if prompt.logits_V is None:
            place.slab.leave(place)
            return []
        logits_V, place.length = prompt.logits_V, len(prompt.ids)
        following = self._begin(prompt, place)
        if not prompt.num_waiting:
            prompt.logits_V = None
        return [([following], logits_V[None])]


def _writing_places(slab: Slab) -> list[Place]:
    return slab.places[: slab.num_writing]


def _common_length(prompts: Sequence[Sequence[int]]) -> int:
    """Of the longest beginning of all prompts that leaves each a token to read."""
    first, last = min(prompts, key=list), max(prompts, key=list)
    most = min(len(prompt) for prompt in prompts) - 1
    for index in range(most):
        if first[index] != last[index]:
            return index
    return max(most, 0)
