"""A converted GGUF file is an ordinary folder: verified, loaded by transformers, writing what the model writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from feinschliff.errors import ModelError
from feinschliff.models import foreign_files, gguf_folder
from feinschliff.models.licence import read_front_matter, read_license
from feinschliff.models.size import num_parameters, read_header
from feinschliff.models.verify import verify_folder
from tests.models import tiny_gguf as tiny


def converted(place: Path, architecture: str = "llama", **options: Any) -> Path:
    folder = place / "folder"
    folder.mkdir()
    gguf_folder.write(tiny.write(place / "tiny.gguf", architecture, **options), folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted(tmp_path_factory.mktemp("gguf"))


def test_it_passes_every_check_and_says_what_it_is(folder: Path) -> None:
    assert verify_folder(folder) == []
    assert read_license(folder) == "Apache-2.0"
    assert read_front_matter(folder / "README.md")["language"] == ["en"]
    assert "Its weights (F32) are here in fp32, to the bit." in (folder / "README.md").read_text()
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_tied_embeddings_are_there_once(folder: Path) -> None:
    header = read_header(folder / "model.safetensors")
    assert "lm_head.weight" not in header
    assert {tensor.dtype for tensor in header.values()} == {"F32"}
    assert num_parameters(folder) == tiny.model().num_parameters()


def test_transformers_writes_what_the_model_writes(folder: Path) -> None:
    made, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    assert made.dtype == torch.float32
    for name, value in tiny.model().state_dict().items():
        torch.testing.assert_close(made.state_dict()[name], value, rtol=0, atol=0)
    chat = [{"role": "user", "content": "the cat sat on 12"}]
    asked = AutoTokenizer.from_pretrained(folder).apply_chat_template(chat, return_tensors="pt", return_dict=True)
    expected = tiny.byte_level().encode("<|im_start|>user\nthe cat sat on 12<|im_end|>\n").ids
    assert asked["input_ids"].tolist() == [expected]
    how = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}
    assert made.generate(**asked, **how).tolist() == tiny.model().generate(**asked, **how).tolist()


def test_where_writing_ends(tmp_path: Path) -> None:
    def base(said: dict[str, Any], _: dict[str, np.ndarray]) -> None:
        said |= {"tokenizer.ggml.eos_token_id": 0}
        del said["tokenizer.ggml.padding_token_id"]

    folder = converted(tmp_path, change=base)
    generation, config = GenerationConfig.from_pretrained(folder), json.loads((folder / "config.json").read_text())
    assert (generation.eos_token_id, generation.bos_token_id, generation.pad_token_id) == ([0, 2], 1, None)
    assert (config["eos_token_id"], config["bos_token_id"], config.get("pad_token_id")) == (0, 1, None)


def test_one_end(folder: Path) -> None:
    assert GenerationConfig.from_pretrained(folder).eos_token_id == 2


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_1"])
def test_weights_are_the_numbers_that_the_file_stands_for(kind: str, tmp_path: Path) -> None:
    used = GGMLQuantizationType[kind]
    made, info = AutoModelForCausalLM.from_pretrained(converted(tmp_path, kind=used), output_loading_info=True)
    assert not any(info.values())
    readme = (tmp_path / "folder" / "README.md").read_text()
    assert ("not equal to them" in readme) == (kind != "F16")
    assert kind in readme
    stored = tiny.tensors("llama", tiny.model())["blk.1.ffn_down.weight"]
    found = made.model.layers[1].mlp.down_proj.weight.detach().numpy()
    np.testing.assert_array_equal(found, dequantize(quantize(stored, used), used))
    before = tiny.model().model.layers[1].self_attn.q_proj.weight.detach().numpy()
    rounded = made.model.layers[1].self_attn.q_proj.weight.detach().numpy()
    assert 0 < np.abs(rounded - before).max() < 0.1 * np.abs(before).max(), "rows of queries are where they were"


@pytest.mark.parametrize("architecture", ["qwen3", "gemma3"])
def test_other_architectures(architecture: str, tmp_path: Path) -> None:
    folder = converted(tmp_path, architecture)
    assert verify_folder(folder) == []
    made, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    assert made.config.model_type == tiny.MODEL_TYPES[architecture]


def test_wrong_files_leave_nothing(tmp_path: Path) -> None:
    def foreign(said: dict[str, Any], _: dict[str, np.ndarray]) -> None:
        said["general.architecture"] = "rwkv7"

    good = tiny.write(tmp_path / "good.gguf")
    (tmp_path / "cut.gguf").write_bytes(good.read_bytes()[:-64])
    tiny.write(tmp_path / "foreign.gguf", change=foreign)
    for name, why in (("cut", "truncated"), ("foreign", "its architecture is 'rwkv7'; these are converted: llama")):
        with pytest.raises(ModelError, match=why):
            foreign_files.fetch(tmp_path / f"{name}.gguf", tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache" / "converted").iterdir()] == [".lock"]
    assert foreign_files.fetch(good, tmp_path / "cache").name.endswith("-gguf-1")
