"""Rows of training as rows to show: what each token says and weighs, and what all rows come to. Knows no file."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from feinschliff.data.examples import Example
from feinschliff.errors import ModelError
from feinschliff.generation.text import TextStream
from feinschliff.models.chat_rows import ChatRow, RenderedChats
from feinschliff.results.tokens import TokenRow, TokenTotals, WithoutLoss
from feinschliff.tasks._chat_encoding import Rules, messages_of
from feinschliff.tasks._chat_rules import ChatReading, learned

PLACES_NAMED = 3
"""Of rows without loss, for each reason."""


@dataclass(slots=True)
class TokenRows:
    """Rows of training as rows to show."""

    chat: ChatReading
    rules: Rules
    rendered: RenderedChats
    most_tokens: int
    """Of a row, shown."""
    by_example: dict[int, list[ChatRow]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for row in self.rendered.rows:
            self.by_example[row.conversation].append(row)

    @property
    def special_ids(self) -> set[int]:
        """Of the tokenizer."""
        return set(self.chat.renderer.renderer.specials.values())

    def rows(self, number: int, example: Example) -> Iterator[TokenRow]:
        """Those of one example; where it has none, what it says, without loss."""
        notes = list(self._notes(number))
        for row in self.by_example.get(number, []):
            weights, borders, fate = self.fate(row)
            yield self._row(example, row.ids.tolist(), weights, borders, [*notes, *fate], row.turn)
            notes = []
        if number not in self.by_example:
            ids = self._ids(example)
            yield self._row(example, ids, np.zeros(len(ids), np.float32), [], notes, None)

    def fate(self, row: ChatRow) -> tuple[npt.NDArray[np.float32], list[int], list[str]]:
        """The weights of a row's tokens with nothing where it is not learned, where it is cut, and why."""
        parts, fate = learned(row, self.rules)
        most = self.rules.max_length_tokens
        if not fate:
            return row.weights, [], []
        said = f"{len(row.ids):,} tokens are more than {most:,}: {fate}"
        if fate == "read in windows":
            return row.weights, list(range(most + 1, len(row.ids), most)), [said]
        weights = np.zeros(len(row.ids), np.float32)
        for part in parts:
            weights[: len(part.weights)] = part.weights
        return weights, [len(part.ids) for part in parts], [said]

    def _row(
        self,
        example: Example,
        ids: list[int],
        weights: npt.NDArray[np.float32],
        borders: list[int],
        notes: list[str],
        message: int | None,
    ) -> TokenRow:
        head, tail = _ends(len(ids), self.most_tokens)
        kept = [*range(head), *range(tail, len(ids))]
        return TokenRow(
            file=example.place.file,
            line=example.place.line,
            message=None if message is None else message + 1,
            num_tokens=len(ids),
            num_with_loss=int(np.count_nonzero(weights)),
            tokens=[*self._texts(ids[:head]), *self._texts(ids[tail:])],
            ids=[ids[place] for place in kept],
            weights=[round(float(weights[place]), 6) for place in kept],
            borders=[place for place, number in enumerate(kept) if number in borders],
            gap=head if head < tail else None,
            notes=notes,
        )

    def _texts(self, ids: Sequence[int]) -> list[str]:
        tokenizer = self.chat.renderer.renderer.tokenizer
        stream = TextStream(
            lambda some: tokenizer.decode(some, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        )
        texts = [stream.push(token) for token in ids]
        rest = stream.finish()
        return [*texts[:-1], texts[-1] + rest] if texts else []

    def _ids(self, example: Example) -> list[int]:
        renderer = self.chat.renderer.renderer
        if example.conversation is None:
            text = example.texts[0]
        else:
            chat = messages_of(example.conversation)
            try:
                text = renderer.text(chat.messages, chat.tools)
            except ModelError:
                return []  # the reason stands among the notes
        ids: list[int] = renderer.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _notes(self, number: int) -> Iterator[str]:
        found = self.rendered
        yield from dict.fromkeys(f"not learned: {reason}" for one, reason in found.faults if one == number)
        for miss in found.mismatches:
            if miss.conversation == number:
                yield (
                    f"message {miss.message + 1} has another prompt at inference, {miss.at_inference!r}, than in "
                    f"training, {miss.in_training!r}"
                )
        for places, what in (
            (found.turns_without_end, "ends with no special token"),
            (found.turns_without_prompt, "carries no loss: nothing was said before it"),
        ):
            yield from (f"message {message + 1} {what}" for one, message in places if one == number)
        if number in found.special_in_content:
            yield f"{found.special_in_content[number]} pieces of its contents are read as special tokens"


def _ends(num_tokens: int, most: int) -> tuple[int, int]:
    """Up to where a row is shown, and from where on again: more of its begin than of its end."""
    if num_tokens <= most:
        return num_tokens, num_tokens
    head = most - most // 4
    return head, num_tokens - (most - head)


def totals(examples: Sequence[Example], shown: TokenRows, taught: set[int], training_rows: int) -> TokenTotals:
    rendered, rules = shown.rendered, shown.rules
    fates: Counter[str] = Counter()
    tokens = with_loss = 0
    weight = 0.0
    for row in rendered.rows:
        parts, fate = learned(row, rules)
        weights = row.weights if fate == "read in windows" else parts[0].weights if parts else row.weights[:0]
        tokens, with_loss, weight = tokens + len(weights), with_loss + int((weights > 0).sum()), weight + weights.sum()
        fates[fate] += 1
    ids = rendered.end_token_ids
    return TokenTotals(
        rows=len(examples),
        training_rows=training_rows,
        tokens=tokens,
        tokens_with_loss=with_loss,
        loss_weight=round(float(weight), 3),
        without_loss=_without_loss(examples, rendered, taught, rules),
        limit_tokens=rules.max_length_tokens,
        longest_tokens=max((len(row.ids) for row in rendered.rows), default=0),
        long_rows={fate: count for fate, count in fates.items() if fate},
        rows_of_their_own=rendered.num_unrolled + rendered.num_border_repairs,
        end_tokens=shown.chat.renderer.renderer.tokenizer.convert_ids_to_tokens(list(ids)),
    )


def _without_loss(
    examples: Sequence[Example], rendered: RenderedChats, taught: set[int], rules: Rules
) -> list[WithoutLoss]:
    reasons = dict(rendered.faults)
    long = f"longer than {rules.max_length_tokens:,} tokens"
    numbers: dict[str, list[int]] = defaultdict(list)
    for number in range(len(examples)):
        if number not in taught:
            numbers[reasons.get(number, long)].append(number)
    places = [example.place for example in examples]
    return [
        WithoutLoss(
            reason=reason,
            rows=len(rows),
            places=[f"{places[number].file}:{places[number].line}" for number in rows[:PLACES_NAMED]],
        )
        for reason, rows in sorted(numbers.items(), key=lambda item: -len(item[1]))
    ]
