"""What a file says of a model becomes the same model in transformers; what is not understood is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from feinschliff.errors import ModelError
from feinschliff.models import gguf_file, gguf_model
from tests.models import tiny_gguf as tiny

IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 32.0, "low_freq_factor": 1.0}
LLAMA3 |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def loaded(file: Path) -> Any:
    """The model of a file."""
    content = gguf_file.read(file)
    config = gguf_model.configuration(content, IDS)
    found = gguf_model.weights(content, config)
    weights = {name: torch.from_numpy(np.concatenate(list(w.parts()))).reshape(w.shape) for name, w in found.items()}
    made = AutoModelForCausalLM.from_config(config)
    missing, unexpected = made.load_state_dict(weights, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    return made.eval()


def logits(made: Any) -> torch.Tensor:
    with torch.no_grad():
        scores: torch.Tensor = made(torch.arange(40).reshape(1, -1) * 7).logits
    return scores


@pytest.mark.parametrize("architecture", tiny.MODEL_TYPES)
def test_logits_are_those_of_the_model_that_was_written(architecture: str, tmp_path: Path) -> None:
    expected = tiny.model(architecture)
    found = loaded(tiny.write(tmp_path / "tiny.gguf", architecture, made=expected))
    assert type(found) is type(expected)
    torch.testing.assert_close(logits(found), logits(expected), rtol=0, atol=1e-6)
    fields = ("rms_norm_eps", "max_position_embeddings", "rope_parameters", "tie_word_embeddings", "vocab_size")
    assert [getattr(found.config, field) for field in fields] == [getattr(expected.config, field) for field in fields]
    assert (found.config.bos_token_id, found.config.eos_token_id, found.config.pad_token_id) == (1, 2, 2)
    assert found.config.architectures == [type(expected).__name__]


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_what_the_converter_did_matters(architecture: str, tmp_path: Path) -> None:
    """The other way round: weights as transformers has them are another model once they are undone."""

    def not_done(_: dict[str, Any], there: dict[str, np.ndarray]) -> None:
        own = tiny.model(architecture).state_dict()
        there["blk.0.attn_q.weight"] = own["model.layers.0.self_attn.q_proj.weight"].numpy()
        there["output_norm.weight"] = own["model.norm.weight"].numpy()

    found = loaded(tiny.write(tmp_path / "tiny.gguf", architecture, change=not_done))
    assert (logits(found) - logits(tiny.model(architecture))).abs().max() > 0.01


def test_untied_and_tied(tmp_path: Path) -> None:
    for tied in (True, False):
        made = tiny.model("llama", tie_word_embeddings=tied)
        found = loaded(tiny.write(tmp_path / f"{tied}.gguf", made=made))
        assert found.config.tie_word_embeddings is tied
        torch.testing.assert_close(logits(found), logits(made), rtol=0, atol=1e-6)


def test_what_the_file_leaves_out(tmp_path: Path) -> None:
    """llama.cpp's own defaults: as many keys as queries, heads as wide as they can be, a base of 10,000."""

    def terse(said: dict[str, Any], _: dict[str, np.ndarray]) -> None:
        for key in ("attention.head_count_kv", "attention.key_length", "rope.freq_base"):
            del said[f"llama.{key}"]

    made = tiny.model(num_key_value_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 10_000.0})
    found = loaded(tiny.write(tmp_path / "tiny.gguf", made=made, change=terse))
    torch.testing.assert_close(logits(found), logits(made), rtol=0, atol=1e-6)


def llama3_factors(_: dict[str, Any], there: dict[str, np.ndarray]) -> None:
    """As llama.cpp's converter computes them, one by one."""
    factors = []
    for place in range(0, 16, 2):
        wavelength = 2 * math.pi * LLAMA3["rope_theta"] ** (place / 16)
        if wavelength < 8192 / 4:
            factors.append(1.0)
        elif wavelength > 8192 / 1:
            factors.append(32.0)
        else:
            smooth = (8192 / wavelength - 1) / (4 - 1)
            factors.append(1 / ((1 - smooth) / 32 + smooth))
    there["rope_freqs.weight"] = np.array(factors, np.float32)


def test_llama3_is_recognised_by_its_factors(tmp_path: Path) -> None:
    made = tiny.model(rope_parameters=dict(LLAMA3))
    found = loaded(tiny.write(tmp_path / "tiny.gguf", made=made, change=llama3_factors))
    assert found.config.rope_parameters == LLAMA3
    torch.testing.assert_close(found.model.rotary_emb.inv_freq, made.model.rotary_emb.inv_freq)


def test_linear_scaling_of_gemma3_is_that_of_the_far_layers(tmp_path: Path) -> None:
    def scaled(said: dict[str, Any], _: dict[str, np.ndarray]) -> None:
        said |= {"gemma3.rope.scaling.type": "linear", "gemma3.rope.scaling.factor": 8.0}

    content = gguf_file.read(tiny.write(tmp_path / "tiny.gguf", "gemma3", change=scaled))
    rope = gguf_model.configuration(content, IDS).rope_parameters
    assert (rope["full_attention"]["rope_type"], rope["full_attention"]["factor"]) == ("linear", 8.0)
    assert rope["sliding_attention"] == {"rope_type": "default", "rope_theta": 10_000.0}


@pytest.mark.parametrize(("widest", "scale"), [(True, 64 / 4), (False, 32)])
@pytest.mark.parametrize("architecture", ["gemma2", "gemma3"])
def test_scores_of_the_widest_gemma(
    architecture: str, widest: bool, scale: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known by its number of layers: here by three."""
    known = gguf_model._ARCHITECTURES[architecture]
    own = replace(known, widest_layers=3 if widest else known.widest_layers)
    monkeypatch.setitem(gguf_model._ARCHITECTURES, architecture, own)

    def wide_heads(said: dict[str, Any], _: dict[str, np.ndarray]) -> None:
        said |= {f"{architecture}.attention.key_length": 32}

    content = gguf_file.read(tiny.write(tmp_path / "tiny.gguf", architecture, change=wide_heads))
    assert gguf_model.configuration(content, IDS).query_pre_attn_scalar == scale


def says(**changes: Any) -> tiny.Change:
    """Metadata of llama, with ``__`` for the dots; None takes an entry away."""

    def change(said: dict[str, Any], _: dict[str, np.ndarray]) -> None:
        for name, value in changes.items():
            key = f"llama.{name.replace('__', '.')}"
            said.pop(key, None)
            if value is not None:
                said[key] = value

    return change


def has(name: str, values: np.ndarray | None) -> tiny.Change:
    """Another tensor, or none of that name."""

    def change(_: dict[str, Any], there: dict[str, np.ndarray]) -> None:
        there.pop(name, None)
        if values is not None:
            there[name] = values

    return change


FLAT = np.ones(8, np.float32)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (says(block_count=None, context_length=None), "it does not say: block_count, context_length"),
        (says(expert_count=8, expert_used_count=2), "a mixture of experts"),
        (says(rope__scaling__type="yarn"), "scaled by 'yarn'"),
        (says(attention__value_length=8), "different widths"),
        (says(rope__dimension_count=8), "different widths"),
        (says(logit_scale=2.0, residual_scale=3.0), "not understood here: logit_scale, residual_scale"),
        (says(attention__head_count=[4, 4, 4]), r"not understood here: attention\.head_count"),
        (says(attention__head_count="four"), "damaged: values that cannot be, of attention.head_count"),
        (says(attention__head_count=0), "damaged: values that cannot be, of attention.head_count"),
        (says(attention__layer_norm_rms_epsilon=math.nan), "cannot be, of attention.layer_norm_rms_epsilon"),
        (
            says(attention__head_count=5),
            "sizes do not fit together: .* not a multiple of the number of attention heads",
        ),
        (says(attention__key_length=15), "15 wide, which cannot be rotated"),
        (says(block_count=1_000_000), "it says 1,000,000 layers and has 3"),
        (says(feed_forward_length=128), r"9 tensors are missing or of other sizes, .* \(128, 64\)"),
        (has("output_norm.weight", None), r"1 tensors are missing .* output_norm\.weight \(64,\)"),
        (has("token_embd.weight", None), "it has no embeddings"),
        (has("blk.0.attn_q.bias", FLAT), r"1 of its tensors have no place in llama, the first is blk\.0\.attn_q\.bias"),
        (has("rope_freqs.weight", 2 * FLAT), "are not those of Llama 3"),
        (has("rope_freqs.weight", FLAT[:4]), "are not those of Llama 3"),
    ],
)
def test_what_is_not_understood_is_refused(change: tiny.Change, why: str, tmp_path: Path) -> None:
    content = gguf_file.read(tiny.write(tmp_path / "tiny.gguf", change=change))
    with pytest.raises(ModelError, match=why) as error:
        gguf_model.weights(content, gguf_model.configuration(content, IDS))
    assert "tiny.gguf is not a GGUF model that can be read" in str(error.value)


def test_another_architecture_is_named_with_those_that_are_converted(tmp_path: Path) -> None:
    def mamba(said: dict[str, Any], _: dict[str, np.ndarray]) -> None:
        said["general.architecture"] = "mamba"

    content = gguf_file.read(tiny.write(tmp_path / "tiny.gguf", change=mamba))
    with pytest.raises(ModelError, match="its architecture is 'mamba'; these are converted: llama, qwen2") as error:
        gguf_model.configuration(content, IDS)
    assert "hf:owner/name" in str(error.value)
