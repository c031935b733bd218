"""SentencePiece's character maps (``precompiled_charsmap``): texts and what they become, as a double-array trie.

Written as Darts-clone lays it out (Aoe 1989; Yata), which is what ``tokenizers.normalizers.Precompiled`` reads. Knows
no tokenizer.
"""

from __future__ import annotations

import itertools
import struct
import sys
import unicodedata
from collections.abc import Mapping
from typing import Any

_CLUSTER_BYTES = 6
"""``Precompiled`` looks up clusters of fewer bytes as a whole, of longer ones each character."""
_LEAF = 1 << 31
_HAS_LEAF = 1 << 8
_OFFSET_BIT = 10


def with_composed(characters: Mapping[str, str]) -> dict[str, str]:
    """The map, and what marks that follow their letter become (NFKC): an e and an accent are é.

    SentencePiece's rules name such sequences one by one, and so leave the order of other marks as it is (unlike NFKC
    of a whole text, which would make pieces of Burmese and Arabic that the vocabulary has not). Of a letter with two
    marks of its own ``Precompiled`` takes the first rule that fits and loses the second mark, with any such map.
    """
    found = dict(characters)
    for code in range(0xC0, sys.maxunicode + 1):
        composed = chr(code)
        for spelled in _spellings(composed)[1:]:
            if len(spelled.encode()) < _CLUSTER_BYTES:
                found.setdefault(spelled, characters.get(composed, composed))
    return found


def _spellings(composed: str) -> list[str]:
    """A character and all its canonical spellings that compose to it again."""
    parts = unicodedata.decomposition(composed).split()
    if len(parts) != 2 or parts[0].startswith("<"):
        return [composed]
    letter, mark = (chr(int(part, 16)) for part in parts)
    if unicodedata.normalize("NFC", letter + mark) != composed:
        return [composed]
    return [composed, *(spelled + mark for spelled in _spellings(letter))]


def precompiled(texts: Mapping[str, str]) -> bytes:
    """The map in SentencePiece's form: size of the trie, the trie, and all results, each ended by a zero byte."""
    places: dict[str, int] = {}
    results = bytearray()
    for result in texts.values():
        if result not in places:
            places[result] = len(results)
            results += result.encode() + b"\0"
    trie = _double_array({text.encode(): places[result] for text, result in texts.items()})
    return struct.pack("<I", len(trie)) + trie + bytes(results)


def _double_array(values: Mapping[bytes, int]) -> bytes:
    """Units of 32 bits. A node's children lie at its base xor their byte, its value at the base itself.

    No two nodes share a base, so a child's label is enough to know it. A unit says the distance to its base.
    """
    units, bases, free = {0: 0}, set(), 1
    waiting: list[tuple[int, dict[int, Any]]] = [(0, _tree(values))]
    while waiting:
        place, children = waiting.pop()
        while free in units:
            free += 1
        labels = [label for label in children if label]
        base = next(
            base
            for base in itertools.count(free)
            if base not in bases and base not in units and not any(base ^ label in units for label in labels)
        )
        bases.add(base)
        units[place] |= (place ^ base) << _OFFSET_BIT
        if 0 in children:
            units[place] |= _HAS_LEAF
            units[base] = children[0] | _LEAF
        for label in labels:
            units[base ^ label] = label
            waiting.append((base ^ label, children[label]))
    size = (max(units) | 0xFF) + 1
    return struct.pack(f"<{size}I", *(units.get(place, 0) for place in range(size)))


def _tree(values: Mapping[bytes, int]) -> dict[int, Any]:
    """Bytes to subtrees; under the byte 0, which ends a text, its value."""
    root: dict[int, Any] = {}
    for text, value in values.items():
        node = root
        for byte in text:
            node = node.setdefault(byte, {})
        node[0] = value
    return root
