"""Text classification: what is encoded, cut, decided and scored."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from feinschliff.config.model import ModelConfig
from feinschliff.config.rules import check
from feinschliff.config.run import RunConfig
from feinschliff.data.examples import Example, Place
from feinschliff.engine.batching import collate
from feinschliff.tasks._classified import HEAD_ROWS_PER_CLASS
from feinschliff.tasks._task import TaskContext
from feinschliff.tasks._text_classification import TextClassification
from feinschliff.tasks._text_table import TOKENIZE_ROWS
from feinschliff.tasks.text_classification import TextClassificationConfig
from tests.numerics.tiny_runs import made_run


def make_task(
    folder: Path, multi_label: bool = False, num_texts: int = 1, threshold: float = 0.5
) -> TextClassification:
    context = TaskContext(("a", "b", "c"), multi_label, num_texts)
    task = TextClassification(TextClassificationConfig(threshold=threshold), context)
    task.load_model(ModelConfig(), folder)
    return task


def row(*texts: str, labels: tuple[str, ...] = ("b",)) -> Example:
    return Example(texts, labels, Place("made-up", 1))


def test_rows_lie_end_to_end_with_their_special_tokens(tiny_bert: Path) -> None:
    encoded = make_task(tiny_bert).encode([row("good movie"), row("late"), row("")], 128)
    tokenizer = make_task(tiny_bert).tokenizer
    expected = [tokenizer(text)["input_ids"] for text in ("good movie", "late", "")]
    assert encoded.table.offsets.tolist() == [0, 4, 7, 9]
    assert encoded.table.ids.tolist() == list(itertools.chain.from_iterable(expected))
    assert encoded.num_cut == 0
    assert encoded.table.segments is None


def test_long_rows_are_cut_counted_and_still_end_properly(tiny_bert: Path) -> None:
    task = make_task(tiny_bert)
    encoded = task.encode([row("good " * 50), row("late"), row("bad " * 200)], 10)
    assert encoded.table.lengths.tolist() == [10, 3, 10]
    assert encoded.num_cut == 2
    assert encoded.table.ids[[9, 12, 22]].tolist() == [task.tokenizer.sep_token_id] * 3


def test_many_rows_come_in_order_across_chunks(tiny_bert: Path) -> None:
    words = ["good", "bad", "late"]
    rows = [row(words[i % 3]) for i in range(TOKENIZE_ROWS + 5)]
    encoded = make_task(tiny_bert).encode(rows, 128)
    ids = encoded.table.ids.reshape(-1, 3)[:, 1]
    assert len(set(ids[:3].tolist())) == 3
    assert np.array_equal(ids, np.resize(ids[:3], len(ids)))


def test_pairs_are_one_row_in_two_segments(tiny_bert: Path) -> None:
    encoded = make_task(tiny_bert, num_texts=2).encode([row("good movie", "late")], 128)
    assert encoded.table.segments is not None
    assert encoded.table.segments.tolist() == [0, 0, 0, 0, 1, 1]


def test_targets(tiny_bert: Path) -> None:
    single = make_task(tiny_bert).encode([row("x", labels=("c",)), row("x", labels=("a",))], 128)
    assert single.targets is not None
    assert single.targets.tolist() == [2, 0]
    several = make_task(tiny_bert, multi_label=True).encode([row("x", labels=("c", "a")), row("x", labels=())], 128)
    assert several.targets is not None
    assert several.targets.tolist() == [[1, 0, 1], [0, 0, 0]]
    assert make_task(tiny_bert).encode([row("x"), row("x", labels=())], 128).targets is None
    assert make_task(tiny_bert).encode([], 128).table.offsets.tolist() == [0]


def test_decisions_and_scores(tiny_bert: Path) -> None:
    scores = np.array([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1]], dtype=np.float32)
    task = make_task(tiny_bert)
    assert task.answers(scores).decisions.tolist() == [1, 0]
    rows = [row("x", labels=("b",)), row("y", labels=("b",))]
    assert task.score(task.answers(scores), rows, "accuracy") == 0.5
    several = make_task(tiny_bert, multi_label=True, threshold=0.3)
    assert several.answers(scores).decisions.tolist() == [[0, 1, 0], [1, 1, 0]]


def test_expected_first_loss(tiny_bert: Path) -> None:
    assert make_task(tiny_bert).expected_first_loss() == pytest.approx(np.log(3))
    assert make_task(tiny_bert, multi_label=True).expected_first_loss() == pytest.approx(np.log(2))


def test_a_head_that_starts_at_a_probe_decides_as_it_does(tiny_bert: Path, tmp_path: Path) -> None:
    prepared = made_run(tiny_bert, tmp_path, model={"head_init": "linear_probe"})
    batch = collate(prepared.learner.table, np.arange(48), prepared.learner.targets)
    network = prepared.network.eval()
    with torch.no_grad():
        features, logits = network.features(batch), network(batch)
    assert batch.targets is not None
    unit = F.normalize(features, dim=1).numpy()
    plain = LogisticRegression(C=10.0, max_iter=300, tol=1e-4).fit(unit, batch.targets.numpy())
    wanted = plain.decision_function(unit)
    assert np.bincount(batch.targets.numpy()).min() > HEAD_ROWS_PER_CLASS  # all rows are fitted, not a sample
    found = (logits - logits.mean(1, keepdim=True)).numpy()
    np.testing.assert_allclose(found, wanted - wanted.mean(1, keepdims=True), atol=0.02 * np.abs(wanted).max())


def test_a_task_without_classes_has_no_probe_to_start_at() -> None:
    faults = check(RunConfig.model_validate({"task": "regression", "model": {"head_init": "linear_probe"}}))
    assert [fault.what for fault in faults] == ["task regression does not offer model.head_init linear_probe"]
