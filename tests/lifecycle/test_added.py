"""What cannot be merged: the finished folder answers as the network did, for us, after export, and for others alone."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from feinschliff import registry
from feinschliff.data.examples import Splits
from feinschliff.engine import loop
from feinschliff.engine.events import StepEnded
from feinschliff.lifecycle import added
from feinschliff.lifecycle.export import export
from feinschliff.lifecycle.finish import calibrated, export_best
from feinschliff.lifecycle.prepare import Prepared
from feinschliff.models.card import CardFacts, render_card
from feinschliff.models.plain import plain_probabilities
from feinschliff.predictor import Predictor
from feinschliff.store.run_directory import RunDirectory
from tests.numerics.tiny_runs import made_fit, made_run, made_splits, resolved

METHODS = [name for name in registry.names("method") if not registry.load("method", name).create(None).mergeable]


def finished(tiny_bert: Path, path: Path, method: str, splits: Splits, pooling: str) -> Prepared:
    """A trained run with its model folder; the network holds the weights that were written."""
    asked = registry.load("method", method).EXAMPLE
    changes = {"model": {"pooling": pooling}, "learning_rate": 3e-2, "head_learning_rate_multiplier": 1.0}
    prepared = made_run(tiny_bert, path, splits, method=asked, **changes)
    fit = made_fit(prepared, path)
    list(loop.fit(fit))
    export_best(prepared, loop.best_file(fit), resolved(tiny_bert), splits, RunDirectory(path))
    prepared.learner.masters.load(calibrated(prepared, load_file(loop.best_file(fit)), lambda _: None))
    return prepared


def test_the_methods_are_found() -> None:
    assert {"bottleneck_adapter", "prefix_tuning", "prompt_tuning"} <= set(METHODS)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("kind", "pooling"), [("single", "mean"), ("multi", "cls"), ("pair", "mean")])
def test_the_folder_answers_as_the_network_and_so_does_its_export(
    tiny_bert: Path, tmp_path: Path, method: str, kind: str, pooling: str
) -> None:
    splits = made_splits(24, 12, kind)
    prepared = finished(tiny_bert, tmp_path / "run", method, splits, pooling)
    predictor = Predictor(tmp_path / "run")
    assert predictor.facts.method == prepared.config.method.model_dump(mode="json")
    expected = prepared.validation_scores()
    np.testing.assert_allclose(predictor.probabilities(splits.validation), expected, atol=1e-5)
    result = export(tmp_path / "run", tmp_path / "out")
    assert result.largest_difference < 1e-5
    assert result.loading
    assert any(file.startswith("adapter/") for file in result.files)
    np.testing.assert_allclose(Predictor(tmp_path / "out").probabilities(splits.validation), expected, atol=1e-5)
    texts = [example.texts for example in splits.validation]
    alone = plain_probabilities(tmp_path / "out", texts, kind == "multi")
    assert np.abs(alone - expected).max() > 1e-4, "without what was added the answers are others"


@pytest.mark.parametrize("method", METHODS)
def test_what_the_card_says_loads_it_without_us(tiny_bert: Path, tmp_path: Path, method: str) -> None:
    splits = made_splits(24, 12)
    prepared = finished(tiny_bert, tmp_path / "run", method, splits, "mean")
    export(tmp_path / "run", tmp_path / "out")
    loading = added.loading(prepared.config.method)
    card = render_card(CardFacts("n", "b", None, "v", {}, 0, [], {}, {}, loading=loading))
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    code = code.replace("path/to/this/folder", str(tmp_path / "out")).replace("\nclassify(", "\nfirst = classify(")
    texts = [example.texts[0] for example in splits.validation]
    code += f"""
import json, sys
found = [classify(text, top_k=None) for text in {texts!r}]
assert "feinschliff" not in sys.modules
print(json.dumps([{{part["label"]: part["score"] for part in row}} for row in found]))
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.strip().splitlines()[-1])
    scores = np.array([[row[label] for label in splits.label_names] for row in rows])
    np.testing.assert_allclose(scores, prepared.validation_scores(), atol=1e-5)


@pytest.fixture(scope="module")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random RoBERTa: positions start after padding, one segment, a classifier of two layers."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizer

    folder = tmp_path_factory.mktemp("tiny_roberta")
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(ByteLevel.alphabet())]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    RobertaTokenizer(vocab=vocabulary, merges=[], model_max_length=128).save_pretrained(folder)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config = RobertaConfig(
        vocab_size=len(tokens), max_position_embeddings=130, type_vocab_size=1, pad_token_id=1, **shape
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        RobertaModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_roberta_too(tiny_roberta: Path, tmp_path: Path, method: str) -> None:
    splits = made_splits(24, 12)
    prepared = finished(tiny_roberta, tmp_path / "run", method, splits, "mean")
    expected = prepared.validation_scores()
    np.testing.assert_allclose(Predictor(tmp_path / "run").probabilities(splits.validation), expected, atol=1e-5)
    assert export(tmp_path / "run", tmp_path / "out").largest_difference < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_masters_stay_fp32_behind_bf16(tiny_bert: Path, tmp_path: Path, method: str) -> None:
    asked = registry.load("method", method).EXAMPLE
    prepared = made_run(tiny_bert, tmp_path, made_splits(24, 12), method=asked, precision="bf16")
    masters = prepared.learner.masters
    assert {master.dtype for master in masters.masters} == {torch.float32}
    working = dict(zip(masters.names, masters.working, strict=True))
    assert {value.dtype for name, value in working.items() if not name.startswith("head.")} == {torch.bfloat16}
    before = {name: value.clone() for name, value in masters.named().items()}
    steps = [event for event in loop.fit(made_fit(prepared, tmp_path)) if isinstance(event, StepEnded)]
    assert all(math.isfinite(event.loss) for event in steps)
    assert all(not torch.equal(before[name], value) for name, value in masters.named().items())
