"""What a finished model computes in when it answers: as asked where it is a language model, else fp32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from feinschliff.config.generation import SamplingConfig, WritingPrecision
from feinschliff.engine import loop
from feinschliff.lifecycle.chat import ChatSession
from feinschliff.lifecycle.finish import export_best
from feinschliff.predictor import Predictor
from feinschliff.store.run_directory import RunDirectory
from tests.acceptance.walk import Refusal, assert_refused, call
from tests.numerics.tiny_runs import made_fit, made_run, made_splits, resolved

Capture = pytest.CaptureFixture[str]


def finished(base: Path, path: Path, kind: str, **parts: Any) -> str:
    """A run's directory with its model."""
    splits = made_splits(16, 8, kind)
    prepared = made_run(base, path, splits, epochs=1.0, **parts)
    fit = made_fit(prepared, path)
    assert list(loop.fit(fit))
    export_best(prepared, loop.best_file(fit), resolved(base), splits, RunDirectory(path))
    return str(path)


@pytest.fixture(scope="module")
def chats(tiny_decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return finished(tiny_decoder, tmp_path_factory.mktemp("chats"), "conversations", task={"type": "sft"})


@pytest.mark.parametrize(("asked", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_language_model_computes_in_what_is_asked_for(
    chats: str, asked: WritingPrecision, dtype: torch.dtype
) -> None:
    predictor = Predictor(Path(chats), precision=asked)
    assert {parameter.dtype for parameter in predictor.network.body.parameters()} == {dtype}
    assert predictor.notes[-1] == f"precision {asked}: as asked"
    session = ChatSession(Path(chats), SamplingConfig(max_new_tokens=4), precision=asked)
    assert session.notes[-1] == f"precision {asked}: as asked"
    assert Predictor(Path(chats)).notes[-1].endswith("times as fast as fp32 on this machine")


def test_predict_says_what_it_computes_in(chats: str, capsys: Capture) -> None:
    options = ("hello", "--max-new-tokens", "4", "--json")
    outcome = call(capsys, "predict", chats, *options, "--precision", "bf16")
    assert outcome.code == 0, outcome
    assert "precision bf16: as asked" in outcome.err
    assert len(json.loads(outcome.out)) == 1
    wrong = call(capsys, "predict", chats, *options, "--precision", "fp16")
    assert_refused(wrong, Refusal("there is no precision 'fp16'", "--precision", remedy="auto, fp32, bf16"))


def test_a_classifier_computes_in_fp32(tiny_bert: Path, tmp_path: Path, capsys: Capture) -> None:
    run = finished(tiny_bert, tmp_path / "run", "single")
    refused = call(capsys, "predict", run, "hello", "--precision", "bf16", "--json")
    assert_refused(refused, Refusal("this model computes in fp32", "--precision", "text_classification"))
    labels = [
        call(capsys, "predict", run, "hello", "--json", *asked).document for asked in ((), ("--precision", "fp32"))
    ]
    assert labels[0] == labels[1]
