"""Texts to ids with the place of each token; and whether a text's first part, tokenized alone, gives its first ids.

Knows no template, no message and no loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feinschliff.errors import ModelError

Ids = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]
ANCHORS = ("\n", "x", ".", " x", "\n\n")
"""What a text from the middle of a row is tokenized behind, so that no tokenizer puts a blank before it."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text's T tokens: their ids, where each begins and ends in the text (all [T])."""

    ids: Ids
    starts: Places
    ends: Places

    def __add__(self, later: Tokens) -> Tokens:
        """These, then those (whose places are already counted from the start of both)."""
        return Tokens(
            np.concatenate([self.ids, later.ids]),
            np.concatenate([self.starts, later.starts]),
            np.concatenate([self.ends, later.ends]),
        )

    def anchors(self, text: str) -> Places:
        """Where each token begins for a person: at its first character that is no blank."""
        blank = np.array([character.isspace() for character in text] + [False])
        places = np.where(blank, len(text), np.arange(len(text) + 1))
        following = np.minimum.accumulate(places[::-1])[::-1][self.starts]
        return np.where(following < self.ends, following, self.starts)


class ChatTokenizer:
    """A tokenizer of transformers, told to add nothing: templates write their special tokens themselves.

    Raises:
        ModelError: it cannot say where its tokens stand.
    """

    def __init__(self, tokenizer: Any, special_ids: Iterable[int]) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(
                "this tokenizer cannot say where its tokens stand",
                why=f"{type(tokenizer).__name__} has no offsets, so no token can be told to belong to an answer",
                remedy="use the model's tokenizer.json",
            )
        self._tokenizer = tokenizer
        special = np.array(sorted(special_ids), np.int64)
        self._is_special = np.zeros(special.max(initial=0) + 2, bool)
        self._is_special[special] = True
        self._alone: dict[str, Ids] = {}

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Of each text, nothing added."""
        found: list[list[int]] = self._call(texts)["input_ids"] if texts else []
        return found

    def tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Of each text, nothing added."""
        if not texts:
            return []
        read = self._call(texts, return_offsets_mapping=True)
        return [_tokens(*found) for found in zip(read["input_ids"], read["offset_mapping"], strict=True)]

    def added(self) -> list[int]:
        """What the tokenizer itself puts before a text."""
        with_added = self._tokenizer("a", verbose=False)["input_ids"]
        plain = self.ids(["a"])[0]
        for start in range(len(with_added) - len(plain) + 1):
            if with_added[start : start + len(plain)] == plain:
                return list(with_added[:start])
        return []

    def borders(self, parts: Sequence[tuple[str, Tokens, int]]) -> list[int | None]:
        """Of each (text, its tokens, character): how many tokens stand before the character, if the text before it,
        tokenized alone, gives just these; None where it does not.

        A special token cuts a text for every tokenizer, so only what follows the last one is tokenized again.
        """
        cuts = [self._cut(tokens, character) for _, tokens, character in parts]
        both = zip(parts, cuts, strict=True)
        pieces = [text[tokens.starts[cut] if cut else 0 : end] for (text, tokens, end), cut in both]
        new = [piece for piece in dict.fromkeys(pieces) if piece not in self._alone]
        self._alone.update(zip(new, (np.array(ids, np.int32) for ids in self.ids(new)), strict=True))
        found: list[int | None] = []
        for (_, tokens, _), cut, piece in zip(parts, cuts, pieces, strict=True):
            alone = self._alone[piece]
            border = cut + len(alone)
            found.append(border if np.array_equal(tokens.ids[cut:border], alone) else None)
        self._alone = self._alone if len(self._alone) < 1_000 else {}
        return found

    def continued(self, before: str, after: str) -> tuple[Tokens, int]:
        """Ids of ``before`` alone, then those of ``after`` as in the middle of a text; how many come first."""
        first = self.tokens([before])[0]
        for anchor in ANCHORS:
            alone, whole = self.tokens([anchor, anchor + after])
            length = len(alone.ids)
            if np.array_equal(whole.ids[:length], alone.ids):
                shift = len(before) - len(anchor)
                rest = Tokens(whole.ids[length:], whole.starts[length:] + shift, whole.ends[length:] + shift)
                return first + rest, len(first.ids)
        rest = self.tokens([after])[0]
        return first + Tokens(rest.ids, rest.starts + len(before), rest.ends + len(before)), len(first.ids)

    def _cut(self, tokens: Tokens, character: int) -> int:
        """The index of the last special token that ends at the character or before it; 0 where there is none."""
        special = self._is_special[np.minimum(tokens.ids, len(self._is_special) - 1)] & (tokens.ends <= character)
        return int(np.flatnonzero(special)[-1]) if special.any() else 0

    def _call(self, texts: Sequence[str], **asked: bool) -> Any:
        return self._tokenizer(
            list(texts),
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
            **asked,
        )


def _tokens(ids: Sequence[int], places: Sequence[tuple[int, int]]) -> Tokens:
    """Some tokenizers leave blanks out of a token's place; one of blanks alone then has none, and gets it back."""
    pairs = np.array(places, np.int64).reshape(-1, 2)
    starts, ends = pairs[:, 0], pairs[:, 1]
    before = np.append(0, ends[:-1])
    return Tokens(np.array(ids, np.int32), np.where(starts == ends, np.minimum(before, starts), starts), ends)
