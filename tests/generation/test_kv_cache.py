"""Places of rows: what is written stays with its row when others leave, when rows grow and when they are copied."""

from __future__ import annotations

import random

import torch

from feinschliff.generation.kv_cache import LENGTH_STEP, Place, Slab

LAYERS, HEADS, WIDTH = 2, 3, 4


def write(place: Place, value: float, length: int) -> None:
    """A row of ``length`` tokens; layer, key and value differ."""
    place.slab.reserve(length)
    for layer in range(LAYERS):
        like = torch.zeros(1, HEADS, WIDTH)
        keys, values = place.slab.layer(layer, like, like)
        with torch.inference_mode():
            keys[place.slot, :, :length] = value + layer
            values[place.slot, :, :length] = -value - layer
    place.length = length


def holds(place: Place, value: float, length: int) -> bool:
    return place.length == length and all(
        bool((place.slab.keys[layer][place.slot, :, :length] == value + layer).all())
        and bool((place.slab.values[layer][place.slot, :, :length] == -value - layer).all())
        for layer in range(LAYERS)
    )


def test_rows_keep_what_is_theirs_through_any_order_of_coming_and_going() -> None:
    dice, slab = random.Random(0), Slab(6)
    live: dict[Place, tuple[float, int, bool]] = {}
    for number in range(400):
        waiting = [place for place, (_, _, writes) in live.items() if not writes]
        move = dice.choice(["take", "leave", "start", "grow"])
        if move == "take" and slab.num_free:
            place = slab.take()
            live[place] = (float(number), dice.randrange(1, 20), False)
            write(place, *live[place][:2])
        elif move == "leave" and live:
            place = dice.choice(list(live))
            slab.leave(place)
            del live[place]
        elif move == "start" and waiting:
            place = dice.choice(waiting)
            slab.start_writing(place)
            live[place] = (*live[place][:2], True)
        elif move == "grow" and live:
            place = dice.choice(list(live))
            value, length, writes = live[place]
            live[place] = (value, length + dice.randrange(12), writes)
            write(place, *live[place][:2])
        assert [place.slot for place in slab.places] == list(range(len(live)))
        assert slab.num_writing == sum(writes for _, _, writes in live.values())
        assert all(live[place][2] == (place.slot < slab.num_writing) for place in live)
        assert all(holds(place, value, length) for place, (value, length, _) in live.items())
    assert slab.capacity > LENGTH_STEP


def test_a_copy_is_of_the_beginning_and_across_slabs() -> None:
    one, other = Slab(2), Slab(3)
    source = one.take()
    write(source, 7.0, 50)
    other.take()
    target = other.take()
    other.copy(source, target, 40)
    assert holds(target, 7.0, 40)
    assert holds(source, 7.0, 50)
    assert other.capacity >= 40


def test_room_grows_in_steps_and_new_room_is_zero() -> None:
    slab = Slab(2)
    place = slab.take()
    write(place, 1.0, 3)
    assert slab.capacity == LENGTH_STEP
    slab.reserve(LENGTH_STEP + 1)
    assert slab.capacity == 2 * LENGTH_STEP
    assert holds(place, 1.0, 3)
    assert not slab.keys[0][:, :, 3:].any()
    slab.reserve(5)
    assert slab.capacity == 2 * LENGTH_STEP
    slab.reserve(5000)
    assert slab.capacity % 512 == 0


def test_a_row_that_was_longer_leaves_nothing_that_is_seen() -> None:
    """Its room is taken over with old numbers behind the new row's end; they are finite, so weight zero hides them."""
    slab = Slab(1)
    place = slab.take()
    write(place, 3.0, 30)
    slab.leave(place)
    new = slab.take()
    write(new, 5.0, 4)
    assert holds(new, 5.0, 4)
    assert bool(torch.isfinite(slab.keys[0]).all())
