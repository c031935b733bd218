"""Rows of several texts to tokens, each text by itself, and what their losses compare. Knows no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from feinschliff.data.examples import Example
from feinschliff.engine.text_groups import TextGroups
from feinschliff.engine.virtual_tokens import with_virtual_tokens
from feinschliff.tasks._task import EncodedSet
from feinschliff.tasks._text_table import text_table


@dataclass(slots=True)
class EncodedTexts(EncodedSet):
    """Rows whose table is a :class:`TextGroups`."""

    def behind(self, count: int) -> EncodedTexts:
        """The set with places for ``count`` virtual tokens in front of each text."""
        groups = groups_of(self)
        return (
            self if count == 0 else replace(self, table=replace(groups, texts=with_virtual_tokens(groups.texts, count)))
        )


def groups_of(encoded: EncodedSet) -> TextGroups:
    """The table of such rows.

    Raises:
        TypeError: rows of another task.
    """
    if not isinstance(encoded.table, TextGroups):
        raise TypeError("rows without a vector for each text")
    return encoded.table


def encode_texts(tokenizer: Any, examples: Sequence[Example], labelled: bool, limit: int) -> EncodedTexts:
    """Tokens of all texts; targets are values [N] of labelled pairs (None where one lacks), else identities [N, W].

    ``num_cut`` counts texts.
    """
    single = [Example((text,), (), example.place) for example in examples for text in example.texts]
    table, num_cut = text_table(tokenizer, single, 1, limit)
    first = np.cumsum([0, *(len(example.texts) for example in examples)])
    targets = _values(examples) if labelled else identities(examples)
    return EncodedTexts(TextGroups(table, first), targets, num_cut, examples)


def _values(examples: Sequence[Example]) -> Tensor | None:
    if not all(example.values for example in examples):
        return None
    return torch.tensor([example.values[0] for example in examples], dtype=torch.float64)


def identities(examples: Sequence[Example]) -> Tensor:
    """[N, W] a number for each distinct text, -1 where a row has fewer texts than others."""
    known: dict[str, int] = {}
    widest = max((len(example.texts) for example in examples), default=0)
    found = np.full((len(examples), widest), -1, dtype=np.int64)
    for row, example in enumerate(examples):
        found[row, : len(example.texts)] = [known.setdefault(text, len(known)) for text in example.texts]
    return torch.from_numpy(found)


def members_of(first: Any) -> Tensor:
    """[N, W] numbers of each row's texts, -1 where it has fewer; ``first`` as in :class:`TextGroups`."""
    counts = np.diff(first)
    places = np.arange(counts.max(initial=0))[None]
    return torch.from_numpy(np.where(places < counts[:, None], first[:-1, None] + places, -1))
