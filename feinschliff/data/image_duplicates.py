"""Which images are the same pixels, or nearly the same picture. Holds hashes, never pixels. Knows no labels.

Near are fingerprints (see ``images.fingerprint``) that differ in at most ``MAX_BITS`` of 128. Two such agree in one of
nine parts at least (pigeonhole; multi-index hashing, Norouzi et al. 2012). Pictures with hardly any structure are
compared by their pixels alone: their fingerprints say nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from feinschliff.data.images import ImageRef
from feinschliff.data.near_duplicates import Duplicates, Integers

MAX_BITS = 8
NUM_PARTS = MAX_BITS + 1
FEWEST_SET = 16
"""Fingerprints with fewer bits set, or with fewer not set, are of pictures without structure."""
LARGEST_REACH = 64
"""In a part that many fingerprints share, each is compared with so many neighbours only."""
_BYTES = 16


class ImageFingerprints:
    """Collects images; 50 bytes each. Keeps what ``near_duplicates.Fingerprints`` does for texts."""

    def __init__(self) -> None:
        self._refs: list[tuple[str, int]] = []

    def add(self, refs: Iterable[ImageRef]) -> None:
        """Take images in, in their order."""
        self._refs += [(ref.digest, ref.fingerprint) for ref in refs]

    def duplicates(self) -> Duplicates:
        """All pairs."""
        first_of: dict[str, int] = {}
        representative = [first_of.setdefault(digest, row) for row, (digest, _) in enumerate(self._refs)]
        rows = np.array(sorted(set(representative)), dtype=np.int64)
        raw = b"".join(self._refs[row][1].to_bytes(_BYTES, "big") for row in rows.tolist())
        bits = np.unpackbits(np.frombuffer(raw, dtype=np.uint8).reshape(-1, _BYTES), axis=1)
        set_bits = bits.sum(1)
        structured = (set_bits >= FEWEST_SET) & (set_bits <= 8 * _BYTES - FEWEST_SET)
        rows, bits = rows[structured], bits[structured]
        one, other, distance, full = _near(bits)
        return Duplicates(
            np.array(representative, dtype=np.int64),
            rows[one],
            rows[other],
            (1.0 - distance / (8 * _BYTES)).astype(np.float32),
            full,
        )


def _near(bits: NDArray[np.uint8]) -> tuple[Integers, Integers, Integers, int]:
    """Pairs of rows at most ``MAX_BITS`` apart, their distances, and how many parts were too common to compare all."""
    keys: list[Integers] = [np.empty(0, dtype=np.int64)]
    full = 0
    for pairs, too_full in _candidates(bits):
        differ = (bits[pairs[0]] != bits[pairs[1]]).sum(1)
        low, high = np.minimum(*pairs), np.maximum(*pairs)
        keys.append((low * len(bits) + high)[differ <= MAX_BITS])
        full += too_full
    found = np.unique(np.concatenate(keys))
    one, other = np.divmod(found, max(1, len(bits)))
    return one, other, (bits[one] != bits[other]).sum(1).astype(np.int64), full


def _candidates(bits: NDArray[np.uint8]) -> Iterator[tuple[tuple[Integers, Integers], int]]:
    """Pairs that agree in a part; in a common one, neighbours in the order of all bits."""
    whole = np.packbits(bits, axis=1)
    for part in np.array_split(bits, NUM_PARTS, axis=1):
        own = np.packbits(part, axis=1)
        order = np.lexsort([*whole.T[::-1], *own.T[::-1]])
        same = (own[order][1:] == own[order][:-1]).all(1)
        group = np.concatenate([[0], np.cumsum(~same)]) if len(order) else np.empty(0, dtype=np.int64)
        sizes = np.bincount(group) if len(group) else np.empty(0, dtype=np.int64)
        too_full = int((sizes > LARGEST_REACH).sum())
        for step in range(1, min(LARGEST_REACH, int(sizes.max(initial=1))) + 1):
            at = np.flatnonzero(group[step:] == group[: len(group) - step])
            if len(at):
                yield (order[at], order[at + step]), too_full if step == 1 else 0
