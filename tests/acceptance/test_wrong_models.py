"""A model that cannot be trusted or does not fit together is refused before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.walk import Refusal, assert_refused, call, contents

WEIGHTS = "model.safetensors"


def _without_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def _pickle_only(folder: Path) -> None:
    _without_weights(folder)
    # Unpickled, it would write a file: nobody may do that.
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch unpickled'\ntR.")


def _truncated(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])


def _truncated_in_its_header(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:20])


def _foreign_tokenizer(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary |= {f"foreign{number}": len(vocabulary) + number for number in range(50)}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")


def _without_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{", encoding="utf-8")


def _unknown_architecture(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "frobnicate"}), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Case:
    """What is done to a good model folder, and what is said about it."""

    name: str
    harm: Callable[[Path], None]
    refusal: Refusal


CASES = [
    Case(
        "without weights",
        _without_weights,
        Refusal("no weights in the model folder", "base", "it holds: config.json", "add model.safetensors"),
    ),
    Case(
        "pickle only",
        _pickle_only,
        Refusal("only as a pickle: pytorch_model.bin", "base", "can run any code", "if you trust its author"),
    ),
    Case(
        "truncated safetensors",
        _truncated,
        Refusal("not a readable safetensors file", "base/model.safetensors", "truncated: ", "download it again"),
    ),
    Case(
        "safetensors cut in its header",
        _truncated_in_its_header,
        Refusal("not a readable safetensors file", "base/model.safetensors", "header: ", "download it again"),
    ),
    Case(
        "foreign tokenizer",
        _foreign_tokenizer,
        Refusal("does not belong to this model", "base/tokenizer.json", "198 rows", "from the model that the weights"),
    ),
    Case("without tokenizer", _without_tokenizer, Refusal("no tokenizer", "base", "tokenizer.json", "tokenizer files")),
    Case("broken config", _broken_config, Refusal("not valid JSON", "base/config.json", "line 1", "again")),
    Case(
        "unknown architecture",
        _unknown_architecture,
        Refusal("model_type 'frobnicate'", "base/config.json", remedy="choose a model"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused(
    case: Case,
    desk: Path,
    good: Path,
    base: Path,
    finished: Path,
    train: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    case.harm(base)
    before = contents(base), contents(finished), good.read_bytes()
    for verb in ("train", "tune"):
        command = [verb, *train("good.csv", model="base", output_dir=f"runs/{verb}")[1:]]
        assert_refused(call(capsys, *command), case.refusal)
    assert_refused(call(capsys, "models", "verify", "base", "--json"), case.refusal)
    assert_refused(call(capsys, "data", "check", "good.csv", "--model", "base", "--json"), case.refusal)
    assert (contents(base), contents(finished), good.read_bytes()) == before
    assert not list(desk.rglob("unpickled"))
    assert not list(desk.rglob("*.ckpt")) + list((desk / "runs" / "train").rglob("*.safetensors"))


def test_no_such_folder(good: Path, train: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    expected = Refusal("no model 'no/such'", "model.source", remedy="for the Hugging Face Hub write hf:no/such")
    assert_refused(call(capsys, *train("good.csv", model="no/such")), expected)


def test_a_model_folder_of_a_run_that_lost_its_weights(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _truncated(finished / "model")
    expected = Refusal("cannot be loaded", "runs/finished/model", "header", "models verify")
    assert_refused(call(capsys, "predict", "runs/finished", "where is my parcel", "--json"), expected)
