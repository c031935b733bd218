"""`feinschliff train` on conversations, from file to losses: each step's loss is that of a plain PyTorch loop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from feinschliff.cli.main import main
from feinschliff.data.examples import Example, Splits
from feinschliff.engine.batching import epoch_order
from feinschliff.lifecycle import interrupts
from tests.numerics.tiny_runs import examples, made_run, made_splits
from tests.tasks.test_sft import IGNORED, padded

STEPS, ROWS, RATE, DECAY = 4, 6, 3e-3, 0.05
OPTIONS: dict[str, Any] = {
    "max_steps": STEPS,
    "global_batch_rows": ROWS,
    "micro_batch_tokens": 128,
    "learning_rate": RATE,
    "weight_decay": DECAY,
    "max_grad_norm": 0.5,
    "adam_epsilon": 1e-4,
    "schedule": "constant",
    "warmup_ratio": 0.0,
    "weight_averaging": 0.0,
    "keep_weights": "last",
    "precision": "fp32",
    "num_threads": 1,
}
METHODS = {
    "full": ("--method.type", "full"),
    "lora": ("--method.type", "lora", "--method.rank", "4"),
}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 24 conversations in OpenAI's format, some more to be judged by, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEINSCHLIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FEINSCHLIFF_OFFLINE", "1")
    for name, content in (("rows", rows()), ("test", examples(6, 5, "conversations"))):
        lines = [
            json.dumps({"messages": [message.as_given() for message in row.conversation.messages]})
            for row in content
            if row.conversation is not None
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def rows() -> list[Example]:
    return examples(24, 1, "conversations")


def command(model: Path, method: str, output_dir: str = "run") -> list[str]:
    options = [part for name, value in OPTIONS.items() for part in (f"--training.{name.replace('_', '-')}", str(value))]
    data = ["--data.validation-fraction", "0", "--data.test", "test.jsonl"]
    return ["train", "rows.jsonl", "--model", str(model), "--output-dir", output_dir, *data, *options, *METHODS[method]]


def losses_of(run: Path) -> list[float]:
    """Of each step, as its tracker wrote them."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    return [event["loss"] for event in events if event["event"] == "step_ended"]


def plain_losses(model: Any, tokenizer: Any) -> list[float]:
    """Padded batches, torch's AdamW, the mean over answers' tokens."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    decayed = [p for name, p in trained.items() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in trained.items() if p.ndim < 2 or "embed" in name]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": rest, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=RATE, eps=OPTIONS["adam_epsilon"])
    order, given, losses = epoch_order(24, 0, 0), rows(), []
    for step in range(STEPS):
        batch = padded(tokenizer, [given[row] for row in order[step * ROWS : step * ROWS + ROWS]])
        loss = model(**batch).loss
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.values(), OPTIONS["max_grad_norm"])
        adam.step()
        losses.append(float(loss.detach()))
        assert int((batch["labels"] != IGNORED).sum()) > 40
    return losses


def adapters_at_start(folder: Path, path: Path) -> dict[str, Tensor]:
    """As a run of the same seed draws them."""
    splits = Splits(rows(), [], [], made_splits(2, 2, "conversations").columns, [])
    method = {"type": "lora", "rank": 4}
    prepared = made_run(folder, path, splits, task={"type": "sft"}, method=method, **OPTIONS)
    named = prepared.learner.masters.named()
    return {name.removeprefix("body.model."): value.clone() for name, value in named.items()}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")
@pytest.mark.parametrize("method", METHODS)
def test_losses_are_those_of_a_plain_loop(tiny_decoder: Path, desk: Path, method: str) -> None:
    assert main(command(tiny_decoder, method)) == 0
    losses = losses_of(desk / "run")
    plain: Any = AutoModelForCausalLM.from_pretrained(tiny_decoder).train()
    if method == "lora":
        config = peft.LoraConfig(r=4, lora_alpha=32.0, target_modules="all-linear")
        plain, start = peft.get_peft_model(plain, config), adapters_at_start(tiny_decoder, desk / "start")
        with torch.no_grad():
            for name, parameter in plain.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(start[name.removeprefix("base_model.model.")])
    expected = plain_losses(plain, AutoTokenizer.from_pretrained(tiny_decoder))
    assert losses == pytest.approx(expected, abs=1e-4)
    assert losses[-1] < losses[0] - 0.1, "something is learned"
    merged = plain.merge_and_unload() if method == "lora" else plain
    saved = load_file(desk / "run" / "model" / "model.safetensors")
    weights = merged.state_dict()
    assert max(float((saved[name] - weights[name]).abs().max()) for name in saved) < 1e-4


@contextmanager
def stops_after(steps: int) -> Iterator[Any]:
    """As if Ctrl-C came during that step."""
    asked: list[int] = []

    def requested() -> bool:
        asked.append(1)
        return len(asked) >= steps

    yield requested


@pytest.mark.parametrize("method", METHODS)
def test_interrupted_after_two_steps_and_started_again_is_the_run_left_alone(
    tiny_decoder: Path, desk: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every loss and every bit of the model folder."""
    assert main(command(tiny_decoder, method, "alone")) == 0
    with monkeypatch.context() as patch:
        patch.setattr(interrupts, "flag", lambda: stops_after(2))
        assert main(command(tiny_decoder, method)) == 130
    assert len(losses_of(desk / "run")) == 2
    assert main(command(tiny_decoder, method)) == 0
    assert losses_of(desk / "run") == losses_of(desk / "alone")
    assert json.loads((desk / "run" / "training.json").read_text())["resumed_from_step"] == 2
    files = [(desk / name / "model" / "model.safetensors").read_bytes() for name in ("run", "alone")]
    assert files[0] == files[1]
