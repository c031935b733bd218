"""Prefix tuning: one prefix a layer, trained as such or computed by a network that is dropped when it is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from feinschliff.engine import loop
from feinschliff.engine.batching import collate
from feinschliff.lifecycle.prepare import Prepared
from tests.numerics.tiny_runs import made_fit, made_run

METHOD = {"type": "prefix_tuning", "num_prefix_tokens": 4}


def saved(prepared: Prepared, folder: Path) -> dict[str, Tensor]:
    folder.mkdir()
    prepared.method.save_added(prepared.network, prepared.learner.masters.named(), folder)
    return load_file(folder / "adapter.safetensors")


def test_prefixes_and_head_are_trained_each_at_its_layers_depth(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(tiny_bert, tmp_path, method=METHOD)
    assert sum(master.numel() for master in prepared.learner.masters.masters) == 3 * 2 * 4 * 32 + 3 * 32 + 3
    depths = [prepared.network.depth_of(name) for name in prepared.learner.masters.names]
    assert depths == [1, 2, 3, 4, 4]
    assert prepared.network.frozen_prefix() is None


def test_no_text_gets_shorter(tiny_bert: Path, tmp_path: Path) -> None:
    assert made_run(tiny_bert, tmp_path, method=METHOD).max_length_tokens == 128


@pytest.mark.parametrize("computed_from", [0, 6])
def test_a_row_gives_what_plain_transformers_gives_with_past_keys_and_values(
    tiny_bert: Path, tmp_path: Path, computed_from: int
) -> None:
    """transformers' own cache of keys and values, which it only knows from decoders, is a second way to a prefix."""
    from transformers import BertModel, DynamicCache

    prepared = made_run(tiny_bert, tmp_path, method={**METHOD, "computed_from": computed_from})
    list(loop.fit(made_fit(prepared, tmp_path)))
    weights = saved(prepared, tmp_path / "added")
    batch = collate(prepared.validation.table, torch.arange(9).numpy())
    body = prepared.network.eval().body
    plain = BertModel.from_pretrained(tiny_bert, add_pooling_layer=False, attn_implementation="eager").eval()
    with torch.no_grad():
        states = body(batch.ids_T, batch.positions_T, None, batch.groups)
        begin = 0
        for length in batch.lengths_B.tolist():
            ids = batch.ids_T[begin : begin + length][None]
            prefixes = [weights[f"encoder.layer.{layer}.attention.self.prefix.states"] for layer in range(3)]
            cache = DynamicCache([(states[:1], states[1:]) for states in prefixes])
            positions = torch.arange(length)[None]
            mask = torch.ones(1, 4 + length, dtype=torch.long)
            given: dict[str, Any] = {"past_key_values": cache, "position_ids": positions, "attention_mask": mask}
            expected = plain(ids, token_type_ids=torch.zeros_like(ids), **given).last_hidden_state[0]
            torch.testing.assert_close(states[begin : begin + length], expected, rtol=1e-4, atol=1e-5)
            begin += length


def test_a_computed_prefix_is_saved_as_what_it_computes(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(tiny_bert, tmp_path, method={**METHOD, "computed_from": 6})
    name = "encoder.layer.1.attention.self.prefix"
    module = prepared.network.body.model.get_submodule(name)
    weights = saved(prepared, tmp_path / "added")
    assert len(weights) == 3
    first, second = module.network[0], module.network[2]
    flat = torch.tanh(module.vectors @ first.weight.T + first.bias) @ second.weight.T + second.bias
    states = weights[f"{name}.states"]
    assert states.shape == (2, 4, 4, 8)
    torch.testing.assert_close(states[0, 1, 2], flat[2, 8:16])  # key, head 1, place 2
    torch.testing.assert_close(states[1, 3, 0], flat[0, 32 + 24 :])  # value, head 3, place 0
    assert len([n for n in prepared.learner.masters.names if ".layer.1." in n]) == 5
