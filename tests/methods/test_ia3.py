"""(IA)3: starts at the base model, finds its layers by name and shape, merges by its formula, never decays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModel, DistilBertConfig, GPTNeoXConfig, LlamaConfig, T5Config

from feinschliff.engine.batching import collate
from feinschliff.errors import ConfigError
from feinschliff.methods.ia3 import Ia3, Ia3Config
from tests.numerics.tiny_runs import made_run

LAYER = "body.model.encoder.layer.1"


class Body(nn.Module):
    """What a method asks of a body, around any model."""

    def __init__(self, config: Any, layers: int) -> None:
        super().__init__()
        self.model = AutoModel.from_config(config)
        self.hidden_width, self.num_layers = 32, layers


class Network(nn.Module):
    """A network without a head."""

    def __init__(self, config: Any, layers: int = 1) -> None:
        super().__init__()
        self.body = Body(config, layers)

    def depth_of(self, _: str) -> int:
        """All lie in the body."""
        return 1


def test_training_begins_at_the_base_model(tiny_bert: Path, tmp_path: Path) -> None:
    ia3, full = made_run(tiny_bert, tmp_path, method={"type": "ia3"}), made_run(tiny_bert, tmp_path)
    batch = collate(ia3.validation.table, torch.arange(12).numpy())
    with torch.no_grad():
        assert torch.equal(ia3.network.eval()(batch), full.network.eval()(batch))


def test_keys_values_and_the_way_out_of_the_feed_forward_block(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(tiny_bert, tmp_path, method={"type": "ia3"})
    shapes = {
        name.removeprefix(LAYER): tuple(value.shape)
        for name, value in prepared.learner.masters.named().items()
        if name.startswith(LAYER)
    }
    assert shapes == {
        ".attention.self.key.ia3_l.default": (32, 1),
        ".attention.self.value.ia3_l.default": (32, 1),
        ".output.dense.ia3_l.default": (1, 64),
    }
    said = "vectors on the outputs of 6 and the inputs of 3 linear layers, and the head"
    assert any(message.endswith(said) for message in prepared.announcements)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (DistilBertConfig(dim=32, n_layers=1, n_heads=4, hidden_dim=64), {"k_lin", "v_lin", "lin2"}),
        (
            LlamaConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, head_dim=12, intermediate_size=64),
            {"k_proj", "v_proj", "down_proj"},
        ),
        (T5Config(d_model=32, num_layers=1, num_decoder_layers=1, num_heads=4, d_kv=8, d_ff=64), {"k", "v", "wo"}),
    ],
    ids=["distilbert", "llama", "t5"],
)
def test_layers_of_other_architectures_are_found(config: Any, expected: set[str]) -> None:
    network = Ia3(Ia3Config()).adapt(Network(config))
    trained = {
        name.rpartition(".ia3_l")[0].rpartition(".")[2] for name, p in network.named_parameters() if p.requires_grad
    }
    assert trained == expected


def test_where_keys_and_values_are_one_layer_they_are_to_be_named() -> None:
    config = GPTNeoXConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64, vocab_size=99
    )
    with pytest.raises(ConfigError, match="keys and values are not found") as caught:
        Ia3(Ia3Config()).adapt(Network(config))
    assert "layers.N.attention.query_key_value" in str(caught.value)
    assert "--method.target-modules" in str(caught.value)
    network = Ia3(Ia3Config(target_modules=("query_key_value",))).adapt(Network(config))
    trained = {
        name.rpartition(".ia3_l")[0].rpartition(".")[2] for name, p in network.named_parameters() if p.requires_grad
    }
    assert trained == {"query_key_value", "dense_4h_to_h"}


def test_layers_by_name(tiny_bert: Path, tmp_path: Path) -> None:
    method = {"type": "ia3", "target_modules": ["value"], "feedforward_modules": ["layer.1.intermediate.dense"]}
    names = made_run(tiny_bert, tmp_path, method=method).learner.masters.names
    adapted = [
        name.removeprefix("body.model.encoder.").removesuffix(".ia3_l.default") for name in names if "ia3" in name
    ]
    values = [f"layer.{layer}.attention.self.value" for layer in range(3)]
    assert sorted(adapted) == sorted([*values, "layer.1.intermediate.dense"])
    for field in ("target_modules", "feedforward_modules"):
        with pytest.raises(ConfigError, match="no linear layer is named 'q_proj'") as caught:
            made_run(tiny_bert, tmp_path, method={"type": "ia3", field: ["q_proj"]})
        assert caught.value.faults[0].where == f"method.{field}"


def test_merging_scales_rows_with_their_bias_and_columns(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(tiny_bert, tmp_path, method={"type": "ia3"})
    weights = {name: value.detach().clone() for name, value in prepared.network.named_parameters()}
    key, out = f"{LAYER}.attention.self.key", f"{LAYER}.output.dense"
    rows, columns = weights[f"{key}.ia3_l.default"].normal_(), weights[f"{out}.ia3_l.default"].normal_()
    weights[f"{key}.base_layer.bias"].normal_()
    weights[f"{out}.base_layer.bias"].normal_()
    merged = prepared.method.merged_weights(prepared.network, weights)
    torch.testing.assert_close(merged[f"{key}.weight"], torch.diag(rows[:, 0]) @ weights[f"{key}.base_layer.weight"])
    torch.testing.assert_close(merged[f"{key}.bias"], rows[:, 0] * weights[f"{key}.base_layer.bias"])
    torch.testing.assert_close(merged[f"{out}.weight"], weights[f"{out}.base_layer.weight"] @ torch.diag(columns[0]))
    assert torch.equal(merged[f"{out}.bias"], weights[f"{out}.base_layer.bias"])


def test_vectors_do_not_decay(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(tiny_bert, tmp_path, method={"type": "ia3"}, weight_decay=0.1)
    decay = {
        name: group.weight_decay
        for group in prepared.method.parameter_groups(prepared.network, prepared.config.training)
        for name in group.names
    }
    assert {value for name, value in decay.items() if ".ia3_" in name} == {0.0}
    assert decay["head.linear.weight"] == 0.1


def test_layers_come_with_a_folder(tiny_bert: Path, tmp_path: Path) -> None:
    from feinschliff.lifecycle.finish import over_base
    from tests.numerics.tiny_runs import resolved

    prepared = made_run(tiny_bert, tmp_path, method={"type": "ia3", "target_modules": ["query"]})
    network, weights = over_base(prepared, prepared.learner.masters.named(), resolved(tiny_bert))
    assert prepared.method.save_adapter(network, weights, tmp_path / "adapter", "base")
    method = {"type": "ia3", "init_from": str(tmp_path / "adapter")}
    assert made_run(tiny_bert, tmp_path, method=method).learner.masters.names == prepared.learner.masters.names
    with pytest.raises(ConfigError, match="contradicts the adapter"):
        made_run(tiny_bert, tmp_path, method={**method, "target_modules": ["query"]})
