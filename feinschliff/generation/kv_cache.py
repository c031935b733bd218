"""Keys and values of rows of unequal length, each written where attention reads it.

A slab holds rows of similar length, one below the other, each with room for as many tokens as the longest has, rounded
up; when the longest outgrows it, the slab is laid out anew. So the generating rows are one contiguous block, which
batched products read without a copy: a view into longer rows would be copied at every step. Rows that leave are
replaced by the last ones; rows of one prompt are copied from each other. Memory is asked for layer by layer as keys
come, so no model's shape is known here. Zeros at first: a key behind the end of a row has weight zero, and zero times
not-a-number would not be zero.

Shapes: S rows of a slab, K key heads, C tokens a row has room for, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

LENGTH_STEP = 32
"""Room for tokens is a multiple of this; of long rows, of an eighth of their length."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class Place:
    """Where a row's keys and values lie."""

    slab: Slab
    slot: int
    length: int = 0
    """Tokens whose keys and values are there."""


class Views(NamedTuple):
    """A layer of a slab's first n rows, as attention and writing want it. Made once, for calls cost as much as work."""

    flat_keys: Tensor
    """[S * K * C, D], of all rows."""
    flat_values: Tensor
    keys: Tensor
    """[n * K, C, D]."""
    keys_transposed: Tensor
    values: Tensor


@dataclass(slots=True, eq=False)
class Slab:
    """Room for ``num_rows`` rows. The first ``num_writing`` places generate, the others still read their prompts."""

    num_rows: int
    capacity: int = 0
    keys: dict[int, Tensor] = field(default_factory=dict)
    """Layer to [S, K, C, D]."""
    values: dict[int, Tensor] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)
    num_writing: int = 0
    _views: dict[int, tuple[int, Views]] = field(default_factory=dict)

    @property
    def num_free(self) -> int:
        """Rows that can still be taken."""
        return self.num_rows - len(self.places)

    @torch.inference_mode()
    def reserve(self, length: int) -> None:
        """Room for rows of ``length`` tokens."""
        if length <= self.capacity:
            return
        step = LENGTH_STEP
        while step < length // 8:
            step *= 2
        self.capacity = -(-length // step) * step
        self._views.clear()
        for store in (self.keys, self.values):
            for index, old in store.items():
                new = old.new_zeros(self.num_rows, old.shape[1], self.capacity, old.shape[3])
                used = slice(0, len(self.places))
                new[used, :, : old.shape[2]] = old[used]
                store[index] = new

    def layer(self, index: int, k_TKD: Tensor, v_TKD: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer, made at first sight in the shape and type of those that are to be written."""
        if index not in self.keys:
            for store, like in ((self.keys, k_TKD), (self.values, v_TKD)):
                store[index] = like.new_zeros(self.num_rows, like.shape[1], self.capacity, like.shape[2])
        return self.keys[index], self.values[index]

    def views(self, index: int, k_nKD: Tensor, v_nKD: Tensor) -> Views:
        """Of the first n rows, for whose new keys and values see ``layer``."""
        count, known = self._views.get(index, (0, None))
        if known is None or count != len(k_nKD):
            keys, values = self.layer(index, k_nKD, v_nKD)
            k, v = (x[: len(k_nKD)].view(-1, *x.shape[2:]) for x in (keys, values))
            known = Views(keys.view(-1, k.shape[2]), values.view(-1, v.shape[2]), k, k.transpose(1, 2), v)
            self._views[index] = (len(k_nKD), known)
        return known

    def take(self) -> Place:
        """A free row, at first one that reads."""
        place = Place(self, len(self.places))
        self.places.append(place)
        return place

    def start_writing(self, place: Place) -> None:
        """The row has read its prompt: it joins those that generate."""
        first = self.places[self.num_writing]
        if first is not place:
            self._swap(first, place)
        self.num_writing += 1

    def leave(self, place: Place) -> None:
        """Free a row; the last ones move into the gap."""
        gap = place.slot
        if gap < self.num_writing:
            self.num_writing -= 1
            self._fill(gap, self.num_writing)
            gap = self.num_writing
        self._fill(gap, len(self.places) - 1)
        self.places.pop()

    @torch.inference_mode()
    def copy(self, source: Place, target: Place, length: int) -> None:
        """The first ``length`` tokens of a row, of this slab or another, become those of ``target``."""
        self.reserve(length)
        for index, keys in source.slab.keys.items():
            values = source.slab.values[index]
            own = self.layer(index, keys[0].transpose(0, 1), values[0].transpose(0, 1))
            for into, given in zip(own, (keys, values), strict=True):
                into[target.slot, :, :length] = given[source.slot, :, :length]
        target.length = length

    @torch.inference_mode()
    def _fill(self, gap: int, source: int) -> None:
        """The row at ``source`` moves to ``gap``."""
        if gap == source:
            return
        place = self.places[source]
        for store in (self.keys, self.values):
            for tensor in store.values():
                tensor[gap, :, : place.length] = tensor[source, :, : place.length]
        place.slot = gap
        self.places[gap] = place

    @torch.inference_mode()
    def _swap(self, one: Place, other: Place) -> None:
        for store in (self.keys, self.values):
            for tensor in store.values():
                tensor[[one.slot, other.slot]] = tensor[[other.slot, one.slot]]
        one.slot, other.slot = other.slot, one.slot
        self.places[one.slot], self.places[other.slot] = one, other
