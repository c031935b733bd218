"""A run with compiled layers, killed and started again, ends as the one that was left alone, to the bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from feinschliff.models import compiled
from tests.acceptance.test_several_processes import CHAT, chats, finished, killed_after_a_checkpoint, losses, start


@pytest.mark.slow
@pytest.mark.skipif(compiled.why_not(torch.device("cpu")) is not None, reason="torch's compiler needs a C++ compiler")
def test_killed_and_resumed_it_is_the_run_left_alone(desk: Path, tiny_decoder: Path) -> None:
    steps = ("--training.epochs", "12", "--training.checkpoint-every-steps", "10", "--training.compile", "on")
    given = (*CHAT[:-2], *steps)
    alone = start(desk, chats(desk), tiny_decoder, "runs/alone", 1, *given)
    _, said = alone.communicate(timeout=240)
    assert alone.returncode == 0, said
    assert "element-wise pieces of layers are compiled (" in said
    killed_after_a_checkpoint(start(desk, "chats.jsonl", tiny_decoder, "runs/killed", 1, *given), desk / "runs/killed")
    finished(start(desk, "chats.jsonl", tiny_decoder, "runs/killed", 1, *given))
    resumed = json.loads((desk / "runs" / "killed" / "training.json").read_text(encoding="utf-8"))
    assert resumed["resumed_from_step"]
    assert any("compiled, as they were when the run began" in note for note in resumed["announcements"])
    assert losses(desk, "runs/killed") == losses(desk, "runs/alone")
    weights = [(desk / "runs" / name / "model" / "model.safetensors").read_bytes() for name in ("alone", "killed")]
    assert weights[0] == weights[1]
