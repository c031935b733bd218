"""What benchmarks take for granted: ways that are timed beside each other agree, and the same rows are drawn."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import attention
from benchmarks.chat_sets import ChatSet, drawn, write_files
from benchmarks.kills import Setting, moments_of, setting_of

LENGTHS = [5, 60, 90, 130]
FLOAT = torch.float32


@pytest.mark.parametrize("way", list(attention.CAUSAL))
def test_ways_of_causal_attention_agree(way: str) -> None:
    assert attention.difference(attention.CAUSAL[way], LENGTHS, FLOAT) < attention.LARGEST_DIFFERENCE[FLOAT]


def test_an_attention_that_mixes_rows_is_noticed() -> None:
    def mixed(given: list[Tensor], lengths: list[int]) -> Tensor:
        return attention.one_by_one(given, [sum(lengths)])

    assert attention.difference(mixed, LENGTHS, FLOAT) > attention.LARGEST_DIFFERENCE[FLOAT]


def test_a_model_is_written_after_all_other_moments() -> None:
    moments = [moment for number in range(5) for moment in moments_of(number, 4)]
    assert len(moments) == 20
    assert {"random", "checkpoint", "export"} == set(moments)
    assert all("export" not in moments_of(number, 4)[:-1] for number in range(5))
    assert moments_of(4, 1) == ["export"]


def test_several_processes_are_started_by_torchrun() -> None:
    alone, both = (Setting(Path("work"), "some/model", processes=count) for count in (1, 2))
    run = Path("work/run")
    assert alone.launch(run)[1:3] == ["-m", "feinschliff"]
    assert both.launch(run)[1:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    assert both.launch(run)[5:] == alone.launch(run)[1:]


def test_a_tiny_decoder_gets_chats(tmp_path: Path) -> None:
    given = {"task": "sft", "model": None, "method": "full", "rows": 30, "processes": 2, "max_steps": 4}
    setting = setting_of(tmp_path, argparse.Namespace(**given, options="--method.type lora", fresh=False))
    rows = [json.loads(line) for line in (tmp_path / setting.rows).read_text(encoding="utf-8").splitlines()]
    assert len({row["prompt"] for row in rows}) == 30
    assert (Path(setting.model) / "model.safetensors").exists()
    assert setting.options[-4:] == ("--training.micro-batch-tokens", "1024", "--task.chat-template", "plain")


def test_the_same_rows_are_drawn_and_long_answers_left_out(tmp_path: Path) -> None:
    rows = [{"question": f"q{number}", "answer": "a" * (number % 20)} for number in range(100)]
    picked = drawn(rows, 10, longest_answer=9)
    assert picked == drawn(rows, 10, longest_answer=9)
    assert len(picked) == 10
    assert max(len(row["answer"]) for row in picked) <= 9
    (tmp_path / "set.json").write_text(json.dumps(rows), encoding="utf-8")
    arguments = write_files(ChatSet("set.json", 30, options=("--seed", "1")), tmp_path, tmp_path / "out")
    assert arguments == [str(tmp_path / "out" / "train.jsonl"), "--seed", "1"]
    assert len((tmp_path / "out" / "train.jsonl").read_text(encoding="utf-8").splitlines()) == 30
