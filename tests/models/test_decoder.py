"""Decoders of many families on packed tokens: plain transformers on one row after the other gives the same."""

from __future__ import annotations

import copy
import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from feinschliff.engine import causal_attention
from feinschliff.engine.batching import group_by_length
from feinschliff.errors import ModelError
from feinschliff.models import decoder
from feinschliff.models.decoder import StagedDecoder, is_decoder, load_decoder, save_decoder
from tests.models.tiny_decoders import (
    FAMILIES,
    LEAN,
    SHAPE,
    WINDOW,
    body_of,
    config_of,
    model_of,
    save_tiny_decoder,
)

LENGTHS = [1, 3, 9, 30, 70]
"""Two of them longer than the sliding windows."""
ENDS = np.cumsum(LENGTHS).tolist()


def ids_of(vocabulary: int = SHAPE["vocab_size"]) -> Tensor:
    return torch.randint(5, vocabulary, (sum(LENGTHS),), generator=torch.Generator().manual_seed(5))


def states_of(body: StagedDecoder, **stage: Any) -> Tensor:
    """Of all rows end to end."""
    positions = torch.cat([torch.arange(length) for length in LENGTHS])
    return body(ids_of(), positions, group_by_length(LENGTHS), **stage)


def upstream() -> Tensor:
    return torch.randn(sum(LENGTHS), SHAPE["hidden_size"], generator=torch.Generator().manual_seed(6))


def gradients(model: Any, states: Tensor) -> dict[str, Tensor]:
    """Of everything but the projection, which states do not pass."""
    states.backward(upstream())
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_are_those_of_transformers_one_by_one(family: str) -> None:
    """States, logits and gradients by every weight; the reference never meets our code."""
    body, plain = body_of(family), model_of(config_of(family))
    states = states_of(body)
    rows = ids_of().split(LENGTHS)
    expected = torch.cat([plain.model(input_ids=row[None], use_cache=False).last_hidden_state[0] for row in rows])
    expected = expected * body.logit_scale
    torch.testing.assert_close(states, expected, rtol=1e-5, atol=2e-5)
    logits = states @ body.projection.weight.T
    logits = logits if body.softcap is None else body.softcap * torch.tanh(logits / body.softcap)
    theirs = torch.cat([plain(input_ids=row[None], use_cache=False).logits[0] for row in rows])
    torch.testing.assert_close(logits, theirs, rtol=1e-5, atol=5e-5)
    ours, wanted = gradients(body.model, states), gradients(plain, expected)
    assert ours.keys() == wanted.keys()
    assert len(ours) >= 14
    for name, value in wanted.items():
        assert float((ours[name] - value).norm()) < 2e-5 * float(value.norm()), name


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_are_lean_where_they_are_known(family: str) -> None:
    body = body_of(family)
    assert {"forward" in layer.__dict__ for layer in body.layers} == {family in LEAN}
    assert body.check_packing(group_by_length(LENGTHS), LENGTHS) < 5e-5


@pytest.mark.parametrize("family", LEAN)
def test_transformers_itself_still_runs_lean_layers(family: str) -> None:
    """With masks, batches and caches of its own: text is written through them."""
    body, plain = body_of(family), model_of(config_of(family))
    ids = ids_of()[:24].view(2, 12)
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    asked = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    with torch.no_grad():
        ours, theirs = (one.generate(input_ids=ids, attention_mask=mask, **asked) for one in (body.model, plain))
    assert torch.equal(ours, theirs)
    assert body.model.config._attn_implementation == plain.config._attn_implementation


@pytest.mark.parametrize("family", ["llama", "phi3"])
def test_a_copy_of_a_model_computes_with_its_own_weights(family: str) -> None:
    body = body_of(family)
    before, changed = states_of(body).detach(), body_of(family)
    copied = copy.deepcopy(body)
    with torch.no_grad():
        for parameter in (*copied.parameters(), *changed.parameters()):
            parameter.mul_(1.1)
    assert torch.equal(states_of(body).detach(), before)
    assert torch.equal(states_of(copied).detach(), states_of(changed).detach())
    assert not torch.allclose(states_of(copied).detach(), before, atol=1e-2)


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2", "gemma3", "phi3", "deepseek"])
def test_activations_computed_again_give_the_same_gradients(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our attention is at work the second time too."""
    calls: list[int] = []

    def counted(*inputs: Any, **given: Any) -> Any:
        calls.append(1)
        return causal_attention.causal_attention(*inputs, **given)

    kept, again = body_of(family), body_of(family)
    again.checkpointed = True
    wanted = gradients(kept.model, states_of(kept))
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, causal_attention.NAME, counted)
    found = gradients(again.model, states_of(again))
    assert len(calls) == 2 * again.num_layers
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    with torch.no_grad():
        states_of(again)
    assert len(calls) == 3 * again.num_layers


def test_only_large_batches_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    body, calls = body_of("llama"), list[int]()

    def counted(run: Any, *given: Any, **_: Any) -> Any:
        calls.append(1)
        return run(*given)

    monkeypatch.setattr(decoder, "checkpoint", counted)
    for limit, expected in ((None, 0), (sum(LENGTHS), 0), (sum(LENGTHS) - 1, body.num_layers)):
        body.checkpoint_above = limit
        states_of(body)
        assert len(calls) == expected


@pytest.mark.parametrize("family", ["llama", "gemma3", "phi3", "granite"])
def test_running_from_a_layer_on_equals_the_whole(family: str) -> None:
    body = body_of(family, num_hidden_layers=3) if family != "gemma3" else body_of(family)
    with torch.no_grad():
        whole = states_of(body)
        for stop in range(body.num_layers):
            states = states_of(body, stop=stop)
            assert torch.equal(states_of(body, hidden_Td=states, start=stop), whole)
        one, two = (states_of(body, stop=stop) for stop in (1, 2))
        assert not torch.allclose(one, two)


def test_filling_tokens_change_no_other() -> None:
    body, groups = body_of("llama"), group_by_length(LENGTHS)
    positions = torch.cat([torch.arange(length) for length in LENGTHS])
    with torch.no_grad():
        expected = states_of(body)
        filled = body(F.pad(ids_of(), (0, 6), value=7), F.pad(positions, (0, 6)), groups)
    torch.testing.assert_close(filled[: len(expected)], expected, rtol=1e-6, atol=1e-6)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "layers elsewhere": ("GPT2Config", {}, "no embed_tokens, layers, norm, rotary_emb"),
    "no attention": ("MambaConfig", {}, "no embed_tokens, layers, norm, rotary_emb"),
    "sinks": ("GptOssConfig", {"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1}, "takes s_aux"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_models_that_cannot_be_run_layer_by_layer_are_refused(case: str) -> None:
    kind, more, why = REFUSED[case]
    with pytest.raises(ModelError, match=why):
        body_of(kind, **more)


EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
NOT_PLAINLY_CAUSAL: dict[str, tuple[str, dict[str, Any], str]] = {
    "chunks": ("Llama4TextConfig", {"num_local_experts": 2, "head_dim": 8}, "chunked_attention"),
    "linear attention": ("Qwen3NextConfig", EXPERTS, "linear_attention"),
    "a window told to the mask alone": (
        "Qwen2MoeConfig",
        {**EXPERTS, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
        "window that cannot be handed on",
    ),
}


@pytest.mark.parametrize("case", NOT_PLAINLY_CAUSAL)
def test_what_only_long_rows_would_show_is_refused(case: str) -> None:
    kind, more, why = NOT_PLAINLY_CAUSAL[case]
    body = body_of(kind, **more)
    with pytest.raises(ModelError, match=why):
        body.check_packing(group_by_length([3, 5]), [3, 5])


def test_differences_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention to later tokens; packed groups that layers do not hand on; logits computed otherwise."""
    groups = group_by_length(LENGTHS)
    both_ways = body_of("gemma3", use_bidirectional_attention=True)
    assert both_ways.check_packing(groups, LENGTHS) > 0.1
    assert body_of("StableLmConfig").check_packing(groups, LENGTHS) > 0.1
    scaled = body_of("granite")
    monkeypatch.setattr(StagedDecoder, "logit_scale", 1.0)
    assert scaled.check_packing(groups, LENGTHS) > 0.1


def test_names_say_the_depth() -> None:
    body = body_of("llama")
    named = {name: body.depth_of(name) for name, _ in body.named_parameters()}
    assert named["model.model.embed_tokens.weight"] == 0
    assert named["model.model.layers.0.mlp.up_proj.weight"] == 1
    assert named["model.model.layers.1.self_attn.q_proj.weight"] == 2
    assert named["model.model.norm.weight"] == 2
    assert named["model.lm_head.weight"] == 2
    assert body_of("llama", tie_word_embeddings=True).depth_of("model.lm_head.weight") == 0
    assert body.in_layers(body.family.attention_output) == [f"model.layers.{n}.self_attn.o_proj" for n in (0, 1)]
    assert all(body.model.get_submodule(name) for name in body.in_layers(body.family.feed_forward_output))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """With embeddings of their own for the projection, and without."""
    return {
        name: save_tiny_decoder(tmp_path_factory.mktemp(name), tie_word_embeddings=name == "tied")
        for name in ("tied", "untied")
    }


@pytest.mark.parametrize("kind", ["tied", "untied"])
@pytest.mark.parametrize("new_tokens", [(), ("Feinschliff", "<price>")], ids=["", "new tokens"])
def test_what_is_saved_is_what_plain_transformers_loads(
    folders: dict[str, Path], tmp_path: Path, kind: str, new_tokens: tuple[str, ...]
) -> None:
    loaded = load_decoder(folders[kind], causal_attention.NAME, new_tokens)
    body, tokenizer = loaded.body, loaded.tokenizer
    shared = body.projection.weight is body.model.get_input_embeddings().weight
    assert shared is (kind == "tied")
    with torch.no_grad():
        for number, parameter in enumerate(body.parameters()):
            parameter.add_(0.01 * (number + 1))  # as if it were trained
    network = torch.nn.ModuleDict({"body": body})
    save_decoder(loaded, dict(network.named_parameters()), [3, 5], tmp_path)
    plain, again = AutoModelForCausalLM.from_pretrained(tmp_path).eval(), AutoTokenizer.from_pretrained(tmp_path)
    ids = torch.tensor(tokenizer("the Feinschliff is <price> good", add_special_tokens=False)["input_ids"])
    assert again("the Feinschliff is <price> good", add_special_tokens=False)["input_ids"] == ids.tolist()
    assert again.chat_template == tokenizer.chat_template
    with torch.no_grad():
        ours = body.projection(body(ids, torch.arange(len(ids)), group_by_length([len(ids)])))
        torch.testing.assert_close(plain(input_ids=ids[None]).logits[0], ours, rtol=1e-5, atol=1e-5)
    assert ("lm_head.weight" in load_file(tmp_path / "model.safetensors")) is (kind == "untied")
    assert (plain.lm_head.weight is plain.get_input_embeddings().weight) is (kind == "tied")
    assert plain.generation_config.eos_token_id == [3, 5]
    if new_tokens:
        assert len(again) == plain.config.vocab_size == len(plain.lm_head.weight)
        assert {again.convert_ids_to_tokens(int(number)) for number in ids} >= set(new_tokens)


def test_weights_that_are_missing_or_unknown_are_not_made_up(folders: dict[str, Path], tmp_path: Path) -> None:
    loaded = load_decoder(folders["untied"], causal_attention.NAME)
    weights = dict(torch.nn.ModuleDict({"body": loaded.body}).named_parameters())
    with pytest.raises(ModelError, match=r"lm_head\.other"):
        save_decoder(loaded, {**weights, "body.model.lm_head.other": torch.zeros(1)}, [], tmp_path)
    del weights["body.model.lm_head.weight"]
    with pytest.raises(ModelError, match=r"lm_head\.weight"):
        save_decoder(loaded, weights, [], tmp_path)


def test_a_tied_projection_needs_no_weights_of_its_own(folders: dict[str, Path], tmp_path: Path) -> None:
    loaded = load_decoder(folders["tied"], causal_attention.NAME)
    weights = dict(torch.nn.ModuleDict({"body": loaded.body}).named_parameters())
    assert "body.model.lm_head.weight" not in weights
    save_decoder(loaded, weights, [], tmp_path)


def test_what_is_no_weight_is_kept_too(tmp_path: Path) -> None:
    """DeepSeek's router has numbers that are balanced by hand, not by gradients."""
    folder, name = save_tiny_decoder(tmp_path / "base", "deepseek", first_k_dense_replace=1), "e_score_correction_bias"
    plain = AutoModelForCausalLM.from_pretrained(folder)
    dict(plain.named_buffers())[f"model.layers.1.mlp.gate.{name}"].copy_(torch.tensor([0.5, -0.25]))
    plain.save_pretrained(folder)
    loaded = load_decoder(folder, causal_attention.NAME)
    weights = dict(torch.nn.ModuleDict({"body": loaded.body}).named_parameters())
    save_decoder(loaded, weights, [], tmp_path / "saved")
    files = [load_file(path / "model.safetensors") for path in (folder, tmp_path / "saved")]
    assert files[0].keys() == files[1].keys()
    assert all(torch.equal(files[0][name], files[1][name]) for name in files[0])


def test_where_writing_stops(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["tied"], tmp_path / "model")
    eos = AutoTokenizer.from_pretrained(folder).eos_token_id
    for given, expected in ((None, [eos]), (3, [3, eos]), ([3, 4, eos], [3, 4, eos])):
        GenerationConfig(eos_token_id=given).save_pretrained(folder)
        loaded = load_decoder(folder, causal_attention.NAME)
        assert decoder.end_ids(loaded) == sorted(expected)
    decoder.set_end_ids(loaded, [9, 7])
    assert loaded.body.model.generation_config.eos_token_id == [7, 9]


def test_settings_for_writing_that_contradict_each_other_can_be_saved(folders: dict[str, Path], tmp_path: Path) -> None:
    """Some authors publish a temperature without sampling, which transformers refuses to write."""
    folder = shutil.copytree(folders["tied"], tmp_path / "model")
    file = folder / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "temperature": 0.6, "do_sample": False}))
    loaded = load_decoder(folder, causal_attention.NAME)
    weights = dict(torch.nn.ModuleDict({"body": loaded.body}).named_parameters())
    save_decoder(loaded, weights, [3], tmp_path / "saved")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "saved").generation_config.eos_token_id == [3]


def test_the_limit_is_the_smaller_one(folders: dict[str, Path], tmp_path: Path) -> None:
    assert load_decoder(folders["tied"], causal_attention.NAME).max_length_tokens == 256
    folder = shutil.copytree(folders["tied"], tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 100}))
    assert load_decoder(folder, causal_attention.NAME).max_length_tokens == 100


def test_rows_never_reach_where_one_would_change_how_others_are_turned(tmp_path: Path) -> None:
    """Phi 3 takes other frequencies for a whole batch as soon as one row is longer than it was first trained on."""
    turns = {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [9.0] * 4}
    changes = {"rope_scaling": turns, "original_max_position_embeddings": 64, "sliding_window": None}
    loaded = load_decoder(save_tiny_decoder(tmp_path, "phi3", **changes), causal_attention.NAME)
    assert loaded.max_length_tokens == 64
    lengths = [5, 64]
    assert loaded.body.check_packing(group_by_length(lengths), lengths) < 1e-4
    assert loaded.body.check_packing(group_by_length([5, 65]), [5, 65]) > 0.1, "why there is a limit"


def test_slow_layers_are_announced(tmp_path: Path, folders: dict[str, Path]) -> None:
    assert load_decoder(folders["tied"], causal_attention.NAME).announcements == []
    (said,) = load_decoder(save_tiny_decoder(tmp_path, "phi3"), causal_attention.NAME).announcements
    assert "layers of phi3 run as transformers computes them" in said


def test_other_models_are_refused(tiny_bert: Path, tiny_bart: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    assert is_decoder(folders["tied"])
    for folder in (tiny_bert, tiny_bart, tmp_path):
        assert not is_decoder(folder)
        with pytest.raises(ModelError, match="is no decoder language model"):
            load_decoder(folder, causal_attention.NAME)
    broken = shutil.copytree(folders["tied"], tmp_path / "broken")
    content = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_decoder(broken, causal_attention.NAME)


def test_losses_of_a_row_are_those_of_its_labels() -> None:
    plain = model_of(config_of("gemma2"))
    ids = ids_of()[:20].numpy()
    targets = np.append(ids[1:], 11).astype(np.int64)
    targets[[0, 3, 7]] = -100
    losses = decoder.plain_token_losses(plain, ids[:20], targets)
    labels = torch.from_numpy(np.concatenate([[-100], targets]))[None]
    with torch.no_grad():
        expected = plain(input_ids=torch.from_numpy(np.append(ids, 11))[None], labels=labels).loss
    assert losses.shape == (17,)
    assert float(losses.mean()) == pytest.approx(float(expected), abs=1e-5)


def test_probabilities_are_of_the_saved_folder(folders: dict[str, Path]) -> None:
    loaded = load_decoder(folders["untied"], causal_attention.NAME)
    rows = []
    for start, end in pairwise([0, 3, 8]):
        targets = np.arange(10 + start, 10 + end)
        targets[0] = -100
        rows.append((ids_of()[start:end].numpy(), targets))
    found = decoder.plain_token_probabilities(folders["untied"], rows, lambda model: model)
    expected = []
    with torch.no_grad():
        for ids, targets in rows:
            states = loaded.body(torch.from_numpy(ids), torch.arange(len(ids)), None)
            probabilities = torch.softmax(loaded.body.projection(states), -1)
            expected.append(probabilities[torch.arange(1, len(ids)), torch.from_numpy(targets[1:])])
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-4, atol=1e-6)
    none = decoder.plain_token_probabilities(folders["untied"], [], lambda model: model)
    assert none.shape == (0,)
