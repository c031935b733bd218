"""What a decoder's activations take, and from how many tokens on they are computed again."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    activations.bound(network, fits, 16, said.append)
    assert network.body.checkpoint_above == fits
    assert said == []
    activations.bound(network, 8, fits + 1, said.append)
    assert len(said) == 1
    assert f"more than {fits:,} tokens compute their layers twice" in said[0]
