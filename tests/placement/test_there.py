"""Whole runs on a device that is none (see ``pretend``): everything is where it is computed with, and the ways for
accelerators give what the CPU's give, to rounding. CUDA's own kernels are met in ``tests/gpu`` only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from feinschliff import settings
from feinschliff.cli.main import main
from tests.conftest import REPOSITORY
from tests.models.tiny_decoders import save_tiny_decoder
from tests.numerics.test_golden_sft import losses_of
from tests.numerics.tiny_runs import examples

STEPS = 4
OPTIONS = (
    "--training.max-steps", str(STEPS), "--training.global-batch-rows", "6", "--training.micro-batch-tokens", "128",
    "--training.learning-rate", "3e-3", "--training.num-threads", "1", "--model.dropout", "0.0",
    "--data.validation-fraction", "0.2", "--data.test-fraction", "0.2",
)  # fmt: skip
FP32, BF16 = ("--training.precision", "fp32"), ("--training.precision", "bf16")
ROWS = {"conversations": "chats.jsonl", "single": "labels.csv", "values": "values.csv"}
LORA = ("conversations", "llama with biases", *FP32, "--method.type", "lora")
RUNS: dict[str, tuple[str, ...]] = {
    "adapters": LORA,
    "bf16 with masters": ("conversations", "llama with biases", *BF16, "--method.type", "full"),
    "a window behind a cached prefix": (
        "conversations", "mistral", *FP32, "--method.type", "frozen_layers", "--method.trained-layers", "1",
    ),
    "capped scores": ("conversations", "gemma2", *FP32, "--method.type", "full"),
    "classes, all cached": ("single", "bert", *FP32, "--task.type", "text_classification",
                            "--method.type", "frozen_layers", "--method.trained-layers", "0"),
    "classes": ("single", "bert", *FP32, "--task.type", "text_classification", "--method.type", "full"),
    "numbers": ("values", "bert", *FP32, "--task.type", "regression", "--method.type", "lora"),
}  # fmt: skip
"""Kind of rows, model, options."""


def command(name: str, run: tuple[str, ...]) -> list[str]:
    """To train ``run`` into the folder ``name``."""
    kind, model, *options = run
    return ["train", ROWS[kind], "--model", model, "--output-dir", name, *OPTIONS, *options]


def write_rows(folder: Path) -> None:
    """The files of ``ROWS``."""
    found = (row.conversation for row in examples(32, 1, "conversations"))
    chats = [{"messages": [message.as_given() for message in one.messages]} for one in found if one is not None]
    (folder / ROWS["conversations"]).write_text("\n".join(map(json.dumps, chats)), encoding="utf-8")
    for kind in ("single", "values"):
        lines = [f"{row.texts[0]},{(row.labels or row.values)[0]}" for row in examples(48, 1, kind)]
        (folder / ROWS[kind]).write_text("\n".join(["text,label", *lines]), encoding="utf-8")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A folder in which every run was made on the pretended device, by one process: ``there.json`` has what it said."""
    folder = tmp_path_factory.mktemp("there")
    write_rows(folder)
    (folder / "bert").symlink_to(tiny_bert)
    for family in ("llama with biases", "mistral", "gemma2"):
        (folder / family).mkdir()
        save_tiny_decoder(folder / family, family)
    commands = [command(f"there/{name}", run) for name, run in RUNS.items()]
    stopped = command("there/stopped", LORA)
    commands += [["--stop-after", "2", *stopped], stopped, ["evaluate", "there/adapters"]]
    (folder / "commands.json").write_text(json.dumps(commands), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tests.placement.there", "commands.json"], cwd=folder, env=environment(folder),
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder / "there.json").write_text(json.dumps([done.stdout, done.stderr]), encoding="utf-8")
    return folder


def environment(folder: Path) -> dict[str, str]:
    """For a child: our own packages, a cache of its own."""
    given = {"FEINSCHLIFF_CACHE": str(folder / "cache"), "FEINSCHLIFF_OFFLINE": "1", "NO_COLOR": "1"}
    paths = os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)])
    return settings.child_environment(PYTHONPATH=paths, **given)


@pytest.fixture
def here(desk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, for runs of this process on the CPU."""
    monkeypatch.chdir(desk)
    for name, value in environment(desk).items():
        if name.startswith("FEINSCHLIFF"):
            monkeypatch.setenv(name, value)
    return desk


def weights_of(run: Path) -> dict[str, Any]:
    """What was written of it."""
    found = [*run.glob("model/*.safetensors"), *run.glob("model/adapter/*.safetensors")]
    assert found
    return {f"{file.name}:{name}": value for file in found for name, value in load_file(file).items()}


def test_every_run_said_where_it_was_and_ended_well(desk: Path) -> None:
    out, err = json.loads((desk / "there.json").read_text(encoding="utf-8"))
    codes = json.loads(out.splitlines()[-1])
    assert codes == [0] * len(RUNS) + [130, 0, 0], err
    assert (out + err).count("device pretend:0: pretended") == len(RUNS) + 2


@pytest.mark.parametrize("name", RUNS)
def test_what_is_learned_there_is_what_is_learned_on_the_cpu(here: Path, name: str) -> None:
    assert main(command(f"here/{name}", RUNS[name])) == 0
    there, own = here / "there" / name, here / "here" / name
    of_loss, of_weights = (2e-2, 4e-2) if "bf16" in RUNS[name] else (1e-4, 1e-3)
    assert len(losses_of(there)) == STEPS
    assert losses_of(there) == pytest.approx(losses_of(own), abs=of_loss)
    weights, others = weights_of(there), weights_of(own)
    assert weights.keys() == others.keys()
    assert max(float((weights[one].float() - others[one].float()).abs().max()) for one in weights) < of_weights


def test_a_run_that_was_stopped_there_went_on_to_the_same_bits(desk: Path) -> None:
    """Moments and averages come back to the device."""
    stopped, alone = (desk / "there" / name for name in ("stopped", "adapters"))
    assert json.loads((stopped / "training.json").read_text(encoding="utf-8"))["resumed_from_step"] == 2
    assert losses_of(stopped) == losses_of(alone)
    files = [(one / "model" / "model.safetensors").read_bytes() for one in (stopped, alone)]
    assert files[0] == files[1]


def test_what_was_trained_is_scored_and_writes_there(here: Path) -> None:
    """Of ``there/adapters`` both score the same folder."""
    results = here / "there" / "adapters" / "evaluations" / "held-out" / "result.json"
    there = json.loads(results.read_text(encoding="utf-8"))
    assert main(["evaluate", "there/adapters"]) == 0
    own = json.loads(results.read_text(encoding="utf-8"))
    assert there["metrics"].keys() == own["metrics"].keys() >= {"loss", "exact_match"}
    assert there["metrics"]["loss"]["value"] == pytest.approx(own["metrics"]["loss"]["value"], abs=0.02)


def test_what_mixes_both_sides_is_refused_there(tmp_path: Path) -> None:
    """Else the tests above would say nothing."""
    code = """
from tests.placement.pretend import DEVICE, Elsewhen
import torch
with Elsewhen():
    there = torch.ones(2, 3, device=DEVICE)
    assert there.device == DEVICE and float((there + 1.0).sum()) == 12.0
    for wrong in (lambda: there + torch.ones(3), lambda: torch.ones(4)[there[0].long()], there.numpy):
        try:
            wrong()
        except (RuntimeError, TypeError):
            continue
        raise SystemExit("went through")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
