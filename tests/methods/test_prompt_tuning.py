"""Prompt tuning: equal to PEFT's, in front of every row, at a depth of its own, and it starts where it is told to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from feinschliff.engine import loop
from feinschliff.engine.batching import collate
from feinschliff.errors import ConfigError
from feinschliff.models.load import load_tokenizer
from tests.numerics.tiny_runs import made_fit, made_run, made_splits

METHOD = {"type": "prompt_tuning", "num_virtual_tokens": 4}


@pytest.mark.parametrize("kind", ["single", "pair"])
def test_states_equal_pefts(tiny_bert: Path, tmp_path: Path, kind: str) -> None:
    import peft
    from transformers import BertModel

    prepared = made_run(tiny_bert, tmp_path, made_splits(24, 12, kind), method=METHOD)
    list(loop.fit(made_fit(prepared, tmp_path)))
    network = prepared.network.eval()
    plain = BertModel.from_pretrained(tiny_bert, add_pooling_layer=False)
    config = peft.PromptTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=4)
    model = peft.get_peft_model(plain, config).eval()
    with torch.no_grad():
        model.prompt_encoder["default"].embedding.weight.copy_(network.body.model.get_input_embeddings().prompt)
    batch = collate(prepared.validation.table, torch.arange(12).numpy())
    splits, tokenizer = made_splits(24, 12, kind), load_tokenizer(tiny_bert)
    begin = 0
    with torch.no_grad():
        states = network.body(batch.ids_T, batch.positions_T, batch.segments_T, batch.groups)
        for row, length in zip(batch.rows.tolist(), batch.lengths_B.tolist(), strict=True):
            encoded = tokenizer(*splits.validation[row].texts, return_tensors="pt")
            segments = encoded.pop("token_type_ids")
            if kind == "pair":  # PEFT leaves segments out where features are extracted; embeddings are put in by hand
                words = plain.get_input_embeddings()(encoded["input_ids"])
                whole = torch.cat([model.get_prompt(1), words], 1)
                types = torch.cat([torch.zeros(1, 4, dtype=torch.long), segments], 1)
                expected = plain(inputs_embeds=whole, token_type_ids=types).last_hidden_state[0]
            else:
                expected = model(**encoded).last_hidden_state[0]
            assert len(expected) == length
            torch.testing.assert_close(states[begin : begin + length], expected, rtol=1e-4, atol=1e-5)
            begin += length


def test_prompt_and_head_are_trained_and_nothing_is_cached(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(tiny_bert, tmp_path, method=METHOD)
    names = prepared.learner.masters.names
    assert [prepared.network.depth_of(name) for name in names] == [0, 4, 4]
    assert sum(master.numel() for master in prepared.learner.masters.masters) == 4 * 32 + 3 * 32 + 3
    assert prepared.network.frozen_prefix() is None
    assert prepared.learner.cache is None


def test_texts_may_be_shorter_by_the_prompt(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(tiny_bert, tmp_path, made_splits(24, 12, longest=150), method=METHOD)
    assert prepared.max_length_tokens == 124
    assert max(prepared.learner.table.lengths) == 128
    assert any("rows are cut at 124 tokens" in note and "4 virtual" in note for note in prepared.announcements)
    asked = made_run(tiny_bert, tmp_path, method=METHOD, model={"max_length_tokens": 20})
    assert asked.max_length_tokens == 20


def test_no_room_for_text_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="121 virtual tokens leave 7 for text"):
        made_run(tiny_bert, tmp_path, method={**METHOD, "num_virtual_tokens": 121})


def test_it_starts_at_a_text_or_at_tokens_drawn_by_the_seed(tiny_bert: Path, tmp_path: Path) -> None:
    def start(**method: str) -> torch.Tensor:
        prepared = made_run(tiny_bert, tmp_path, method={**METHOD, **method})
        table = prepared.network.body.model.get_input_embeddings()
        same = (table.prompt[:, None] == table.weight[None]).all(-1)
        assert bool(same.any(1).all())
        return same.float().argmax(1)

    vocabulary = load_tokenizer(tiny_bert).get_vocab()
    good, movie = vocabulary["good"], vocabulary["movie"]
    assert start(init_text="good movie").tolist() == [good, movie, good, movie]
    assert start(init_text="movie " * 9).tolist() == [movie] * 4
    assert torch.equal(start(), start())
    with pytest.raises(ConfigError, match="no token"):
        start(init_text="  ")


@pytest.mark.parametrize("method", [METHOD, {"type": "prefix_tuning", "num_prefix_tokens": 4}])
def test_what_was_added_learns_at_its_multiple_of_the_rate_and_the_head_does_not(
    tiny_bert: Path, tmp_path: Path, method: dict[str, Any]
) -> None:
    """Also where head and body would share a group, because their rates are one."""
    asked = {**method, "learning_rate_multiplier": 7.0}
    prepared = made_run(tiny_bert, tmp_path, method=asked, head_learning_rate_multiplier=1.0, weight_decay=0.0)
    groups = prepared.method.parameter_groups(prepared.network, prepared.config.training)
    rates = {name: group.learning_rate_factor for group in groups for name in group.names}
    assert {rate for name, rate in rates.items() if name.startswith("head.")} == {1.0}
    assert {rate for name, rate in rates.items() if not name.startswith("head.")} == {7.0}
