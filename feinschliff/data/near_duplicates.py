"""Which texts are the same but for case, punctuation or a few words. Holds hashes, never texts. Knows no labels.

Two texts are near duplicates when at most ``(1 - similarity) * n`` word edits (insert, delete, replace) turn one into
the other, n being the number of words of the longer. Words are compared without case and punctuation. Short texts are
held to more: under four words all must be equal; under ten, one edit is let pass, and only where each of the two has at
most one other text that near ("cancel my card", "block my card", "find my card" ... is a pattern, not a duplicate).

Candidates come from keys that two such texts must share: a text is cut into so many parts that one of them holds at
most one edit, and each part gives a hash of itself with each of its words left out (the deletion neighbourhood of Bocek
et al. 2007; the parts are the pigeonhole of Pass-Join, Li et al. 2011). For replaced words this finds every pair; for
inserted and deleted ones nearly. Texts over ``LONG_TEXT_WORDS`` words give the smallest hashes of their five-word
shingles instead (Broder 1997). Candidates are verified: by banded edit distance, long texts by the words they share.

Memory per row: 4 bytes a word, 12 bytes a key (about one key a word), 24 bytes for places in arrays.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

LONG_TEXT_WORDS = 64
_SHINGLE_WORDS, _NUM_SHINGLE_KEYS = 5, 12
_MIN_WORDS, _SHORT_TEXT_WORDS, _MAX_SHORT_NEIGHBOURS = 4, 10, 2
_NUM_SHARDS = 16
_CHUNK_ROWS = 16384
_FULL_BUCKET, _NEIGHBOURS_IN_FULL_BUCKET = 64, 16
_MAX_CANDIDATES_AT_ONCE = 200_000
_INSIDE_WORD = re.compile(r"(?<=\w)[^\w\s]+(?=\w)")
# Scripts without blanks between words (Thai, kana, Han): every character is a word.
_WORD = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+")  # fmt: skip  # noqa: E501

Integers = NDArray[np.int64]
Hashes = NDArray[np.uint64]


def words(text: str) -> list[str]:
    """The words of a text without case, punctuation and compatibility forms: ``Don't!`` gives ``dont``."""
    return _WORD.findall(_INSIDE_WORD.sub("", unicodedata.normalize("NFKC", text).casefold()))


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What was found. Rows with equal words share a representative; pairs are between representatives."""

    representative: Integers
    """[num_rows] first row with the same words; a text without words stands for itself."""
    first: Integers
    second: Integers
    similarity: NDArray[np.float32]
    """Of each pair: 1 - word edits / words of the longer text, below 1."""
    num_full_buckets: int
    """Keys shared by so many rows that only neighbours were compared; some pairs among those rows may be missing."""

    def clusters(self) -> Integers:
        """[num_rows] number of the connected component each row belongs to, from 0, in order of first appearance."""
        return components(self.representative, self.first, self.second)

    def neighbours(self) -> dict[int, list[int]]:
        """Representative to the representatives it is paired with."""
        found: dict[int, list[int]] = {}
        for one, other in zip(self.first.tolist(), self.second.tolist(), strict=True):
            found.setdefault(one, []).append(other)
            found.setdefault(other, []).append(one)
        return found


def components(representative: Integers, first: Integers, second: Integers) -> Integers:
    """Connected components of rows linked to their representatives and of pairs, numbered by first appearance."""
    num_rows = len(representative)
    ends = np.concatenate([first, np.arange(num_rows)]), np.concatenate([second, representative])
    graph = coo_array((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(num_rows, num_rows))
    _, found = connected_components(graph, directed=False)
    _, positions, inverse = np.unique(found, return_index=True, return_inverse=True)
    rank = np.empty(len(positions), dtype=np.int64)
    rank[np.argsort(positions)] = np.arange(len(positions))
    return rank[inverse]


def find_near_duplicates(texts: Iterable[str], similarity: float) -> Duplicates:
    """Compare all texts with each other; the texts may be a stream (see :class:`Fingerprints`)."""
    fingerprints = Fingerprints(similarity)
    chunk: list[str] = []
    for text in texts:
        chunk.append(text)
        if len(chunk) == _CHUNK_ROWS:
            fingerprints.add(chunk)
            chunk = []
    fingerprints.add(chunk)
    return fingerprints.duplicates()


class Fingerprints:
    """Collects the hashes of rows, chunk by chunk; then finds the pairs. ``similarity``: share of words, 0 to 1."""

    def __init__(self, similarity: float) -> None:
        self.similarity = similarity
        self.num_rows = 0
        self._words: list[NDArray[np.uint32]] = []
        self._lengths: list[Integers] = []
        self._whole: list[Hashes] = []
        self._keys: list[Hashes] = []
        self._owners: list[NDArray[np.uint32]] = []

    def add(self, texts: Sequence[str]) -> None:
        """Take in the next rows."""
        if not texts:
            return
        split = [[zlib.crc32(word.encode()) for word in words(text)] for text in texts]
        lengths = np.array([len(row) for row in split], dtype=np.int64)
        flat = np.array([word for row in split for word in row], dtype=np.uint32)
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        whole = np.zeros(len(texts), dtype=np.uint64)
        for length in np.unique(lengths[lengths > 0]).tolist():
            rows = np.flatnonzero(lengths == length)
            mixed = mix(flat[starts[rows, None] + np.arange(length)].astype(np.uint64))
            whole[rows] = _sequence_hash(mixed)
            for keys in self._keys_of(mixed):
                self._keys.append(keys)
                self._owners.append((rows + self.num_rows).astype(np.uint32))
        self._words.append(flat)
        self._lengths.append(lengths)
        self._whole.append(whole)
        self.num_rows += len(texts)

    def _num_parts(self, num_words: int) -> int:
        """So many parts that one holds at most one edit."""
        return allowed_edits(num_words, self.similarity) // 2 + 1

    def _keys_of(self, mixed: Hashes) -> Iterator[Hashes]:
        """Keys of texts with the same number of words; ``mixed``: [rows, words]."""
        num_words = mixed.shape[1]
        if num_words > LONG_TEXT_WORDS:
            yield from _shingle_keys(mixed)
        elif num_words >= _MIN_WORDS - 1:
            # Near a length where the number of parts changes, both ways of cutting: a partner may be a word shorter.
            for num_parts in {self._num_parts(num_words), self._num_parts(num_words - 1)}:
                bounds = [num_words * part // num_parts for part in range(num_parts + 1)]
                for start, end in pairwise(bounds):
                    yield from _deletion_keys(mixed[:, start:end])

    def duplicates(self) -> Duplicates:
        """Find equal rows and pairs among all rows taken in."""
        if not self.num_rows:
            none = np.zeros(0, dtype=np.int64)
            return Duplicates(none, none, none, np.zeros(0, dtype=np.float32), 0)
        lengths, whole = np.concatenate(self._lengths), np.concatenate(self._whole)
        representative = np.arange(self.num_rows)
        filled = np.flatnonzero(lengths)
        _, first_of, inverse = np.unique(whole[filled], return_index=True, return_inverse=True)
        representative[filled] = filled[first_of[inverse]]
        flat = np.concatenate(self._words)
        verifier = _Verifier(flat, np.concatenate([[0], np.cumsum(lengths)]), self.similarity)
        found: list[tuple[Integers, Integers, NDArray[np.float32]]] = []
        seen = np.zeros(0, dtype=np.uint64)
        num_full = 0
        for shard in range(_NUM_SHARDS):
            for pairs, full in self._candidates(shard, representative):
                num_full += full
                fresh = np.setdiff1d(pairs, seen, assume_unique=True)
                one, other = (fresh >> np.uint64(32)).astype(np.int64), (fresh & np.uint64(0xFFFFFFFF)).astype(np.int64)
                similarity = verifier.similarities(one, other)
                good = ~np.isnan(similarity)
                found.append((one[good], other[good], similarity[good]))
                seen = np.union1d(seen, fresh[good])
        one, other, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
        keep = _without_patterns(one, other, np.maximum(lengths[one], lengths[other]), self.num_rows)
        order = keep[np.lexsort((other[keep], one[keep]))]
        return Duplicates(representative, one[order], other[order], values[order], num_full)

    def _candidates(self, shard: int, representative: Integers) -> Iterator[tuple[Hashes, int]]:
        """Pairs (first row << 32 | second row, unique in each batch) that share a key of this shard; full buckets."""
        top = np.uint64(shard)
        shift = np.uint64(64 - (_NUM_SHARDS - 1).bit_length())
        masks = [keys >> shift == top for keys in self._keys]
        keys = np.concatenate([part[mask] for part, mask in zip(self._keys, masks, strict=True)] or [_NO_HASHES])
        owners = np.concatenate([part[mask] for part, mask in zip(self._owners, masks, strict=True)] or [_NO_HASHES])
        unique = representative[owners.astype(np.int64)] == owners
        keys, owners = keys[unique], owners[unique].astype(np.uint64)
        order = np.lexsort((owners, keys))
        keys, owners = keys[order], owners[order]
        starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else _NO_INTEGERS
        sizes = np.diff(np.concatenate([starts, [len(keys)]])).astype(np.int64)
        yield _NO_HASHES, int((sizes > _FULL_BUCKET).sum())
        bucket_end = np.repeat(starts + sizes, sizes)
        reach = np.repeat(np.where(sizes > _FULL_BUCKET, _NEIGHBOURS_IN_FULL_BUCKET, sizes - 1), sizes)
        positions = np.arange(len(keys))
        collected: list[Hashes] = []
        for step in range(1, int(reach.max(initial=0)) + 1):
            at = positions[(positions + step < bucket_end) & (step <= reach)]
            one, other = owners[at], owners[at + step]
            differ = one != other
            collected.append(one[differ] << np.uint64(32) | other[differ])
            if sum(map(len, collected)) > _MAX_CANDIDATES_AT_ONCE:
                yield np.unique(np.concatenate(collected)), 0
                collected = []
        if collected:
            yield np.unique(np.concatenate(collected)), 0


def _without_patterns(one: Integers, other: Integers, num_words: Integers, num_rows: int) -> Integers:
    """Positions of the pairs to keep: all long ones, and the short ones whose texts have few such neighbours."""
    short = num_words < _SHORT_TEXT_WORDS
    degree = np.bincount(one[short], minlength=num_rows) + np.bincount(other[short], minlength=num_rows)
    return np.flatnonzero(~short | (np.maximum(degree[one], degree[other]) <= _MAX_SHORT_NEIGHBOURS))


_NO_HASHES = np.zeros(0, dtype=np.uint64)
_NO_INTEGERS = np.zeros(0, dtype=np.int64)


def allowed_edits(num_words: int, similarity: float) -> int:
    """Word edits between near duplicates whose longer text has this many words."""
    if num_words < _MIN_WORDS:
        return 0
    return max(1, int((1.0 - similarity) * num_words + 1e-9))


def mix(values: Hashes) -> Hashes:
    """SplitMix64 (Steele et al. 2014): every input bit reaches every output bit; the same on every machine."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _position_factors(num_words: int) -> Hashes:
    return mix(np.arange(num_words, dtype=np.uint64)) | np.uint64(1)


def _sequence_hash(mixed: Hashes) -> Hashes:
    """[rows, words] to [rows]; order counts."""
    return mix((mixed * _position_factors(mixed.shape[1])).sum(axis=1, dtype=np.uint64))


def _deletion_keys(part: Hashes) -> Iterator[Hashes]:
    """The hash of the words, whole and with each one left out; left out words let later ones move up by one place."""
    num_words = part.shape[1]
    factors = _position_factors(num_words)
    kept = part * factors
    moved = part[:, 1:] * factors[:-1]
    before, after = np.zeros(len(part), dtype=np.uint64), moved.sum(axis=1, dtype=np.uint64)
    yield _sequence_hash(part)
    for index in range(num_words):
        yield mix(before + after)
        before = before + kept[:, index]
        if index < num_words - 1:
            after = after - moved[:, index]


def _shingle_keys(mixed: Hashes) -> Iterator[Hashes]:
    factors = _position_factors(_SHINGLE_WORDS)
    last = mixed.shape[1] - _SHINGLE_WORDS + 1
    shingles = sum(mixed[:, offset : offset + last] * factors[offset] for offset in range(_SHINGLE_WORDS))
    smallest = np.sort(mix(np.asarray(shingles)), axis=1)[:, :_NUM_SHINGLE_KEYS]
    for column in range(smallest.shape[1]):
        yield mix(smallest[:, column])


class _Verifier:
    """Similarity of candidate pairs, by the words themselves."""

    def __init__(self, flat: NDArray[np.uint32], offsets: Integers, similarity: float) -> None:
        self.flat, self.offsets, self.similarity = flat, offsets, similarity
        self.lengths = np.diff(offsets)

    def similarities(self, one: Integers, other: Integers) -> NDArray[np.float32]:
        """[pairs] 1 - edits / words of the longer text; NaN where there are too many edits."""
        longer = np.maximum(self.lengths[one], self.lengths[other])
        result = np.full(len(one), np.nan, dtype=np.float32)
        allowed = np.array([allowed_edits(int(n), self.similarity) for n in range(int(longer.max(initial=0)) + 1)])
        near = np.abs(self.lengths[one] - self.lengths[other]) <= allowed[longer]
        for limit in np.unique(allowed[longer[near]]).tolist():
            here = np.flatnonzero(near & (allowed[longer] == limit) & (longer <= LONG_TEXT_WORDS))
            for rows in np.array_split(here, len(here) // 50_000 + 1):
                if len(rows):
                    distance = self._edits(one[rows], other[rows], limit)
                    good = distance <= limit
                    result[rows[good]] = 1.0 - distance[good] / longer[rows[good]]
        for row in np.flatnonzero(near & (longer > LONG_TEXT_WORDS)).tolist():
            edits = self._unshared_words(int(one[row]), int(other[row]))
            if edits <= allowed[longer[row]]:
                result[row] = 1.0 - edits / longer[row]
        return result

    def _edits(self, one: Integers, other: Integers, limit: int) -> Integers:
        """[pairs] word edits (Levenshtein), in a band of ``limit`` around the diagonal; above the limit: limit + 1."""
        width = 2 * limit + 1
        longest = int(max(self.lengths[one].max(), self.lengths[other].max()))
        a, b = self._padded(one, longest, 0, 1), self._padded(other, longest, limit, 2)
        far = limit + 1
        row = np.tile(np.maximum(np.arange(width) - limit, 0), (len(one), 1))
        row[:, :limit] = far
        num_a, num_b = self.lengths[one], self.lengths[other]
        result = np.full(len(one), far, dtype=np.int64)
        for index in range(a.shape[1]):
            fresh = np.empty_like(row)
            for band in range(width):
                column = index + band - limit + 1  # words of b used up
                if column < 0:
                    fresh[:, band] = far
                    continue
                replace = row[:, band] + (a[:, index] != b[:, column - 1 + limit]) if column > 0 else index + 1
                best = np.minimum(replace, row[:, band + 1] + 1 if band + 1 < width else far)
                fresh[:, band] = np.minimum(best, fresh[:, band - 1] + 1) if band else best
            row = np.minimum(fresh, far)
            done = num_a == index + 1
            band_of_end = (num_b - num_a + limit)[done]
            result[done] = row[done, band_of_end]
        return result

    def _padded(self, rows: Integers, num_words: int, margin: int, filler: int) -> Integers:
        """[rows, margin + num_words + margin], filled up with a value that no word and no other side has."""
        columns = np.arange(num_words + 2 * margin) - margin
        inside = (columns >= 0) & (columns < self.lengths[rows][:, None])
        places = np.where(inside, self.offsets[rows][:, None] + columns, 0)
        return np.where(inside, self.flat[places].astype(np.int64), -filler)

    def _unshared_words(self, one: int, other: int) -> int:
        """Words of the one that the other lacks (counted), or the reverse if more: a lower bound of the edits."""
        a, b = (self.flat[self.offsets[row] : self.offsets[row + 1]] for row in (one, other))
        values, inverse = np.unique(np.concatenate([a, b]), return_inverse=True)
        difference = np.bincount(inverse[: len(a)], minlength=len(values)) - np.bincount(
            inverse[len(a) :], minlength=len(values)
        )
        return int(max(difference[difference > 0].sum(), -difference[difference < 0].sum()))
