"""What a decoder's activations take, and from how many tokens on they are computed again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from feinschliff.config.training import TrainingConfig
from feinschliff.engine import causal_attention
from feinschliff.lifecycle import activations
from feinschliff.methods.lora import LoraConfig, create
from feinschliff.models.decoder import load_decoder
from feinschliff.tasks._decoder_network import DecoderNetwork

FREE = 2**20


@pytest.fixture
def network(tiny_decoder: Path) -> DecoderNetwork:
    return DecoderNetwork(load_decoder(tiny_decoder, causal_attention.NAME).body)


def test_adapters_do_not_count_twice(network: DecoderNetwork) -> None:
    before = activations.bytes_per_token(network)
    create(LoraConfig(rank=4)).adapt(network)
    assert activations.bytes_per_token(network) == before > 0


def test_only_what_would_not_fit_is_computed_twice(network: DecoderNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activations, "free_bytes", lambda device: FREE)
    said: list[str] = []
    fits = int(activations.SHARE * FREE / activations.bytes_per_token(network))
    activations.bound(network, fits, TrainingConfig(micro_batch_tokens=16), said.append)
    assert network.body.checkpoint_above == fits
    assert said == []
    activations.bound(network, 8, TrainingConfig(micro_batch_tokens=fits + 1), said.append)
    assert len(said) == 1
    assert f"more than {fits:,} tokens compute their layers twice" in said[0]
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    activations.bound(network, fits, TrainingConfig(), said.append)
    assert network.body.checkpoint_above == fits // 4, "four processes share the memory"


@pytest.mark.parametrize(("asked", "above"), [("on", 0), ("off", None)])
def test_what_is_asked_for_is_done(network: DecoderNetwork, asked: Any, above: int | None) -> None:
    said: list[str] = []
    activations.bound(network, 8, TrainingConfig(gradient_checkpointing=asked), said.append)
    assert network.body.checkpoint_above == above
    assert said == [f"gradient checkpointing {asked}: as asked"]
