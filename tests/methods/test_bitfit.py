"""BitFit: every bias and the head move, or the biases that were named."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from feinschliff.errors import ConfigError
from tests.numerics.tiny_runs import made_run


def test_every_bias_of_the_body_and_the_head(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(tiny_bert, tmp_path, method={"type": "bitfit"})
    trained = set(prepared.learner.masters.names)
    every = {name for name, _ in prepared.network.named_parameters() if name.endswith(".bias")}
    assert trained == every | {"head.linear.weight"}
    # A layer: query, key, value and output; norm; both of the feed-forward block; norm. Below: the embeddings' norm.
    numbers = 3 * (4 * 32 + 32 + 64 + 32 + 32) + 32 + (3 * 32 + 3)
    assert sum(master.numel() for master in prepared.learner.masters.masters) == numbers
    assert any(f"trains {numbers:,} of" in said and "25 biases and the head" in said for said in prepared.announcements)


def test_biases_by_name(tiny_bert: Path, tmp_path: Path) -> None:
    method = {"type": "bitfit", "biases": ["query", r"layer\.2\.intermediate"]}
    trained = made_run(tiny_bert, tmp_path, method=method).learner.masters.names
    body = {name.removeprefix("body.model.encoder.") for name in trained if not name.startswith("head.")}
    expected = {f"layer.{layer}.attention.self.query.bias" for layer in range(3)} | {"layer.2.intermediate.dense.bias"}
    assert body == expected


def test_below_the_lowest_bias_outputs_are_kept(tiny_bert: Path, tmp_path: Path) -> None:
    method = {"type": "bitfit", "biases": [r"layer\.2\."]}
    prepared = made_run(tiny_bert, tmp_path, method=method)
    assert prepared.learner.cache is not None
    assert prepared.learner.cache.stage.layers == 2


def test_a_name_that_no_bias_has_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'q_proj' is found in no name") as caught:
        made_run(tiny_bert, tmp_path, method={"type": "bitfit", "biases": ["q_proj"]})
    assert "body.model.encoder.layer.N.attention.self.query.bias" in str(caught.value)


def test_a_model_without_biases_is_refused() -> None:
    from feinschliff.methods.bitfit import Bitfit, BitfitConfig

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Module()
            self.body.layer = nn.Linear(2, 2, bias=False)
            self.body.num_layers = 1  # type: ignore[assignment]

        def depth_of(self, _: str) -> int:
            return 1

    with pytest.raises(ConfigError, match="no biases to train") as caught:
        Bitfit(BitfitConfig()).adapt(Plain())
    assert "body.layer.weight" in str(caught.value)
