"""Attention of a step: equal to plain attention row by row, whatever lies beside a row."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from feinschliff.generation import ragged_attention
from feinschliff.generation.kv_cache import Place, Slab
from feinschliff.generation.ragged_attention import Section, Shape, Stretch, attend, section

HEADS, KEY_HEADS, WIDTH, VALUE_WIDTH = 6, 2, 8, 4
SHAPES = [Shape(0.3), Shape(0.3, window=5), Shape(0.3, softcap=2.0), Shape(0.3, window=3, softcap=1.0)]


@dataclass(eq=False)
class Row:
    """A row with everything it was given so far."""

    place: Place
    q: list[Tensor] = field(default_factory=list)
    k: list[Tensor] = field(default_factory=list)
    v: list[Tensor] = field(default_factory=list)

    def more(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """New tokens, remembered."""
        new = (
            torch.randn(count, HEADS, WIDTH, generator=generator),
            torch.randn(count, KEY_HEADS, WIDTH, generator=generator),
            torch.randn(count, KEY_HEADS, VALUE_WIDTH, generator=generator),
        )
        for store, part in zip((self.q, self.k, self.v), new, strict=True):
            store.append(part)
        return new


def plain(row: Row, count: int, shape: Shape) -> Tensor:
    """The last ``count`` tokens' attention, written as in the books."""
    q, k, v = (torch.cat(parts) for parts in (row.q, row.k, row.v))
    k, v = (x.repeat_interleave(HEADS // KEY_HEADS, 1) for x in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) * shape.scale
    if shape.softcap is not None:
        scores = shape.softcap * torch.tanh(scores / shape.softcap)
    distance = torch.arange(len(q))[:, None] - torch.arange(len(q))
    seen = (distance >= 0) & (distance < (shape.window or len(q) + 1))
    weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, v)[-count:]


def step(rows: list[tuple[Row, int]], slabs: list[Slab], filling: int, shape: Shape, seed: int) -> None:
    """Generating rows of ``slabs``, then stretches of the given rows; every row's output is compared."""
    generator = torch.Generator().manual_seed(seed)
    parts: list[Section | Stretch] = []
    given: list[tuple[Row, int]] = []
    by_place = {row.place: row for row, _ in rows}
    for slab in slabs:
        slab.reserve(max(place.length for place in slab.places[: slab.num_writing]) + 1)
        parts.append(section(slab, len(given), torch.device("cpu")))
        given += [(by_place[place], 1) for place in slab.places[: slab.num_writing]]
    begin = len(given)
    for row, count in rows:
        if count and row not in [one for one, _ in given[:begin]]:
            at = sum(number for _, number in given)
            row.place.slab.reserve(row.place.length + count)
            parts.append(Stretch(row.place, at, at + count, row.place.length))
            given.append((row, count))
    new = [row.more(count, generator) for row, count in given]
    q, k, v = (
        torch.cat([part[index] for part in new] + [torch.ones(filling, *new[0][index].shape[1:])])
        for index in (0, 1, 2)
    )
    with torch.inference_mode():
        found = attend(0, q, k, v, parts, shape)
    at = 0
    for row, count in given:
        assert torch.allclose(found[at : at + count], plain(row, count, shape), atol=1e-5)
        row.place.length += count
        at += count
    assert not found[at:].any()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equal_to_plain_attention_row_by_row(shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ragged_attention, "BLOCK_TOKENS", 7)
    slab, other = Slab(4), Slab(2)
    rows = [Row(slab.take()) for _ in range(4)] + [Row(other.take())]
    step([(rows[0], 3), (rows[1], 20), (rows[2], 1), (rows[4], 40)], [], 2, shape, 0)
    for row in (rows[0], rows[1], rows[4]):
        row.place.slab.start_writing(row.place)
    everyone = [(row, 0) for row in rows]
    for seed in range(3):
        step(everyone, [slab, other], seed, shape, 1 + seed)
    step([(rows[0], 0), (rows[1], 0), (rows[4], 0), (rows[2], 9), (rows[3], 33)], [slab, other], 1, shape, 9)
    step([(row, 0) for row in rows], [slab], 0, shape, 10)


def test_one_section_alone_and_one_that_is_padded_give_the_same() -> None:
    slab = Slab(2)
    rows = [Row(slab.take()), Row(slab.take())]
    step([(rows[0], 4), (rows[1], 2)], [], 0, SHAPES[0], 0)
    for row in rows:
        slab.start_writing(row.place)
    step([(row, 0) for row in rows], [slab], 0, SHAPES[0], 1)
    step([(row, 0) for row in rows], [slab], 5, SHAPES[0], 2)
