"""LoRA: starts at the base model, merges by its formula, refuses names that no layer has."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from feinschliff.engine.batching import collate
from feinschliff.errors import ConfigError
from feinschliff.methods.lora import Lora, LoraConfig
from tests.numerics.tiny_runs import made_run


def test_training_begins_at_the_base_model(tiny_bert: Path, tmp_path: Path) -> None:
    lora = made_run(tiny_bert, tmp_path, method={"type": "lora", "rank": 4})
    full = made_run(tiny_bert, tmp_path)
    batch = collate(lora.validation.table, torch.arange(12).numpy())
    with torch.no_grad():
        assert torch.equal(lora.network.eval()(batch), full.network.eval()(batch))


def test_every_linear_layer_of_the_body_by_default(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(tiny_bert, tmp_path, method={"type": "lora", "rank": 4})
    adapters = [name for name in prepared.learner.masters.names if "lora_A" in name]
    assert len(adapters) == 3 * 6
    parameters = 3 * (4 * (32 + 32) * 4 + 2 * (32 + 64) * 4) + 3 * 32 + 3
    assert sum(master.numel() for master in prepared.learner.masters.masters) == parameters


def test_merging_is_w_plus_alpha_over_rank_b_a(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(
        tiny_bert, tmp_path, method={"type": "lora", "rank": 4, "alpha": 6.0, "target_modules": ["query"]}
    )
    layer = "body.model.encoder.layer.1.attention.self.query"
    weights = {name: value.detach().clone() for name, value in prepared.network.named_parameters()}
    up = weights[f"{layer}.lora_B.default.weight"].normal_()
    expected = weights[f"{layer}.base_layer.weight"] + 1.5 * up @ weights[f"{layer}.lora_A.default.weight"]
    merged = prepared.method.merged_weights(prepared.network, weights)
    torch.testing.assert_close(merged[f"{layer}.weight"], expected)
    assert not [name for name in merged if "lora" in name or "base_layer" in name]


def test_unknown_target_names_what_exists(tiny_bert: Path, tmp_path: Path) -> None:
    network = made_run(tiny_bert, tmp_path).network
    with pytest.raises(ConfigError, match="no linear layer is named 'q_proj'") as caught:
        Lora(LoraConfig(target_modules=("q_proj",))).adapt(network)
    assert "dense, key, query, value" in str(caught.value)
