"""The staged encoder: packed equals padded, a part and the rest equal the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertModel

from feinschliff.engine import attention
from feinschliff.engine.batching import Batch, TokenTable, collate
from feinschliff.errors import ModelError
from feinschliff.models.encoder import FAMILIES, StagedEncoder, family_of
from feinschliff.models.load import load_encoder

LENGTHS = [2, 9, 4, 4, 7]


@pytest.fixture
def encoder(tiny_bert: Path) -> StagedEncoder:
    return load_encoder(tiny_bert, attention.NAME).encoder.eval()


def make_batch(segments: bool = False) -> Batch:
    ids = np.random.default_rng(0).integers(5, 190, sum(LENGTHS)).astype(np.int32)
    kinds = (np.arange(len(ids)) % 2).astype(np.int8) if segments else None
    return collate(TokenTable(ids, np.cumsum([0, *LENGTHS]), kinds), np.arange(len(LENGTHS)))


def run(encoder: StagedEncoder, batch: Batch, **options: object) -> torch.Tensor:
    out: torch.Tensor = encoder(batch.ids_T, batch.positions_T, batch.segments_T, batch.groups, **options)
    return out


def real(batch: Batch, values: torch.Tensor) -> torch.Tensor:
    return values[: batch.num_tokens]


@pytest.mark.parametrize("segments", [False, True])
@torch.no_grad()
def test_packed_equals_transformers_padded(encoder: StagedEncoder, tiny_bert: Path, segments: bool) -> None:
    batch = make_batch(segments)
    plain = BertModel.from_pretrained(tiny_bert, attn_implementation="eager", add_pooling_layer=False).eval()
    lengths = batch.lengths_B.tolist()
    parts = real(batch, batch.ids_T).split(lengths)
    kinds_T = batch.segments_T if batch.segments_T is not None else torch.zeros_like(batch.ids_T)
    kinds = real(batch, kinds_T).split(lengths)
    out = plain(
        input_ids=nn.utils.rnn.pad_sequence(parts, batch_first=True),
        token_type_ids=nn.utils.rnn.pad_sequence(kinds, batch_first=True),
        attention_mask=nn.utils.rnn.pad_sequence([torch.ones_like(part) for part in parts], batch_first=True),
    ).last_hidden_state
    expected = torch.cat([row[:length] for row, length in zip(out, lengths, strict=True)])
    torch.testing.assert_close(real(batch, run(encoder, batch)), expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("cut", [1, 2, 3])
@torch.no_grad()
def test_below_then_above_is_the_whole(encoder: StagedEncoder, cut: int) -> None:
    batch = make_batch()
    whole = run(encoder, batch)
    below = run(encoder, batch, stop=cut)
    assert torch.equal(run(encoder, batch, hidden_Td=below, start=cut), whole)
    assert len(encoder.layers) == 3, "the parts are put back"
    assert torch.equal(run(encoder, batch), whole)


@torch.no_grad()
def test_parts_are_put_back_after_an_error(encoder: StagedEncoder) -> None:
    batch = make_batch()
    whole, names = run(encoder, batch), [name for name, _ in encoder.named_parameters()]
    with pytest.raises(RuntimeError):
        run(encoder, batch, hidden_Td=torch.zeros(3, 5), start=1)
    assert torch.equal(run(encoder, batch), whole)
    assert [name for name, _ in encoder.named_parameters()] == names


def test_depth_counts_from_the_embeddings(encoder: StagedEncoder) -> None:
    depths = {encoder.depth_of(name) for name, _ in encoder.named_parameters()}
    assert depths == {0, 1, 2, 3}
    assert encoder.depth_of("model.embeddings.word_embeddings.weight") == 0
    assert encoder.depth_of("model.encoder.layer.2.output.dense.bias") == 3


def test_the_packing_check_sees_rows_that_mix(encoder: StagedEncoder) -> None:
    lengths = [3, 5, 9]
    from feinschliff.engine.batching import Group, group_by_length

    assert encoder.check_packing(group_by_length(lengths), lengths) < 1e-5
    mixed = [Group(0, 17, 1, 17, None, None)]
    assert encoder.check_packing(mixed, lengths) > 1e-3


def test_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(ModelError, match="'gpt2' is not supported") as caught:
        family_of("gpt2")
    assert all(name in str(caught.value) for name in FAMILIES)


def test_dropout_reaches_every_dropout(encoder: StagedEncoder) -> None:
    encoder.set_dropout(0.25)
    found = [module.p for module in encoder.modules() if isinstance(module, nn.Dropout)]
    assert len(found) > 3
    assert set(found) == {0.25}
