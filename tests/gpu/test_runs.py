"""Runs on a GPU against the same runs on the CPU, and against themselves after a stop."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from feinschliff.config.generation import SamplingConfig
from feinschliff.engine import loop
from feinschliff.engine.devices import computes_bf16
from feinschliff.engine.step import train_step
from feinschliff.generation.port import Request
from feinschliff.generation.transformers_backend import TransformersBackend
from tests.numerics.tiny_runs import largest_difference, made_fit, made_run, made_splits, weights_of

DEVICE = torch.device("cuda", 0)
PLAIN = {"num_threads": 1, "learning_rate": 1e-3, "epochs": 2.0}
SFT: dict[str, Any] = {**PLAIN, "task": {"type": "sft"}, "method": {"type": "lora", "rank": 4}}
TOLERANCES = {"fp32": 1e-4, "bf16": 3e-2}


def step_of(folder: Path, path: Path, kind: str, **options: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss a target, and the weights after one step, on the CPU."""
    prepared = made_run(folder, path, made_splits(16, 8, kind), **options)
    learner = prepared.learner
    device = "cpu" if options["device"] == "cpu" else "cuda"
    assert {parameter.device.type for parameter in prepared.network.parameters()} == {device}
    loss = train_step(learner, learner.order(0, 0)[:8], 1.0)
    return loss.loss_sum / loss.num_targets, {name: value.cpu() for name, value in learner.masters.named().items()}


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("method", ["lora", "full", "frozen_layers"])
def test_a_step_of_instruction_tuning(tiny_decoder: Path, tmp_path: Path, precision: str, method: str) -> None:
    if precision == "bf16" and not computes_bf16(DEVICE):
        pytest.skip("this GPU does not compute in bf16")
    options = {**SFT, "method": {"type": method}, "precision": precision}
    runs = [step_of(tiny_decoder, tmp_path / where, "conversations", device=where, **options)
            for where in ("cuda", "cpu")]  # fmt: skip
    assert runs[0][0] == pytest.approx(runs[1][0], abs=TOLERANCES[precision])
    # Adam's first step is the sign of the gradient: where that is rounding alone, weights go either way
    assert largest_difference(runs[0][1], runs[1][1]) <= 2.1e-3


@pytest.mark.parametrize("precision", TOLERANCES)
def test_a_step_of_text_classification(tiny_bert: Path, tmp_path: Path, precision: str) -> None:
    options = {**PLAIN, "precision": precision, "model": {"dropout": 0.0}}
    losses = [step_of(tiny_bert, tmp_path / where, "single", device=where, **options)[0] for where in ("cuda", "cpu")]
    assert losses[0] == pytest.approx(losses[1], abs=TOLERANCES[precision])


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tiny_decoder: Path, tmp_path: Path) -> None:
    """To rounding: CUDA's sums are not made in the same order each time."""

    def begun(path: Path, **controls: Any) -> loop.Fit:
        options = {**SFT, "device": "cuda", "checkpoint_every_steps": 1}
        return made_fit(made_run(tiny_decoder, path, made_splits(24, 8, "conversations"), **options), path, **controls)

    whole = begun(tmp_path / "whole")
    list(loop.fit(whole))
    first = begun(tmp_path / "parts", max_seconds=0.0)
    list(loop.fit(first))
    assert 0 < first.state.step < whole.state.step
    loop.save(first)
    second = begun(tmp_path / "parts")
    assert loop.resume(second) == first.state.step
    second.state.stopped_early = False
    list(loop.fit(second))
    assert second.state.step == whole.state.step
    assert largest_difference(weights_of(whole), weights_of(second)) < 1e-4


def test_greedy_answers_are_those_of_transformers(tiny_decoder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_decoder).eval().to(DEVICE)
    tokenizer = AutoTokenizer.from_pretrained(tiny_decoder)
    draw = random.Random(0)
    prompts = [[draw.randrange(5, model.config.vocab_size) for _ in range(length)] for length in (3, 17, 40)]
    backend = TransformersBackend(model, tokenizer)
    found = backend.generate([Request(ids=ids) for ids in prompts], SamplingConfig(max_new_tokens=12))
    assert backend.notes[-1] == "generation: lean layers", backend.notes
    for ids, answer in zip(prompts, found, strict=True):
        given = torch.tensor([ids], device=DEVICE)
        expected = model.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=12, do_sample=False)
        written = expected[0, len(ids) :].tolist()
        assert list(answer.ids) == written[: len(answer.ids)]


def test_the_command_line_says_which_gpu(tiny_decoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                         monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from feinschliff.cli.main import main
    from tests.placement.test_there import LORA, command, write_rows

    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path)
    given = [*command("run", LORA), "--model", str(tiny_decoder), "--training.device", "cuda"]
    assert main(given) == 0
    assert torch.cuda.get_device_name(0) in "".join(capsys.readouterr())
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
    assert json.loads((tmp_path / "run" / "training.json").read_text(encoding="utf-8"))["steps"] == 4
