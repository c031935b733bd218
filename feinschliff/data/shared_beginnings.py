"""Conversations that begin alike: one that grows from row to row, or branches. Knows no file format.

Two rows are parts of one conversation where they share all up to an answer: instructions, tools, what was asked, and
the answer itself; one of them trains what the other would test. Beginnings that many different conversations have (a
greeting, a menu) make no rows belong together. Holds a hash of each answer with all before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from feinschliff.data.conversations import ASSISTANT, INSTRUCTS, USER, Conversation, Message
from feinschliff.data.examples import Example
from feinschliff.data.near_duplicates import components

MOST_CONVERSATIONS = 16
"""So many that begin alike may still be branches of one; a beginning that more of them have is a custom."""
Integers = NDArray[np.int64]


class Beginnings:
    """Collects the beginnings of rows, in their order; then finds which rows belong together."""

    def __init__(self) -> None:
        self.num_rows = 0
        self._parts: list[NDArray[np.uint64]] = []

    def add(self, examples: Iterable[Example]) -> None:
        """Take in the next rows; one without a conversation begins like no other."""
        found = []
        for number, example in enumerate(examples, self.num_rows):
            self.num_rows = number + 1
            if example.conversation is not None:
                found += [(number, hashed, goes_on) for hashed, goes_on in _beginnings(example.conversation)]
        if found:
            self._parts.append(np.array(found, np.uint64))

    def units(self) -> Integers:
        """[num_rows] number of the conversation each row is a part of, from 0, in order of first appearance."""
        if not self._parts:
            return np.arange(self.num_rows)
        found = np.concatenate(self._parts)
        owners, hashes = found[:, 0].astype(np.int64), found[:, 1]
        _, group = np.unique(hashes, return_inverse=True)
        order = np.lexsort((owners, group))
        starts = np.flatnonzero(np.diff(group[order], prepend=-1))
        first = owners[order][starts][group]
        linked = (self._num_conversations(found, group) <= MOST_CONVERSATIONS)[group]
        return components(np.arange(self.num_rows), first[linked], owners[linked])

    def _num_conversations(self, found: NDArray[np.uint64], group: Integers) -> Integers:
        """[beginnings] how many different conversations have it that no other row continues."""
        owners, whole = found[:, 0].astype(np.int64), np.full(self.num_rows, -1)
        whole[owners] = group  # of a row's beginnings the last, which is all of it
        continued = np.zeros(group.max() + 1, bool)
        continued[group[found[:, 2] > 0]] = True
        is_end = ~continued[whole[owners]]
        ends = np.unique(np.stack([group[is_end], whole[owners][is_end]]), axis=1)
        return np.bincount(ends[0], minlength=len(continued))


def conversation_units(examples: Iterable[Example]) -> Integers:
    """[rows] which rows are parts of one conversation (see :class:`Beginnings`)."""
    found = Beginnings()
    found.add(examples)
    return found.units()


def said_of_units(units: Integers) -> list[str]:
    """How many rows are parts of how many conversations, where any are."""
    sizes = np.bincount(units) if len(units) else np.empty(0, np.int64)
    if not (sizes > 1).any():
        return []
    rows, talks = int(sizes[sizes > 1].sum()), int((sizes > 1).sum())
    return [f"{rows:,} rows are parts of {talks:,} conversations that grow or branch: each of these stays on one side"]


def _beginnings(conversation: Conversation) -> Iterator[tuple[int, bool]]:
    """Hash of all up to each answer to a user, and whether the conversation goes on behind it."""
    hashed = blake2b(digest_size=8)
    hashed.update(json.dumps(list(conversation.tools), default=str, sort_keys=True).encode())
    was_asked, last = False, len(conversation.messages) - 1
    for number, message in enumerate(conversation.messages):
        hashed.update(_key(message))
        was_asked |= message.role == USER
        if message.role == ASSISTANT and was_asked:
            yield int.from_bytes(hashed.digest(), "big"), number < last


def _key(message: Message) -> bytes:
    """What a message says, blanks aside; of instructions, that they are some."""
    role = INSTRUCTS[0] if message.role in INSTRUCTS else message.role
    return "\0".join([role, *message.said.split(), "\1"]).encode("utf-8", "surrogatepass")
