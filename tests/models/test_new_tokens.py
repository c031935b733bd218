"""New tokens: they start at the mean of their pieces, learn, and come back in plain transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, AutoTokenizer

from feinschliff.config import rules
from feinschliff.config.run import RunConfig
from feinschliff.engine import loop
from feinschliff.errors import ConfigError
from feinschliff.lifecycle.finish import whole_weights
from feinschliff.lifecycle.prepare import Prepared
from feinschliff.models.load import load_tokenizer
from feinschliff.models.new_tokens import add_tokens
from tests.numerics.tiny_runs import made_fit, made_run, made_splits, resolved

NEW = ("Mahnbescheid", "wonderful")


def trained(folder: Path, path: Path, kind: str, **changes: Any) -> Prepared:
    """A short run whose rows hold the new words."""
    splits = made_splits(24, 12, kind)
    for rows in (splits.train, splits.validation):
        for row in rows:
            object.__setattr__(row, "texts", (f"{row.texts[0]} mahnbescheid",))
            if row.references:
                object.__setattr__(row, "references", (f"wonderful {row.references[0]}",))
    prepared = made_run(folder, path, splits, model={"new_tokens": NEW}, **changes)
    list(loop.fit(made_fit(prepared, path)))
    weights = whole_weights(prepared, prepared.learner.masters.named(), resolved(folder))
    prepared.task.save_native(prepared.network, weights, path / "model")
    return prepared


@pytest.mark.parametrize("fixture", ["tiny_bert", "tiny_bart"])
def test_rows_start_at_the_mean_of_their_pieces(fixture: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(fixture)
    model, tokenizer = AutoModel.from_pretrained(folder), load_tokenizer(folder)
    pieces = {token: tokenizer(token, add_special_tokens=False)["input_ids"] for token in NEW}
    before = model.get_input_embeddings().weight.clone()
    said = add_tokens(model, tokenizer, (*NEW, "parcel"))
    after = model.get_input_embeddings().weight
    assert len(after) == len(before) + 2 == model.config.vocab_size == len(tokenizer)
    assert torch.equal(after[: len(before)], before)
    for token in NEW:
        (number,) = tokenizer(token, add_special_tokens=False)["input_ids"]
        torch.testing.assert_close(after[number], before[pieces[token]].mean(0))
    assert said == ["tokens already: 'parcel'", "2 new tokens, each starting at the mean of the pieces it was read as"]
    assert tokenizer.tokenize("wonderfully") != ["wonderful", "ly"]


def test_a_classifier_keeps_them(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = trained(tiny_bert, tmp_path, "single")
    assert any("2 new tokens" in note for note in prepared.announcements)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    number = tokenizer.convert_tokens_to_ids("Mahnbescheid")
    assert number in tokenizer("a Mahnbescheid, please")["input_ids"]
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    assert len(model.get_input_embeddings().weight) == len(tokenizer) == model.config.vocab_size
    start = prepared.task.load_model(prepared.config.model, tiny_bert).body.model.get_input_embeddings().weight
    assert not torch.allclose(model.get_input_embeddings().weight[number], start[number], atol=1e-5)
    found = prepared.task.plain_outputs(tmp_path / "model", prepared.validation.examples)
    network = type(prepared.task)(prepared.task.config, prepared.task.context)
    finished = network.load_finished(tmp_path / "model", prepared.network.pooling).eval()
    assert float(abs(network.own_outputs(finished, prepared.validation.examples, 100) - found).max()) < 1e-4


def test_an_encoder_decoder_writes_them(tiny_bart: Path, tmp_path: Path) -> None:
    task = {"type": "sequence_to_sequence", "max_target_tokens": 16}
    changes = {"task": task, "epochs": 30.0, "learning_rate": 3e-3, "early_stopping_patience": None}
    prepared = trained(tiny_bart, tmp_path, "texts", **changes)
    model, tokenizer = (kind.from_pretrained(tmp_path / "model") for kind in (AutoModelForSeq2SeqLM, AutoTokenizer))
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert len(model.lm_head.weight) == len(tokenizer) == model.config.vocab_size == model.final_logits_bias.shape[1]
    row = tokenizer([prepared.validation.examples[0].texts[0]], return_tensors="pt")
    ids = model.eval().generate(input_ids=row["input_ids"], attention_mask=row["attention_mask"])
    assert tokenizer.convert_tokens_to_ids("wonderful") in ids[0].tolist()
    assert tokenizer.decode(ids[0], skip_special_tokens=True).startswith("wonderful")


def test_what_is_not_trained_keeps_the_mean(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = trained(tiny_bert, tmp_path, "single", method={"type": "frozen_layers", "trained_layers": 1})
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    start = prepared.task.load_model(prepared.config.model, tiny_bert).body.model.get_input_embeddings().weight
    torch.testing.assert_close(model.get_input_embeddings().weight, start)


def test_nothing_and_images_are_refused(tiny_bert: Path) -> None:
    with pytest.raises(ConfigError, match="reads nothing"):
        add_tokens(AutoModel.from_pretrained(tiny_bert), load_tokenizer(tiny_bert), ["  "])
    config = RunConfig.model_validate({"task": {"type": "image_classification"}, "model": {"new_tokens": ["a"]}})
    assert [fault.where for fault in rules.check(config)] == ["model.new_tokens"]
