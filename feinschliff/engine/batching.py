"""Rows as packed tokens, and batches cut by rows and by tokens. Knows no text and no tokenizer.

Rows are laid end to end, so linear layers and norms compute no padding but the few tokens that round a batch up to one
of few sizes (see ``padded_size``); attention pads inside groups of rows of similar length only (see ``attention``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Ints = npt.NDArray[np.int64]
NO_TARGET = -100
"""A token that carries no loss: special tokens, filling, all but the first token of a word."""
TOKEN_MULTIPLE = 32
SIZES_PER_DOUBLING = 16
"""Batches have a multiple of ``TOKEN_MULTIPLE`` tokens, large ones of a sixteenth of the power of two below: matrix
kernels are compiled and kept per shape, so with every batch of another size memory grows step by step (measured: 500
MiB in 100 steps on SST-2); with some dozen sizes it is flat, at 2% more tokens."""


@dataclass(slots=True)
class TokenTable:
    """Token ids of many rows, end to end: ``ids[offsets[i]:offsets[i + 1]]`` is row ``i``. 4 bytes a token.

    Ids below zero are virtual tokens (see ``virtual_tokens``).
    """

    ids: npt.NDArray[np.int32]
    offsets: Ints
    segments: npt.NDArray[np.int8] | None = None
    """Token type ids, where rows are pairs and the model tells them apart."""

    @property
    def lengths(self) -> Ints:
        """Tokens per row [num_rows]."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def collate(self, rows: Ints, targets: Targets | None = None, num_targets: int | None = None) -> Batch:
        """See :func:`collate`."""
        return collate(self, rows, targets, num_targets)

    def num_places(self, pooled: bool) -> int:
        """How many outputs a prefix cache keeps: one a row where they are pooled, else one a token."""
        return len(self) if pooled else len(self.ids)

    def places(self, batch: Batch, pooled: bool) -> Tensor:
        """Where the outputs of a batch's rows (pooled) or tokens stand in the table's order, without filling."""
        if pooled:
            return batch.rows
        starts: Ints = np.repeat(self.offsets[batch.rows.numpy()], batch.lengths_B.numpy())
        return torch.from_numpy(starts + batch.positions_T.numpy()[: batch.num_tokens])

    def arrays(self) -> Iterator[npt.NDArray[Any] | None]:
        """Everything that outputs depend on, for hashing."""
        yield from (self.ids, self.offsets, self.segments)


@dataclass(slots=True)
class TokenTargets:
    """A target a token, in the order of a table's tokens [num_tokens]; ``NO_TARGET`` where there is none."""

    values: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32] | None = None
    """Of each token's loss [num_tokens]; None: all weigh the same."""

    @property
    def num_targets(self) -> int:
        """Tokens that have one."""
        return int((self.values != NO_TARGET).sum())


@dataclass(slots=True)
class Group:
    """Rows of similar length that attention pads to one length. ``index`` is None where nothing is padded."""

    start: int
    stop: int
    rows: int
    longest: int
    index: Tensor | None
    bias_B11L: Tensor | None


class GroupsElsewhere(list[Group]):
    """Groups of a batch that was copied to an accelerator, with what kernels for rows laid end to end ask for."""

    def __init__(self, groups: Iterable[Group], borders: Tensor, longest: int) -> None:
        super().__init__(groups)
        self.borders = borders
        """Where each row begins, and where the last one ends: int32 [B + 1], on the accelerator."""
        self.longest = longest
        """Tokens of the longest row."""


@dataclass(slots=True)
class Batch:
    """Rows ready to compute, sorted by length. ``rows[i]`` says which row of the set stands at place ``i``."""

    rows: Tensor
    lengths_B: Tensor
    """Tokens per row; their sum is at most T, the rest is filling."""
    ids_T: Tensor
    positions_T: Tensor
    segments_T: Tensor | None
    groups: list[Group]
    targets: Tensor | None = None
    """[B, ...] a row, or [T] a token (``NO_TARGET`` where there is none): see the task."""
    num_targets: int = 0
    weights_T: Tensor | None = None
    """Of the losses of ``targets`` that are one a token."""
    prefix: Tensor | None = None
    """Outputs of the frozen prefix for these rows: [T, d] hidden states or [B, d] pooled features."""
    prefix_pooled: bool = False
    """Whether ``prefix`` are pooled features."""
    members: Tensor | None = None
    """[E, W] where rows of this batch are texts of examples: the places of each example's texts, -1 where it has fewer;
    ``targets`` are then one an example."""

    @property
    def num_tokens(self) -> int:
        """Real tokens, without filling."""
        return self.groups[-1].stop

    @property
    def size(self) -> int:
        """Tokens that are computed, filling included."""
        return len(self.ids_T)


Targets = Tensor | TokenTargets
"""One a row [N, ...], or one a token."""
FORWARD_TOKENS = 2048
"""Tokens computed at once where no gradients are wanted: more are no faster and take memory."""
SHORTEST = 16
"""Attention pads rows to at least so many tokens: softmax over fewer numbers than a vector register holds takes the
scalar path, eight times as long."""


def group_by_length(lengths: Sequence[int], waste_fraction: float = 0.3, slack: int = 2000) -> list[Group]:
    """Cut rows sorted by length into groups whose padded attention area exceeds the real one by little.

    ``slack`` allows a fixed area (scores per head) more, because a group costs a few kernel launches. Rows are padded
    to ``SHORTEST`` at least, so shorter ones count as that long.
    """
    groups: list[Group] = []
    begin = token = 0
    while begin < len(lengths):
        end, area = begin + 1, max(SHORTEST, lengths[begin]) ** 2
        while end < len(lengths):
            square = max(SHORTEST, lengths[end]) ** 2
            grown = area + square
            if (end + 1 - begin) * square > (1 + waste_fraction) * grown + slack:
                break
            end, area = end + 1, grown
        groups.append(_group(lengths[begin:end], token))
        token, begin = groups[-1].stop, end
    return groups


def _group(lengths: Sequence[int], start: int) -> Group:
    longest, stop = max(SHORTEST, *lengths), start + sum(lengths)
    if min(lengths) == longest:
        return Group(start, stop, len(lengths), longest, None, None)
    real_BL = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
    bias = torch.zeros(len(lengths), 1, 1, longest).masked_fill_(~real_BL[:, None, None], float("-inf"))
    return Group(start, stop, len(lengths), longest, real_BL.flatten().nonzero().squeeze(1), bias)


def collate(table: TokenTable, rows: Ints, targets: Targets | None = None, num_targets: int | None = None) -> Batch:
    """Pack rows of a table. ``targets`` are of all its rows or tokens; the batch gets its own, in its order."""
    order = rows[np.argsort(table.lengths[rows], kind="stable")]
    lengths = table.lengths[order]
    starts = table.offsets[order]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    flat = np.repeat(starts, lengths) + within
    filling = padded_size(len(flat)) - len(flat)
    picked = torch.from_numpy(order)
    return Batch(
        rows=picked,
        lengths_B=torch.from_numpy(lengths),
        ids_T=_filled(table.ids[flat], filling, int(table.ids[flat[0]])),
        positions_T=_filled(within, filling, 0),
        segments_T=None if table.segments is None else _filled(table.segments[flat], filling, 0),
        groups=group_by_length(lengths.tolist()),
        targets=_of_batch(targets, picked, flat, filling),
        num_targets=len(order) if num_targets is None else num_targets,
        weights_T=_weights_of_batch(targets, flat, filling),
    )


def _of_batch(targets: Targets | None, rows: Tensor, flat: Ints, filling: int) -> Tensor | None:
    if isinstance(targets, TokenTargets):
        return _filled(targets.values[flat], filling, NO_TARGET)
    return None if targets is None else targets[rows]


def _weights_of_batch(targets: Targets | None, flat: Ints, filling: int) -> Tensor | None:
    if not isinstance(targets, TokenTargets) or targets.weights is None:
        return None
    return torch.from_numpy(np.pad(targets.weights[flat], (0, filling)))


def padded_size(num_tokens: int) -> int:
    """Tokens of a batch with its filling."""
    multiple = max(TOKEN_MULTIPLE, (1 << num_tokens.bit_length() - 1) // SIZES_PER_DOUBLING)
    return -(-num_tokens // multiple) * multiple


def _filled(values: npt.NDArray[Any], filling: int, value: int) -> Tensor:
    """As int64 with ``filling`` more entries. Filling tokens take an id that occurs: every id stays a live one."""
    return torch.from_numpy(np.pad(values.astype(np.int64), (0, filling), constant_values=value))


def epoch_order(num_rows: int, seed: int, epoch: int) -> Ints:
    """The order of an epoch: a permutation that depends on seed and epoch alone, so a resumed run needs no state."""
    return np.random.default_rng([seed, 0x0D0E, epoch]).permutation(num_rows)


def micro_batches(rows: Ints, lengths: Ints, max_tokens: int) -> Iterator[Ints]:
    """Cut a global batch's rows, longest last, into micro batches of at most ``max_tokens`` tokens (at least a row)."""
    order = rows[np.argsort(lengths[rows], kind="stable")]
    begin, tokens = 0, 0
    for place, row in enumerate(order):
        if place > begin and tokens + lengths[row] > max_tokens:
            yield order[begin:place]
            begin, tokens = place, 0
        tokens += int(lengths[row])
    if begin < len(order):
        yield order[begin:]


def by_length(lengths: Ints, max_tokens: int) -> Iterator[Ints]:
    """All rows in micro batches of similar length, for scoring a whole set."""
    yield from micro_batches(np.arange(len(lengths)), lengths, max_tokens)
