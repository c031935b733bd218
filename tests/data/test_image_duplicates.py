"""Pairs of fingerprints are those that comparing all with all finds."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from feinschliff.data.image_duplicates import FEWEST_SET, MAX_BITS, ImageFingerprints
from feinschliff.data.images import ImageRef


def found_in(refs: list[ImageRef]) -> set[tuple[int, int]]:
    fingerprints = ImageFingerprints()
    fingerprints.add(refs)
    found = fingerprints.duplicates()
    return set(zip(found.first.tolist(), found.second.tolist(), strict=True))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_all_pairs_within_reach_are_found_and_no_other(seed: int) -> None:
    rng = random.Random(seed)
    values = [rng.getrandbits(128) for _ in range(10)]
    for value in values[:]:
        bits = rng.sample(range(128), rng.randint(0, 2 * MAX_BITS))
        values.append(value ^ sum(1 << bit for bit in bits))
    refs = [ImageRef("", str(row), value) for row, value in enumerate(values)]
    expected = {
        (one, other)
        for one in range(len(values))
        for other in range(one + 1, len(values))
        if (values[one] ^ values[other]).bit_count() <= MAX_BITS
        and all(FEWEST_SET <= values[row].bit_count() <= 128 - FEWEST_SET for row in (one, other))
    }
    assert found_in(refs) == expected


def test_equal_pixels_have_one_representative_and_pictures_without_structure_no_neighbours() -> None:
    refs = [ImageRef("", "a", 0), ImageRef("", "b", 1), ImageRef("", "a", 0)]
    fingerprints = ImageFingerprints()
    fingerprints.add(refs)
    found = fingerprints.duplicates()
    assert found.representative.tolist() == [0, 1, 0]
    assert found.clusters().tolist() == [0, 1, 0]
    assert not len(found.first)


def test_no_images_have_no_duplicates() -> None:
    assert found_in([]) == set()
