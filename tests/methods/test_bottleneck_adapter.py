"""Bottleneck adapters: begin at the base, stand where the papers put them, load without us."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from feinschliff.engine.batching import collate
from feinschliff.methods.bottleneck_adapter import BottleneckAdapter, BottleneckAdapterConfig
from tests.numerics.tiny_runs import made_run

METHOD = {"type": "bottleneck_adapter", "bottleneck": 5}


def test_training_begins_at_the_base_model(tiny_bert: Path, tmp_path: Path) -> None:
    adapted, full = made_run(tiny_bert, tmp_path, method=METHOD), made_run(tiny_bert, tmp_path)
    batch = collate(adapted.validation.table, torch.arange(12).numpy())
    with torch.no_grad():
        assert torch.equal(adapted.network.eval()(batch), full.network.eval()(batch))


@pytest.mark.parametrize(("after", "num_adapters"), [("both", 6), ("feed_forward", 3)])
def test_adapters_and_head_are_trained_each_at_its_layers_depth(
    tiny_bert: Path, tmp_path: Path, after: str, num_adapters: int
) -> None:
    prepared = made_run(tiny_bert, tmp_path, method={**METHOD, "after": after})
    names = prepared.learner.masters.names
    trained = sum(master.numel() for master in prepared.learner.masters.masters)
    assert trained == num_adapters * (2 * 5 * 32 + 5 + 32) + 3 * 32 + 3
    assert all(".adapter." in name for name in names if not name.startswith("head."))
    for name in names:
        depth = 4 if name.startswith("head.") else int(name.split("layer.")[1].split(".")[0]) + 1
        assert prepared.network.depth_of(name) == depth
    assert prepared.network.frozen_prefix() is None
    assert prepared.learner.cache is None
    assert ("attention.output.dense.adapter" in " ".join(names)) == (after == "both")


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_a_layer_is_what_the_formula_says(tiny_bert: Path, tmp_path: Path, activation: str) -> None:
    prepared = made_run(tiny_bert, tmp_path, method={**METHOD, "activation": activation})
    part = prepared.network.body.layers[1].output
    adapter = part.dense.adapter
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_(std=0.5)
        inner, skipped = torch.randn(7, 64), torch.randn(7, 32)
        dense = inner @ part.dense.weight.T + part.dense.bias
        squeezed = getattr(torch.nn.functional, activation)(dense @ adapter.down.weight.T + adapter.down.bias)
        expected = dense + squeezed @ adapter.up.weight.T + adapter.up.bias
        part.eval()
        torch.testing.assert_close(part(inner, skipped), part.LayerNorm(expected + skipped))


def test_it_goes_into_every_family(tmp_path: Path) -> None:
    from transformers import RobertaConfig, RobertaModel

    from feinschliff.models.encoder import StagedEncoder
    from feinschliff.models.heads import Head
    from feinschliff.tasks._sequence_network import SequenceNetwork

    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    encoder = StagedEncoder(RobertaModel(RobertaConfig(vocab_size=30, **shape), add_pooling_layer=False))
    network = SequenceNetwork(encoder, Head(16, 2, 0.0), "cls")
    BottleneckAdapter(BottleneckAdapterConfig(bottleneck=3)).adapt(network)
    assert sum(".up.weight" in name for name, _ in network.named_parameters()) == 4
