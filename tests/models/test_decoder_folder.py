"""A decoder's folder says without its weights what the loaded model says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from feinschliff.engine import causal_attention
from feinschliff.errors import ModelError
from feinschliff.models.decoder import end_ids, load_decoder
from feinschliff.models.decoder_folder import read_decoder_folder
from tests.models.tiny_decoders import save_tiny_decoder


@pytest.mark.parametrize("written", ["as saved", "several ends", "no settings", "settings without an end"])
def test_ends_and_limit_are_those_of_the_loaded_model(tmp_path: Path, written: str) -> None:
    folder = save_tiny_decoder(tmp_path / "model")
    settings = folder / "generation_config.json"
    if written == "several ends":
        settings.write_text(json.dumps({"eos_token_id": [2, 7]}), encoding="utf-8")
    elif written == "no settings":
        settings.unlink()
    elif written == "settings without an end":
        settings.write_text("{}", encoding="utf-8")
    loaded = load_decoder(folder, causal_attention.NAME, ["<new>"])
    (folder / "model.safetensors").unlink()
    found = read_decoder_folder(folder, ["<new>"])
    assert list(found.end_ids) == end_ids(loaded)
    assert (7 in found.end_ids) == (written == "several ends")
    assert found.max_length_tokens == loaded.max_length_tokens == 256
    assert found.tokenizer("a <new> b")["input_ids"] == loaded.tokenizer("a <new> b")["input_ids"]
    assert len(found.tokenizer) == len(loaded.tokenizer)


def test_an_encoder_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_bert, tmp_path / "model")
    with pytest.raises(ModelError, match="no decoder language model"):
        read_decoder_folder(folder)
