"""Frozen layers: the head and the last k blocks move, and what else is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from torch import nn

from feinschliff.errors import ConfigError
from feinschliff.lifecycle.prepare import Prepared
from feinschliff.methods.frozen_layers import FrozenLayers, FrozenLayersConfig
from tests.numerics.tiny_runs import made_run


def made(folder: Path, path: Path, **method: Any) -> Prepared:
    return made_run(folder, path, method={"type": "frozen_layers", **method})


def depths(prepared: Prepared) -> set[int]:
    return {prepared.network.depth_of(name) for name in prepared.learner.masters.names}


def whole(prepared: Prepared) -> bool:
    """Whether every parameter of a trained depth is trained."""
    network, trained = prepared.network, set(prepared.learner.masters.names)
    found = depths(prepared)
    every = {n for n, _ in network.named_parameters() if network.depth_of(n) in found and not n.endswith("table_Vd")}
    return trained == every


@pytest.mark.parametrize(
    ("asked", "expected"), [(0, {4}), (1, {3, 4}), (2, {2, 3, 4}), (3, {1, 2, 3, 4}), (9, {1, 2, 3, 4})]
)
def test_depths_that_move(tiny_bert: Path, tmp_path: Path, asked: int, expected: set[int]) -> None:
    prepared = made(tiny_bert, tmp_path, trained_layers=asked)
    assert depths(prepared) == expected
    assert whole(prepared)


@pytest.mark.parametrize(
    ("method", "expected", "said"),
    [
        ({"trained_layers": 0, "trained_first_layers": 1}, {1, 4}, "1 of 3 layers and the head"),
        ({"trained_layers": 1, "trained_first_layers": 1}, {1, 3, 4}, "2 of 3 layers and the head"),
        ({"trained_layers": 0, "trained_first_layers": 9}, {1, 2, 3, 4}, "3 of 3 layers and the head"),
        ({"trained_layers": 0, "trained_embeddings": True}, {0, 4}, "the embeddings and the head"),
        (
            {"trained_layers": 1, "trained_embeddings": True},
            {0, 3, 4},
            "the embeddings, 1 of 3 layers and the head",
        ),
    ],
)
def test_first_layers_and_embeddings(
    tiny_bert: Path, tmp_path: Path, method: dict[str, Any], expected: set[int], said: str
) -> None:
    prepared = made(tiny_bert, tmp_path, **method)
    assert depths(prepared) == expected
    assert whole(prepared)
    assert any(message.endswith(said) for message in prepared.announcements)
    assert (prepared.live_ids is not None) == (0 in expected)


def test_norms(tiny_bert: Path, tmp_path: Path) -> None:
    trained = made(tiny_bert, tmp_path, trained_layers=0, trained_norms=True).learner.masters.names
    body = [name for name in trained if not name.startswith("head.")]
    assert len(body) == 2 * (1 + 3 * 2)
    assert all(".LayerNorm." in name for name in body)


def test_parameters_by_name_beside_the_last_layer(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made(tiny_bert, tmp_path, trained_layers=1, trained_parameters=[r"layer\.1\..*query", "value.bias"])
    lower = {name for name in prepared.learner.masters.names if prepared.network.depth_of(name) < 3}
    layer = "body.model.encoder.layer."
    assert lower == {
        f"{layer}1.attention.self.query.weight",
        f"{layer}1.attention.self.query.bias",
        f"{layer}0.attention.self.value.bias",
        f"{layer}1.attention.self.value.bias",
    }
    assert prepared.learner.cache is None, "the lowest layer has a trained bias"


def test_the_prefix_ends_below_the_lowest_part_asked_for(tiny_bert: Path, tmp_path: Path) -> None:
    cache = made(tiny_bert, tmp_path, trained_layers=0, trained_parameters=[r"layer\.1\..*query"]).learner.cache
    assert cache is not None
    assert cache.stage.layers == 1


def test_an_expression_found_nowhere_names_what_exists(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'q_proj' is found in no name") as caught:
        made(tiny_bert, tmp_path, trained_parameters=["query", "q_proj"])
    assert "layer.N.attention.self.query.weight" in str(caught.value)
    assert caught.value.faults[0].where == "method.trained_parameters"


def test_what_is_no_expression_is_refused_at_once() -> None:
    with pytest.raises(ValidationError, match="no regular expression"):
        FrozenLayersConfig(trained_parameters=("(query",))


def test_a_model_without_norms_is_refused() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(2, 2)
            self.body.num_layers = 1  # type: ignore[assignment]

        def depth_of(self, _: str) -> int:
            return 1

    with pytest.raises(ConfigError, match="no norms"):
        FrozenLayers(FrozenLayersConfig(trained_norms=True)).adapt(Plain())
