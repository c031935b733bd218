"""The model folder of a run, loaded by transformers alone, gives the scores of our predictor."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertModel,
    RobertaConfig,
    RobertaModel,
    RobertaTokenizer,
    pipeline,
)

from feinschliff.config.load import load_run_config
from feinschliff.data.examples import Example, Place
from feinschliff.engine import loop
from feinschliff.errors import RunDirectoryError
from feinschliff.lifecycle import finish
from feinschliff.lifecycle.train import train
from feinschliff.models.plain import plain_logits
from feinschliff.predictor import Predictor
from feinschliff.results.training import TrainingResult
from tests.numerics.tiny_runs import KINDS, METHODS, examples

TOLERANCE = 1e-4
VIVID = 0.2


def write_rows(path: Path, kind: str, num_rows: int = 90) -> Path:
    """A csv as people have it; several labels stand in one cell."""
    rows = [row for row in examples(num_rows, 5, kind) if row.labels]
    names = ["text", "other", "label"] if kind == "pair" else ["text", "label"]
    lines = [",".join(names)] + [",".join([*row.texts, "|".join(row.labels)]) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def trained(folder: Path, tmp_path: Path, kind: str = "single", **changes: Any) -> tuple[TrainingResult, Path]:
    run = tmp_path / "run"
    values = {
        "data": {"train": [str(write_rows(tmp_path / "rows.csv", kind))], "target": "label", "text": ["text"]},
        "model": {"source": str(folder), **changes.pop("model", {})},
        "training": {
            "epochs": 2,
            "precision": "fp32",
            "num_threads": 1,
            "global_batch_rows": 16,
            "learning_rate": 3e-3,
            "schedule": "linear",
        },
        "output_dir": str(run),
        **changes,
    }
    if kind == "pair":
        values["data"]["text"] = ["text", "other"]
    if kind == "multi":
        values["data"]["label_separator"] = "|"
    config, origins = load_run_config(None, values)
    return train(config, origins), run


def texts_of(kind: str) -> list[tuple[str, ...]]:
    """Rows of very different lengths, so that padded batches pad."""
    rows = [row.texts for row in examples(20, 9, kind)]
    long = tuple(" ".join([*KINDS["film"].split()] * 8) for _ in rows[0])
    return [rows[0], long, *rows[1:]]


def ours(run: Path, texts: list[tuple[str, ...]]) -> np.ndarray[Any, Any]:
    return Predictor(run).outputs([Example(row, (), Place("", 1)) for row in texts])


def plain_probabilities(
    folder: Path, texts: list[tuple[str, ...]], multi_label: bool, batch_rows: int = 8
) -> np.ndarray[Any, Any]:
    logits = plain_logits(folder, texts, batch_rows)
    return np.asarray(torch.sigmoid(logits) if multi_label else torch.softmax(logits, -1))


def by_pipeline(folder: Path, texts: list[tuple[str, ...]], batch_rows: int, function: str) -> np.ndarray[Any, Any]:
    classify = pipeline("text-classification", model=str(folder), tokenizer=str(folder), device="cpu")
    inputs = [{"text": row[0], "text_pair": row[1]} if len(row) == 2 else row[0] for row in texts]
    answers = classify(
        inputs, top_k=None, batch_size=batch_rows, truncation=True, padding=True, function_to_apply=function
    )
    return np.array([[{one["label"]: one["score"] for one in row}[name] for name in sorted(KINDS)] for row in answers])


@pytest.fixture(scope="session")
def vivid_bert(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny_bert`` with weights ten times as wide: its features differ from row to row."""
    folder = shutil.copytree(tiny_bert, tmp_path_factory.mktemp("vivid_bert"), dirs_exist_ok=True)
    config = BertConfig.from_pretrained(tiny_bert, initializer_range=VIVID)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return Path(folder)


@pytest.fixture(scope="session")
def vivid_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random RoBERTa (positions start after padding, one segment) with a byte-level tokenizer."""
    from tokenizers.pre_tokenizers import ByteLevel

    folder = tmp_path_factory.mktemp("vivid_roberta")
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(ByteLevel.alphabet())]
    merges = [("Ġ", "t"), ("o", "o"), ("a", "n")]
    vocabulary = {token: index for index, token in enumerate([*tokens, *("".join(pair) for pair in merges)])}
    RobertaTokenizer(vocab=vocabulary, merges=merges, model_max_length=128).save_pretrained(folder)
    config = RobertaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=130,
        type_vocab_size=1,
        pad_token_id=1,
        initializer_range=VIVID,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        RobertaModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("family", "kind", "pooling", "method"),
    [
        ("vivid_bert", "single", "mean", "full"),
        ("vivid_bert", "single", "cls", "lora"),
        ("vivid_bert", "multi", "mean", "lora"),
        ("vivid_bert", "multi", "cls", "frozen_layers"),
        ("vivid_bert", "pair", "mean", "frozen_layers"),
        ("vivid_bert", "pair", "cls", "full"),
        ("vivid_roberta", "single", "mean", "full"),
        ("vivid_roberta", "multi", "cls", "lora"),
        ("vivid_roberta", "pair", "mean", "frozen_layers"),
    ],
)
def test_the_ecosystem_gives_our_scores(
    request: pytest.FixtureRequest, tmp_path: Path, family: str, kind: str, pooling: str, method: str
) -> None:
    folder = request.getfixturevalue(family)
    result, run = trained(folder, tmp_path, kind, model={"pooling": pooling}, method=METHODS[method])
    assert result.steps >= 6
    texts = texts_of(kind)
    expected = ours(run, texts)
    assert expected.shape == (21, 3)
    assert expected.std(0).min() > 50 * TOLERANCE, "all rows get one answer: this would prove nothing"
    for batch_rows in (1, 8, 21):
        found = plain_probabilities(run / "model", texts, kind == "multi", batch_rows)
        assert float(np.abs(found - expected).max()) < TOLERANCE
    function = "sigmoid" if kind == "multi" else "softmax"
    assert float(np.abs(by_pipeline(run / "model", texts, 5, function) - expected).max()) < TOLERANCE
    config = json.loads((run / "model" / "config.json").read_text())
    assert list(config["id2label"].values()) == sorted(KINDS)
    assert config["label2id"] == {name: index for index, name in enumerate(sorted(KINDS))}
    assert config["problem_type"] == ("multi_label" if kind == "multi" else "single_label") + "_classification"
    assert sorted(path.suffix for path in (run / "model").iterdir() if path.suffix in (".safetensors", ".bin")) == [
        ".safetensors"
    ]


def test_bf16_training_exports_its_fp32_masters(vivid_bert: Path, tmp_path: Path) -> None:
    _, run = trained(vivid_bert, tmp_path, training={"epochs": 1, "precision": "bf16", "num_threads": 1})
    native = AutoModelForSequenceClassification.from_pretrained(run / "model")
    assert {parameter.dtype for parameter in native.parameters()} == {torch.float32}
    base = AutoModelForSequenceClassification.from_pretrained(vivid_bert)
    name = "bert.encoder.layer.0.attention.self.query.weight"
    moved = native.get_parameter(name) - base.get_parameter(name)
    assert 0 < float(moved.detach().abs().max()) < 1e-2
    texts = texts_of("single")
    assert float(np.abs(plain_probabilities(run / "model", texts, False) - ours(run, texts)).max()) < TOLERANCE


def test_a_length_limit_goes_with_the_model(vivid_bert: Path, tmp_path: Path) -> None:
    _, run = trained(vivid_bert, tmp_path, model={"max_length_tokens": 8})
    texts = [("the movie was " + "really " * 40 + "good",), ("lost parcel",)]
    expected = ours(run, texts)
    assert float(np.abs(by_pipeline(run / "model", texts, 2, "softmax") - expected).max()) < TOLERANCE
    assert float(np.abs(ours(run, [("the movie was " + "really " * 20,)]) - expected[:1]).max()) < TOLERANCE


def test_the_same_command_again_returns_the_result(vivid_bert: Path, tmp_path: Path) -> None:
    first, run = trained(vivid_bert, tmp_path)
    written = (run / "model" / "model.safetensors").stat().st_mtime_ns
    again, _ = trained(vivid_bert, tmp_path)
    assert again == first
    assert (run / "model" / "model.safetensors").stat().st_mtime_ns == written
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    assert not (run / "checkpoints").exists()
    assert list(run.glob(".*.tmp")) == []


def test_a_new_run_gives_the_same_hash_and_another_seed_another(vivid_bert: Path, tmp_path: Path) -> None:
    results = []
    for number, seed in enumerate((3, 3, 4)):
        (tmp_path / str(number)).mkdir()
        result, run = trained(vivid_bert, tmp_path / str(number), seed=seed)
        weights = (run / "model" / "model.safetensors").read_bytes()
        results.append((result.weights_sha256, [point.model_dump() for point in result.curve], weights))
    assert results[0] == results[1]
    assert results[0][0] != results[2][0]


def test_other_rows_under_a_begun_run_are_refused(vivid_bert: Path, tmp_path: Path) -> None:
    steps = {"epochs": 2, "num_threads": 1, "precision": "fp32", "checkpoint_every_steps": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish, "export_best", _killed)
        with pytest.raises(KeyboardInterrupt):
            trained(vivid_bert, tmp_path, training=steps)
    original = (tmp_path / "rows.csv").read_text()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.models.test_native.write_rows", lambda path, *_: path)
        (tmp_path / "rows.csv").write_text(original.replace("parcel", "letter"))
        with pytest.raises(RunDirectoryError, match="begun with other rows"):
            trained(vivid_bert, tmp_path, training=steps)
        (tmp_path / "rows.csv").write_text(original)
        assert trained(vivid_bert, tmp_path, training=steps)[0].resumed_from_step == 4


def test_a_run_that_came_to_no_step_takes_other_rows(vivid_bert: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_step", _killed)
        with pytest.raises(KeyboardInterrupt):
            trained(vivid_bert, tmp_path)
    text = (tmp_path / "rows.csv").read_text().replace("parcel", "letter")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.models.test_native.write_rows", lambda path, *_: path)
        (tmp_path / "rows.csv").write_text(text)
        assert any("training starts anew" in said for said in trained(vivid_bert, tmp_path)[0].announcements)


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt
