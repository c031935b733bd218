"""Names chosen by regular expressions, and how those that exist are listed."""

from __future__ import annotations

import pytest

from feinschliff.errors import ConfigError
from feinschliff.methods._names import MOST_NAMES, found, kinds, listed

NAMES = ["layer.0.query", "layer.10.query", "layer.10.key", "embeddings"]


def test_found_anywhere_in_a_name_in_their_order() -> None:
    assert found("query", NAMES, "x") == ["layer.0.query", "layer.10.query"]
    assert found(r"layer\.1\d*\.", NAMES, "x") == ["layer.10.query", "layer.10.key"]


def test_found_nowhere_lists_what_exists_once() -> None:
    with pytest.raises(ConfigError) as caught:
        found("value", NAMES, "method.x")
    assert caught.value.faults[0].where == "method.x"
    assert "names that exist: embeddings, layer.N.key, layer.N.query" in str(caught.value)


def test_many_names_are_cut() -> None:
    many = kinds(f"part{number}" for number in range(99))
    assert len(many) == MOST_NAMES + 1
    assert many[-1] == "..."


def test_listed() -> None:
    assert [listed("abc"[:count]) for count in range(4)] == ["", "a", "a and b", "a, b and c"]
