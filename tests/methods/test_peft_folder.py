"""Adapters in PEFT's format, both ways: PEFT computes what our body computes, and we what PEFT's does."""

from __future__ import annotations

import copy
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor
from transformers import AutoModel, BertConfig, BertForSequenceClassification, BertModel

from feinschliff.engine import loop
from feinschliff.errors import ConfigError
from feinschliff.lifecycle.finish import export_best, over_base
from feinschliff.lifecycle.prepare import Prepared
from feinschliff.store.run_directory import RunDirectory
from tests.numerics.tiny_runs import made_fit, made_run, made_splits, resolved

IDS = torch.tensor([2, 70, 81, 92, 75, 101, 3])
FAR = 1e-2
"""Hidden states of an adapter and of the base differ by more, or nothing would be proved."""
LORA = {"type": "lora", "rank": 4}
VARIANTS: dict[str, dict[str, Any]] = {
    "lora": LORA,
    "rslora": {**LORA, "rslora": True},
    "dora": {**LORA, "dora": True},
    "pissa": {**LORA, "pissa": True},
    "pissa rslora": {**LORA, "pissa": True, "rslora": True, "ranks": ("query=8",), "alphas": ("layer.1=5",)},
    "pissa dora": {**LORA, "pissa": True, "dora": True},
    "rslora ranks": {**LORA, "rslora": True, "ranks": ("query=8", "layer.1=2"), "alphas": ("value=3.5",)},
    "some layers": {**LORA, "target_modules": ("query", "layer.2.output.dense")},
    "ia3": {"type": "ia3"},
}
PEFTS: dict[str, Any] = {
    "lora": peft.LoraConfig(r=3, lora_alpha=7, target_modules=["query", "output.dense"]),
    "rslora": peft.LoraConfig(r=3, use_rslora=True, target_modules="all-linear"),
    "dora": peft.LoraConfig(r=3, use_dora=True, target_modules=["key", "value"]),
    "pissa": peft.LoraConfig(r=3, init_lora_weights="pissa", target_modules=["key", "value"]),
    "patterns": peft.LoraConfig(
        r=3,
        lora_alpha=6,
        target_modules=r".*layer\.[12]\..*(query|dense)",
        rank_pattern={"query": 5, "1.output.dense": 2},
        alpha_pattern={r"layer\.2\..*query": 9},
    ),
    "ia3": peft.IA3Config(
        target_modules=["key", "value", "intermediate.dense", "output.dense"], feedforward_modules=["output.dense"]
    ),
}


@torch.no_grad()
def moved(prepared: Prepared) -> Prepared:
    """Trained weights far from where they started, as masters hold them."""
    generator = torch.Generator().manual_seed(5)
    for name, master in prepared.learner.masters.named().items():
        if ".lora_" in name or ".ia3_" in name:
            master.add_(torch.randn(master.shape, generator=generator), alpha=0.3)
    prepared.learner.masters.publish()
    return prepared


@torch.no_grad()
def ours(prepared: Prepared) -> Tensor:
    """Hidden states [T, d]."""
    states: Tensor = prepared.network.eval().body(IDS, torch.arange(len(IDS)), None, None)
    return states


@torch.no_grad()
def theirs(model: Any) -> Tensor:
    """Hidden states [T, d]."""
    states: Tensor = model.eval()(input_ids=IDS[None]).last_hidden_state[0]
    return states


def saved(prepared: Prepared, base: Path, folder: Path) -> Path:
    network, weights = over_base(prepared, prepared.learner.masters.named(), resolved(base))
    assert prepared.method.save_adapter(network, weights, folder, "some/base")
    return folder


@torch.no_grad()
def made_by_peft(base: Path, folder: Path, config: Any) -> Tensor:
    """An adapter made by PEFT alone, far from where it started, and its hidden states."""
    torch.manual_seed(4)
    model = peft.get_peft_model(AutoModel.from_pretrained(base, add_pooling_layer=False), copy.deepcopy(config))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn(parameter.shape), alpha=0.3)
    model.save_pretrained(folder)
    return theirs(model)


@pytest.mark.parametrize("variant", VARIANTS)
def test_peft_computes_what_our_body_computes(tiny_bert: Path, tmp_path: Path, variant: str) -> None:
    prepared = moved(made_run(tiny_bert, tmp_path, method=VARIANTS[variant]))
    folder = saved(prepared, tiny_bert, tmp_path / "adapter")
    base = AutoModel.from_pretrained(tiny_bert)
    plain = theirs(base)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a key that is missing is only a warning
        model = peft.PeftModel.from_pretrained(base, folder)
    torch.testing.assert_close(theirs(model), ours(prepared), rtol=1e-5, atol=1e-5)
    assert float((theirs(model) - plain).abs().max()) > FAR
    torch.testing.assert_close(theirs(model.merge_and_unload()), ours(prepared), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_was_written_can_be_gone_on_from(tiny_bert: Path, tmp_path: Path, variant: str) -> None:
    method = VARIANTS[variant]
    prepared = moved(made_run(tiny_bert, tmp_path, method=method))
    folder = saved(prepared, tiny_bert, tmp_path / "adapter")
    again = made_run(tiny_bert, tmp_path, method={"type": method["type"], "init_from": str(folder)})
    torch.testing.assert_close(ours(again), ours(prepared), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", PEFTS)
def test_an_adapter_made_by_peft_is_the_start(tiny_bert: Path, tmp_path: Path, kind: str) -> None:
    expected = made_by_peft(tiny_bert, tmp_path / "made", PEFTS[kind])
    method = {"type": "ia3" if kind == "ia3" else "lora", "init_from": str(tmp_path / "made")}
    prepared = made_run(tiny_bert, tmp_path, method=method)
    torch.testing.assert_close(ours(prepared), expected, rtol=1e-5, atol=1e-5)
    network = prepared.network
    with torch.no_grad(), prepared.method.reference(network):
        inside = ours(prepared)
    assert float((inside - expected).abs().max()) > FAR
    torch.testing.assert_close(inside, theirs(AutoModel.from_pretrained(tiny_bert)), rtol=1e-5, atol=1e-5)
    shutil.rmtree(tmp_path / "made")  # what is finished later does not need it
    list(loop.fit(made_fit(prepared, tmp_path)))
    model = peft.PeftModel.from_pretrained(
        AutoModel.from_pretrained(tiny_bert), saved(prepared, tiny_bert, tmp_path / "adapter")
    )
    torch.testing.assert_close(theirs(model), ours(prepared), rtol=1e-5, atol=1e-5)


def test_an_adapter_made_under_a_head_is_the_start_without_it(tiny_bert: Path, tmp_path: Path) -> None:
    config = peft.LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS")
    model = peft.get_peft_model(BertForSequenceClassification.from_pretrained(tiny_bert), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    model.save_pretrained(tmp_path / "made")
    prepared = made_run(tiny_bert, tmp_path, method={"type": "lora", "init_from": str(tmp_path / "made")})
    torch.testing.assert_close(ours(prepared), theirs(model.base_model.model.bert), rtol=1e-5, atol=1e-5)


def test_the_configuration_says_what_it_is_for(tiny_bert: Path, tmp_path: Path) -> None:
    texts = []
    for place in ("a", "b"):
        prepared = made_run(tiny_bert, tmp_path, method={**LORA, "ranks": ("layer.0=2",)})
        texts.append((saved(prepared, tiny_bert, tmp_path / place) / "adapter_config.json").read_text())
    assert texts[0] == texts[1]
    config = json.loads(texts[0])
    assert config["base_model_name_or_path"] == "some/base"
    assert config["inference_mode"] is True
    assert config["r"] == 4
    assert config["rank_pattern"]["encoder.layer.0.attention.self.query"] == 2
    assert len(config["target_modules"]) == 18
    assert config["target_modules"] == sorted(config["target_modules"])


@pytest.mark.parametrize("method", [LORA, {"type": "ia3"}, {"type": "bitfit"}], ids=lambda method: method["type"])
def test_a_run_writes_it_beside_its_model(tiny_bert: Path, tmp_path: Path, method: dict[str, Any]) -> None:
    splits = made_splits(24, 12)
    prepared = made_run(tiny_bert, tmp_path, splits, method=method)
    fit = made_fit(prepared, tmp_path)
    list(loop.fit(fit))
    directory = RunDirectory(tmp_path / "run")
    for _ in range(2):  # a second time, as after a kill
        export_best(prepared, loop.best_file(fit), resolved(tiny_bert), splits, directory)
    files = sorted(path.name for path in directory.adapter.iterdir()) if directory.adapter.exists() else []
    assert files == ([] if method["type"] == "bitfit" else ["adapter_config.json", "adapter_model.safetensors"])
    assert list(directory.path.glob(".*.tmp")) == []


def refusal(base: Path, tmp_path: Path, **method: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        made_run(base, tmp_path, method={"type": "lora", **method})
    return str(caught.value)


def test_a_folder_without_an_adapter_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    assert "there is no adapter_config.json in it" in refusal(tiny_bert, tmp_path, init_from=str(tiny_bert))
    assert "holds no PEFT adapter" in refusal(tiny_bert, tmp_path, init_from=str(tmp_path / "missing"))
    (tmp_path / "adapter_config.json").write_text("{")
    assert "cannot be read" in refusal(tiny_bert, tmp_path, init_from=str(tmp_path))


def test_an_adapter_of_another_type_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    made_by_peft(tiny_bert, tmp_path / "made", PEFTS["ia3"])
    assert "of type IA3, not LORA" in refusal(tiny_bert, tmp_path, init_from=str(tmp_path / "made"))
    made_by_peft(tiny_bert, tmp_path / "lora", PEFTS["lora"])
    said = refusal(tiny_bert, tmp_path, type="ia3", init_from=str(tmp_path / "lora"))
    assert "of type LORA, not IA3" in said


def test_pickled_weights_are_not_read(tiny_bert: Path, tmp_path: Path) -> None:
    made_by_peft(tiny_bert, tmp_path, PEFTS["lora"])
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    assert "pickled weights are not read" in refusal(tiny_bert, tmp_path, init_from=str(tmp_path))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"no weights")
    assert "cannot be read" in refusal(tiny_bert, tmp_path, init_from=str(tmp_path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_size": 64}, ["does not fit this base model", "[3, 64] there, [3, 32] here", "it says:"]),
        ({"num_hidden_layers": 4}, ["a layer that this base model does not have: encoder.layer.3", "encoder.layer.N"]),
    ],
)
def test_an_adapter_of_another_base_is_refused(
    tiny_bert: Path, tmp_path: Path, change: dict[str, int], words: list[str]
) -> None:
    BertModel(BertConfig.from_pretrained(tiny_bert, **change)).save_pretrained(tmp_path / "other")
    made_by_peft(tmp_path / "other", tmp_path / "made", PEFTS["lora"])
    said = refusal(tiny_bert, tmp_path, init_from=str(tmp_path / "made"))
    assert [word for word in words if word not in said] == []


def test_a_tensor_that_is_missing_or_unknown_is_named(tiny_bert: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    made_by_peft(tiny_bert, tmp_path, PEFTS["lora"])
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    name = "base_model.model.encoder.layer.1.attention.self.query.lora_B"
    tensors[f"{name}.bias"] = tensors.pop(f"{name}.weight")
    save_file(tensors, file)
    said = refusal(tiny_bert, tmp_path, init_from=str(tmp_path))
    assert f"{name}.bias: not known" in said
    assert f"{name}.weight: not there" in said


@pytest.mark.parametrize(
    ("key", "value"),
    [("init_lora_weights", "pissa_niter_16"), ("init_lora_weights", "olora"), ("bias", "all"), ("lora_bias", True)],
)
def test_kinds_that_mean_something_else_are_refused(tiny_bert: Path, tmp_path: Path, key: str, value: Any) -> None:
    made_by_peft(tiny_bert, tmp_path, PEFTS["lora"])
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, key: value}))
    assert f"its {key} is {value!r}" in refusal(tiny_bert, tmp_path, init_from=str(tmp_path))


def test_what_was_asked_for_beside_it_must_not_contradict(tiny_bert: Path, tmp_path: Path) -> None:
    made_by_peft(tiny_bert, tmp_path / "made", PEFTS["lora"])
    start = str(tmp_path / "made")
    made_run(tiny_bert, tmp_path, method={"type": "lora", "init_from": start, "rank": 3, "alpha": 7.0})
    for field, value in {"rank": 8, "dora": True, "pissa": True, "target_modules": ("key",)}.items():
        said = refusal(tiny_bert, tmp_path, init_from=start, **{field: value})
        assert f"method.{field} = {value} contradicts the adapter" in said
