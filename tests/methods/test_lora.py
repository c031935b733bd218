"""LoRA and its variants: start at the base, merge by their formulas and as PEFT does, refuse what no layer has."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from feinschliff.engine import loop
from feinschliff.engine.batching import collate
from feinschliff.errors import ConfigError
from feinschliff.lifecycle.finish import over_base, whole_weights
from feinschliff.lifecycle.prepare import Prepared
from feinschliff.methods.lora import Lora, LoraConfig
from tests.numerics.tiny_runs import made_fit, made_run, resolved

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"rslora": True},
    "dora": {"dora": True},
    "pissa": {"pissa": True},
    "pissa dora rslora": {"pissa": True, "dora": True, "rslora": True},
    "ranks": {"ranks": ("query=8", "layer.1=2"), "alphas": ("value=3.5",), "learning_rate_ratio": 16.0},
}


def made(folder: Path, path: Path, variant: str, **changes: Any) -> Prepared:
    return made_run(folder, path, method={"type": "lora", "rank": 4, **VARIANTS[variant]}, **changes)


def features(prepared: Prepared, network: Any = None) -> Tensor:
    with torch.no_grad():
        batch = collate(prepared.validation.table, torch.arange(12).numpy())
        pooled: Tensor = (network or prepared.network).eval().features(batch)
        return pooled


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_begins_at_the_base_model(tiny_bert: Path, tmp_path: Path, variant: str) -> None:
    lora, full = made(tiny_bert, tmp_path, variant), made_run(tiny_bert, tmp_path)
    rounding = 0.0 if variant in ("plain", "rslora", "ranks") else 1e-5
    torch.testing.assert_close(features(lora), features(full), rtol=0.0, atol=rounding)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_trained_it_merges_and_switches_off(tiny_bert: Path, tmp_path: Path, variant: str, precision: str) -> None:
    """Every trained weight moves; merged over a plain base it scores the same; switched off it is the base, to the bit.

    In bf16 the merged weights stand in fp32, and differ by what the working copies were rounded by.
    """
    prepared = made(tiny_bert, tmp_path, variant, precision=precision, learning_rate=1e-2)
    before = {name: value.clone() for name, value in prepared.learner.masters.named().items()}
    list(loop.fit(made_fit(prepared, tmp_path)))
    assert [n for n, value in prepared.learner.masters.named().items() if torch.equal(value, before[n])] == []
    trained = features(prepared)
    base = made_run(tiny_bert, tmp_path, precision=precision)
    assert float((trained - features(base)).abs().max()) > 0.1
    with prepared.method.reference(prepared.network) as reference:
        assert torch.equal(features(prepared, reference), features(base))
    assert torch.equal(features(prepared), trained)
    plain = prepared.task.load_model(prepared.config.model, tiny_bert)
    plain.load_state_dict(whole_weights(prepared, prepared.learner.masters.named(), resolved(tiny_bert)), strict=False)
    tolerance = 1e-4 if precision == "fp32" else 0.06
    torch.testing.assert_close(features(prepared, plain), trained, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize("variant", VARIANTS)
def test_merging_is_as_peft_does_it(tiny_bert: Path, tmp_path: Path, variant: str) -> None:
    prepared = made(tiny_bert, tmp_path, variant)
    network, weights = over_base(prepared, prepared.learner.masters.named(), resolved(tiny_bert))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".lora_" in name:
                weights[name] = parameter.normal_().clone()
    ours = prepared.method.merged_weights(network, weights)
    layers = {name: module for name, module in network.named_modules() if type(module).__module__.startswith("peft")}
    merged = {name: module for name, module in layers.items() if f"{name}.weight" in ours}
    assert len(merged) == 18
    for name, layer in merged.items():
        layer.merge()
        torch.testing.assert_close(ours[f"{name}.weight"], layer.base_layer.weight.detach(), rtol=1e-4, atol=1e-5)


def test_a_reference_may_read_the_kept_prefix(tiny_bert: Path, tmp_path: Path) -> None:
    """Switched off, the adapters are still what is trained: the prefix ends below them."""
    method = {"type": "lora", "rank": 4, "target_modules": ["layer.2.attention.self.query"]}
    prepared = made_run(tiny_bert, tmp_path, method=method)
    table, network = prepared.validation.table, prepared.network.eval()
    batch = collate(table, torch.arange(12).numpy())
    with torch.no_grad():
        expected = network.features(batch)
        assert prepared.validation_cache is not None
        prepared.validation_cache.attach(batch, table)
        with prepared.method.reference(network) as reference:
            torch.testing.assert_close(reference.features(batch), expected, rtol=0.0, atol=1e-6)
            trained = {name for name, p in reference.named_parameters() if p.requires_grad}
    assert trained == set(prepared.learner.masters.names)
    assert trained == {name for name, p in network.named_parameters() if p.requires_grad}


def test_pissa_starts_at_the_leading_singular_values(tiny_bert: Path, tmp_path: Path) -> None:
    network = made(tiny_bert, tmp_path, "pissa").network
    plain = dict(made_run(tiny_bert, tmp_path).network.named_parameters())
    name = "body.model.encoder.layer.1.intermediate.dense"
    layer = network.get_submodule(name)
    update = layer.scaling["default"] * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    left, values, right = torch.linalg.svd(plain[f"{name}.weight"].detach())
    torch.testing.assert_close(update.detach(), left[:, :4] * values[:4] @ right[:4], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(layer.base_layer.weight + update, plain[f"{name}.weight"], rtol=1e-4, atol=1e-6)


def test_pissa_wants_no_more_than_there_is(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rank 33 is more than the 32 singular values"):
        made_run(tiny_bert, tmp_path, method={"type": "lora", "rank": 33, "pissa": True})


@pytest.mark.parametrize("rslora", [False, True])
def test_scale(tiny_bert: Path, tmp_path: Path, rslora: bool) -> None:
    method = {"type": "lora", "rank": 4, "alpha": 6.0, "rslora": rslora, "ranks": ("query=9",), "alphas": ("key=2",)}
    attention = made_run(tiny_bert, tmp_path, method=method).network.body.layers[1].attention.self
    for layer, alpha, rank in ((attention.value, 6.0, 4), (attention.query, 6.0, 9), (attention.key, 2.0, 4)):
        assert layer.r["default"] == rank
        assert layer.scaling["default"] == pytest.approx(alpha / (math.sqrt(rank) if rslora else rank))


def test_the_first_expression_counts(tiny_bert: Path, tmp_path: Path) -> None:
    method = {"type": "lora", "rank": 4, "ranks": ("query=2", "layer.1=3")}
    prepared = made_run(tiny_bert, tmp_path, method=method)
    layers = prepared.network.body.layers
    ranks = [getattr(layers[i].attention.self, name).r["default"] for i in (0, 1) for name in ("query", "key")]
    assert ranks == [2, 4, 2, 3]
    assert any("adapters of rank 2 to 4 on 18 linear layers and the head" in said for said in prepared.announcements)


def test_b_learns_at_its_own_rate(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made(tiny_bert, tmp_path, "ranks", layer_learning_rate_decay=0.5)
    plain = copy.copy(prepared.method)
    plain.config = LoraConfig(rank=4)
    training = prepared.config.training
    before = {n: group for group in plain.parameter_groups(prepared.network, training) for n in group.names}
    groups = prepared.method.parameter_groups(prepared.network, training)
    after = {name: group for group in groups for name in group.names}
    assert before.keys() == after.keys()
    for name, group in after.items():
        ratio = 16.0 if ".lora_B." in name else 1.0
        assert group.learning_rate_factor == ratio * before[name].learning_rate_factor
        assert group.weight_decay == before[name].weight_decay


@pytest.mark.parametrize(
    ("field", "value"), [("ranks", "query"), ("ranks", "query=0"), ("ranks", "query=2.5"), ("alphas", "(=2")]
)
def test_what_is_no_expression_with_a_number_is_refused(field: str, value: str) -> None:
    with pytest.raises(ValidationError, match=r"EXPRESSION=NUMBER|no regular expression"):
        LoraConfig.model_validate({field: (value,)})


def test_a_rank_for_no_layer_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    method = {"type": "lora", "ranks": ("query=2",), "target_modules": ("key",)}
    with pytest.raises(ConfigError, match="'query' is found in no name") as caught:
        made_run(tiny_bert, tmp_path, method=method)
    assert caught.value.faults[0].where == "method.ranks"


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
