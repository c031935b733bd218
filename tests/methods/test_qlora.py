"""QLoRA: adapters learn over a base in fewer bits, merge into the base as it was, and both losses are said."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from feinschliff.cli.main import main
from feinschliff.config import rules
from feinschliff.config.run import RunConfig
from feinschliff.engine import loop, prefix_cache
from feinschliff.engine.batching import collate
from feinschliff.errors import ConfigError
from feinschliff.lifecycle.finish import over_base, whole_weights
from feinschliff.lifecycle.parameters import count_parameters
from feinschliff.lifecycle.prepare import Prepared
from feinschliff.models.quantised import QuantisedLinear, quantised_layers
from feinschliff.results.training import TrainingResult
from tests.numerics.test_golden_sft import command, desk, losses_of  # noqa: F401
from tests.numerics.test_resume import outcome, stopped_then_finished
from tests.numerics.tiny_runs import made_fit, made_run, made_splits, resolved, train_to_end

KINDS = ("int8", "nf4")
ERRORS = {"int8": (1e-4, 0.01), "nf4": (0.05, 0.11)}
"""Of the weights, relative: at least and at most."""


def made(folder: Path, path: Path, kind: str, method: dict[str, Any] | None = None, **changes: Any) -> Prepared:
    splits = made_splits(24, 8, "conversations")
    asked = {"type": "lora", "rank": 4, "quantization": kind, **(method or {})}
    return made_run(folder, path, splits, task={"type": "sft"}, method=asked, **changes)


def states(prepared: Prepared, network: Any = None) -> torch.Tensor:
    with torch.no_grad():
        batch = collate(prepared.validation.table, torch.arange(8).numpy())  # type: ignore[arg-type]
        found: torch.Tensor = (network or prepared.network).eval().features(batch)
        return found


@pytest.mark.parametrize("kind", KINDS)
def test_training_begins_at_the_base_with_rounded_weights(tiny_decoder: Path, tmp_path: Path, kind: str) -> None:
    """The same states as a plain network into which the dequantised weights are written."""
    ours, plain = made(tiny_decoder, tmp_path, kind), made(tiny_decoder, tmp_path, "none")
    base = states(plain)
    layers = dict(plain.network.named_modules())
    changed = {n: m for n, m in ours.network.named_modules() if isinstance(m, QuantisedLinear)}
    for name, layer in changed.items():
        layers[name].weight.data = layer.whole(torch.float32)
    assert len(changed) == 14
    torch.testing.assert_close(states(ours), states(plain), rtol=0.0, atol=1e-5)
    assert float((states(ours) - base).abs().max()) > 1e-3, "rounding shows"
    held = ours.method.quantised
    low, high = ERRORS[kind]
    assert low < held.relative_error < high
    assert count_parameters(ours.network) == count_parameters(plain.network)
    assert held.sentence in ours.announcements
    assert not any("base held" in said for said in plain.announcements)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("variant", [{}, {"dora": True}, {"rslora": True, "dropout": 0.1}])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trained_is_merged_into_the_base_as_it_was(
    tiny_decoder: Path, tmp_path: Path, kind: str, variant: dict[str, Any], precision: str
) -> None:
    """W + s B A of the W in the folder; and the packed weights are not touched by training."""
    prepared = made(tiny_decoder, tmp_path, kind, variant, precision=precision, learning_rate=1e-2)
    codes = [layer.codes.clone() for layer in quantised_layers(prepared.network)]
    fit = made_fit(prepared, tmp_path)
    list(loop.fit(fit))
    curve = [point.train_loss for point in fit.state.curve if point.train_loss is not None]
    assert curve[-1] < curve[0] - 0.1, "something is learned"
    for layer, before in zip(quantised_layers(prepared.network), codes, strict=True):
        assert torch.equal(layer.codes, before)
        assert layer.scales.dtype == torch.float32
    trained = prepared.learner.masters.named()
    base, weights = over_base(prepared, trained, resolved(tiny_decoder))
    assert quantised_layers(base) == []
    merged = prepared.method.merged_weights(base, weights)
    name = "body.model.model.layers.1.mlp.down_proj"
    file = load_file(tiny_decoder / "model.safetensors")
    start = file[name.removeprefix("body.model.") + ".weight"]
    assert torch.equal(weights[f"{name}.base_layer.weight"], start)
    layer = base.get_submodule(name)
    update = trained[f"{name}.lora_B.default.weight"] @ trained[f"{name}.lora_A.default.weight"]
    expected = start + layer.scaling["default"] * update
    if "dora" in variant:
        length = trained[f"{name}.lora_magnitude_vector.default.weight"]
        expected = expected * (length / expected.norm(dim=1))[:, None]
    torch.testing.assert_close(merged[f"{name}.weight"], expected, rtol=1e-5, atol=1e-6)


def test_switched_off_it_is_the_quantised_base(tiny_decoder: Path, tmp_path: Path) -> None:
    prepared = made(tiny_decoder, tmp_path, "nf4", learning_rate=1e-2)
    before = states(prepared)
    list(loop.fit(made_fit(prepared, tmp_path)))
    trained = states(prepared)
    assert float((trained - before).abs().max()) > 0.1
    with prepared.method.reference(prepared.network) as reference:
        assert torch.equal(states(prepared, reference), before)
    assert torch.equal(states(prepared), trained)


def asked_for(model: Path, kind: str, fraction: str = "0.25", output_dir: str = "run") -> list[str]:
    """The command of the golden runs, on fewer rows where some are spared for validation."""
    asked = [*command(model, "lora", output_dir), "--task", "sft", "--method.quantization", kind]
    asked[asked.index("--data.validation-fraction") + 1] = fraction
    return asked


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_run_says_what_merging_came_to(tiny_decoder: Path, desk: Path, kind: str) -> None:  # noqa: F811
    """Through the command line: bits, bytes and error before training, both losses after; the folder is plain."""
    assert main(asked_for(tiny_decoder, kind)) == 0
    result = TrainingResult.model_validate_json((desk / "run" / "training.json").read_text(encoding="utf-8"))
    held, saved = result.quantised_base, load_file(desk / "run" / "model" / "model.safetensors")
    assert held is not None
    assert held.quantization == kind
    linear = [value for name, value in saved.items() if name.endswith("proj.weight")]
    assert (held.layers, held.weights) == (len(linear), sum(value.numel() for value in linear))
    assert all(value.dtype == torch.float32 for value in saved.values())
    assert held.validation_loss is not None
    assert held.merged_validation_loss is not None
    assert held.validation_loss != held.merged_validation_loss
    assert abs(held.validation_loss - held.merged_validation_loss) < 0.2
    (said,) = (one for one in result.announcements if one.startswith("merged into the full-precision base"))
    figures = [float(number) for number in re.findall(r"\d\.\d{4}", said)]
    assert figures == [round(held.merged_validation_loss, 4), round(held.validation_loss, 4)]
    assert main(["evaluate", "run"]) == 0
    losses = losses_of(desk / "run")
    assert losses[-1] < losses[0] - 0.1


def test_the_merged_loss_is_that_of_the_merged_weights(tiny_decoder: Path, desk: Path) -> None:  # noqa: F811
    """What a run ends with that starts at the model folder and stays there."""
    assert main(asked_for(tiny_decoder, "nf4")) == 0
    held = json.loads((desk / "run" / "training.json").read_text())["quantised_base"]
    plain = asked_for(desk / "run" / "model", "none", output_dir="plain")
    plain[plain.index("--training.learning-rate") + 1] = "1e-12"
    assert main(plain) == 0
    started = json.loads((desk / "plain" / "training.json").read_text())["curve"][-1]["validation_loss"]
    assert started == pytest.approx(held["merged_validation_loss"], abs=1e-5)


def test_without_validation_rows_nothing_is_compared(tiny_decoder: Path, desk: Path) -> None:  # noqa: F811
    assert main(asked_for(tiny_decoder, "int8", "0")) == 0
    result = TrainingResult.model_validate_json((desk / "run" / "training.json").read_text(encoding="utf-8"))
    assert result.quantised_base is not None
    assert result.quantised_base.merged_validation_loss is None
    assert any("no validation rows" in one and "int8" in one for one in result.announcements)


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_and_resumed_is_the_run_left_alone(tiny_decoder: Path, tmp_path: Path, kind: str) -> None:
    changes: dict[str, Any] = {
        "kind": "conversations",
        "task": {"type": "sft"},
        "method": {"type": "lora", "rank": 4, "quantization": kind},
        "precision": "bf16",
        "model": {},
    }
    expected = stopped_then_finished(tiny_decoder, tmp_path / "alone", [], **changes)
    assert expected["counts"][0] == 10
    assert stopped_then_finished(tiny_decoder, tmp_path / "a", [2, 5], **changes) == expected
    plain = {**changes, "method": {"type": "lora", "rank": 4}}
    assert stopped_then_finished(tiny_decoder, tmp_path / "plain", [], **plain)["weights"] != expected["weights"]


def test_layers_computed_twice_give_the_same(tiny_decoder: Path, tmp_path: Path) -> None:
    once = train_to_end_of(tiny_decoder, tmp_path / "once", checkpointed=False)
    assert train_to_end_of(tiny_decoder, tmp_path / "twice", checkpointed=True)["weights"] == once["weights"]


def train_to_end_of(folder: Path, path: Path, *, checkpointed: bool) -> dict[str, Any]:
    prepared = made(folder, path, "nf4")
    prepared.network.body.checkpointed = checkpointed
    fit = made_fit(prepared, path)
    list(loop.fit(fit))
    return outcome(fit)


def test_a_kept_prefix_is_known_by_its_packed_weights(tiny_decoder: Path, tmp_path: Path) -> None:
    """Adapters on the upper layer alone: the lower one is computed once, from what its codes say."""
    method = {"target_modules": ["layers.1.self_attn.q_proj"]}
    prepared = made(tiny_decoder, tmp_path, "nf4", method)
    stage, table = prepared.network.frozen_prefix(), prepared.learner.table
    assert stage is not None
    assert "body.model.model.layers.0.mlp.up_proj.codes" in stage.parameter_names
    key = prefix_cache.cache_key(prepared.network, stage, table)
    assert key == prepared.learner.cache.key  # type: ignore[union-attr]
    prepared.network.body.layers[0].mlp.up_proj.codes[0] ^= 1
    assert prefix_cache.cache_key(prepared.network, stage, table) != key
    cached = train_to_end(tiny_decoder, tmp_path / "c", **same_run(method, "auto"))
    computed = train_to_end(tiny_decoder, tmp_path / "o", **same_run(method, "off"))
    losses = [[point.train_loss for point in fit.state.curve] for fit in (cached, computed)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def same_run(method: dict[str, Any], prefix: str) -> dict[str, Any]:
    asked = {"type": "lora", "rank": 4, "quantization": "nf4", **method}
    splits = made_splits(24, 8, "conversations")
    return {"splits": splits, "task": {"type": "sft"}, "method": asked, "prefix_cache": prefix}


def test_the_network_writes_over_its_quantised_base(tiny_decoder: Path, tmp_path: Path) -> None:
    """As a plain network with the dequantised weights does: layers with adapters, and others without any parameter."""
    target = {"target_modules": ["q_proj"]}
    ours, plain = made(tiny_decoder, tmp_path, "nf4", target), made(tiny_decoder, tmp_path, "none", target)
    layers = dict(plain.network.named_modules())
    for name, layer in ours.network.named_modules():
        if isinstance(layer, QuantisedLinear):
            layers[name].weight.data = layer.whole(torch.float32)
    rows = made_splits(24, 4, "conversations").validation
    texts = [prepared.task.written(rows, None).texts for prepared in (ours, plain)]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 4


def test_untrained_it_merges_to_the_base_to_the_bit(tiny_decoder: Path, tmp_path: Path) -> None:
    prepared = made(tiny_decoder, tmp_path, "int8")
    merged = whole_weights(prepared, prepared.learner.masters.named(), resolved(tiny_decoder))
    file = load_file(tiny_decoder / "model.safetensors")
    for name, value in file.items():
        assert torch.equal(merged[f"body.model.{name}"], value), "B is zero: nothing was trained"


@pytest.mark.parametrize("task", ["text_classification", "sequence_to_sequence", "embeddings", "image_classification"])
def test_other_tasks_refuse_it(task: str) -> None:
    config = RunConfig.model_validate({"task": {"type": task}, "method": {"type": "lora", "quantization": "nf4"}})
    (fault,) = (one for one in rules.check(config) if one.where == "method.quantization")
    assert "--task sft" in fault.remedy
    assert task in fault.what
    assert fault.why
    whole = RunConfig.model_validate({"task": {"type": task}, "method": {"type": "lora"}})
    assert [one for one in rules.check(whole) if one.where == "method.quantization"] == []


def test_packed_weights_are_not_divided_over_processes() -> None:
    asked = {"task": {"type": "sft"}, "training": {"parallelism": "fsdp"}, "method": {"type": "lora"}}
    assert rules.check(RunConfig.model_validate(asked)) == []
    asked["method"]["quantization"] = "int8"
    (fault,) = rules.check(RunConfig.model_validate(asked))
    assert "not divided" in fault.why


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method.type", "lora", "--method.pissa", "true", "--method.quantization", "nf4"], "leave out pissa"),
        (["--method.type", "full", "--method.quantization", "nf4"], "unknown option --method.quantization"),
        (["--method.type", "lora", "--method.quantization", "nf3"], "nf4"),
    ],
)
def test_wrong_uses_are_refused_before_anything_is_read(
    desk: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
) -> None:
    assert main(["train", "rows.jsonl", "--task.type", "sft", "--output-dir", "run", *options]) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert said in shown
    assert "Traceback" not in shown
    assert not (desk / "run" / "model").exists()


def test_an_adapter_of_pissa_is_no_start(tiny_decoder: Path, tmp_path: Path) -> None:
    import peft
    from transformers import AutoModelForCausalLM

    plain: Any = AutoModelForCausalLM.from_pretrained(tiny_decoder)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights="pissa")
    peft.get_peft_model(plain, config).save_pretrained(tmp_path / "adapter")
    method = {"type": "lora", "quantization": "nf4", "init_from": str(tmp_path / "adapter")}
    with pytest.raises(ConfigError, match="one of PiSSA"):
        made_run(tiny_decoder, tmp_path, made_splits(24, 8, "conversations"), task={"type": "sft"}, method=method)
