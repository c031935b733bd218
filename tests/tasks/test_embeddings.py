"""Vectors of texts: losses as their formulas say, rankings over the set's own texts, folders that others load."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from sentence_transformers import SentenceTransformer

from feinschliff import registry
from feinschliff.cli.main import main
from feinschliff.config.load import load_run_config
from feinschliff.data.examples import Example, Place
from feinschliff.engine import loop
from feinschliff.errors import ConfigError, DataError
from feinschliff.lifecycle.export import export
from feinschliff.lifecycle.finish import export_best
from feinschliff.lifecycle.predict import predict
from feinschliff.lifecycle.tune import tune
from feinschliff.models.card import CardFacts, render_card
from feinschliff.predictor import Predictor
from feinschliff.results.regression import regression_metrics
from feinschliff.store.run_directory import RunDirectory
from feinschliff.tasks._embedding_losses import correlation_loss, ranking_loss, similarity_loss
from feinschliff.tasks._embedding_rows import identities, members_of
from feinschliff.tasks._embeddings import Embeddings
from feinschliff.tasks._retrieval import Bm25, Corpus, Vectors
from feinschliff.tasks._task import TaskContext
from feinschliff.tasks.embeddings import EmbeddingsConfig
from tests.numerics.tiny_runs import examples, made_fit, made_run, made_splits, resolved

TASK = {"type": "embeddings"}


def rows(*texts: tuple[str, ...]) -> list[Example]:
    return [Example(row, (), Place("f", number)) for number, row in enumerate(texts, 1)]


def unit(*shape: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(0)), dim=-1)


def by_hand(examples: list[Example], vectors: torch.Tensor, temperature: float) -> float:
    """In words: each anchor's positive among all texts but those that say the same or belong to the same anchor."""
    flat = [(row, place, text) for row, example in enumerate(examples) for place, text in enumerate(example.texts)]
    belongs: dict[str, set[str]] = {}
    for example in examples:
        belongs.setdefault(example.texts[0], set()).add(example.texts[1])
    total = 0.0
    for row, example in enumerate(examples):
        anchor = next(i for i, (r, p, _) in enumerate(flat) if (r, p) == (row, 0))
        own, scores = math.nan, []
        for i, (r, p, text) in enumerate(flat):
            score = float(vectors[anchor] @ vectors[i]) / temperature
            if (r, p) == (row, 1):
                own = score
                scores.append(score)
            elif p > 0 and text != example.texts[0] and text not in belongs[example.texts[0]]:
                scores.append(score)
        total += math.log(sum(math.exp(score) for score in scores)) - own
    return total


def test_the_ranking_loss_leaves_out_what_is_no_negative() -> None:
    made = rows(("a", "b", "c"), ("d", "b"), ("a", "e", "f", "g"), ("h", "a"), ("i", "j", "e"))
    vectors = unit(sum(len(row.texts) for row in made), 8)
    first = np.cumsum([0, *(len(row.texts) for row in made)])
    loss = ranking_loss(vectors, members_of(first), identities(made), 0.1)
    assert float(loss) == pytest.approx(by_hand(made, vectors, 0.1), rel=1e-5)


def test_the_similarity_loss_compares_what_the_numbers_order() -> None:
    vectors, values = unit(10, 4), torch.tensor([1.0, 3.0, 3.0, 0.0, 5.0], dtype=torch.float64)
    members = members_of(np.arange(0, 11, 2))
    cosines = [float(vectors[2 * row] @ vectors[2 * row + 1]) for row in range(5)]
    terms = [
        math.exp((cosines[j] - cosines[i]) / 0.2)
        for i in range(5)
        for j in range(5)
        if float(values[i]) > float(values[j])
    ]
    assert len(terms) == 9
    assert float(similarity_loss(vectors, members, values, 0.2)) == pytest.approx(
        5 * math.log(1 + sum(terms)), rel=1e-5
    )
    assert float(similarity_loss(vectors[:2], members[:1], values[:1], 0.2)) == 0.0


def test_the_correlation_loss_is_one_less_pearsons_correlation() -> None:
    vectors, values = unit(12, 4), torch.tensor([1.0, 3.0, 3.0, 0.0, 5.0, 2.5], dtype=torch.float64)
    members = members_of(np.arange(0, 13, 2))
    cosines = [float(vectors[2 * row] @ vectors[2 * row + 1]) for row in range(6)]
    expected = 6 * (1.0 - float(pearsonr(cosines, values.numpy()).statistic))
    assert float(correlation_loss(vectors, members, values, 0.2)) == pytest.approx(expected, rel=1e-5)
    line = torch.tensor(cosines, dtype=torch.float64) * 7.0 - 3.0
    assert float(correlation_loss(vectors, members, line, 0.2)) == pytest.approx(0.0, abs=1e-5)


def test_a_batch_whose_numbers_are_all_the_same_says_nothing() -> None:
    vectors = unit(6, 4).requires_grad_()
    loss = correlation_loss(vectors, members_of(np.arange(0, 7, 2)), torch.full((3,), 2.0), 0.2)
    loss.backward()
    assert (float(loss.detach()), float(vectors.grad.abs().sum())) == (0.0, 0.0)  # type: ignore[union-attr]


def test_a_search_is_over_the_sets_own_texts() -> None:
    made = rows(("q", "near"), ("q", "far"), ("r", "q", "none"))
    places = {"q": (1.0, 0.0), "near": (0.9, 0.1), "far": (-1.0, 0.0), "r": (0.0, 1.0), "none": (0.6, 0.8)}
    values = np.array([places[text] for row in made for text in row.texts], dtype=np.float32)
    corpus = Corpus(made)
    ranks, firsts = corpus.search(Vectors(values, np.array([0, 2, 4, 7])))
    assert [sorted(row) for row in ranks] == [[1.0, 3.0], [4.0]]  # of equal scores what belongs comes last
    assert [corpus.texts[place] for place in firsts] == ["near", "none"]


def test_bm25_prefers_rare_words_and_short_texts() -> None:
    made = rows(("lost parcel", "the parcel was lost"), ("the film", "the film and the book and the card and the rest"))
    scores = Bm25().answers(made).scores([0], [1, 3])
    n, k1, b, lengths = 2, 1.2, 0.75, (4, 11)
    long = 1 - b + b * lengths[0] / (sum(lengths) / 2)
    idf = math.log(1 + (n - 1 + 0.5) / (1 + 0.5))
    assert scores[0].tolist() == pytest.approx([2 * idf * (k1 + 1) / (1 + k1 * long), 0.0])


def test_numbers_are_judged_by_correlation_alone() -> None:
    task = Embeddings(EmbeddingsConfig(), TaskContext((), False, 2, target_names=("score",)))
    made = examples(20, 1, "similar")
    vectors = unit(40, 6).numpy()
    answers = Vectors(vectors, np.arange(0, 41, 2))
    found = task.judge(answers, made, "spearman", _evaluation())
    expected = regression_metrics(np.array([row.values[0] for row in made]), (vectors[::2] * vectors[1::2]).sum(1))
    assert set(found.metrics) == {"spearman", "pearson"}
    assert found.metrics["pearson"].value == pytest.approx(expected["pearson"].value)
    assert found.worst[0].error == max(row.error or 0.0 for row in found.worst)


def _evaluation() -> Any:
    return load_run_config(None, {})[0].evaluation


def test_several_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="2 number columns"):
        Embeddings(EmbeddingsConfig(), TaskContext((), False, 2, target_names=("a", "b")))


def test_a_method_that_would_train_nothing_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    method = {"type": "frozen_layers", "trained_layers": 0}
    with pytest.raises(ConfigError, match="trains nothing"):
        made_run(tiny_bert, tmp_path, made_splits(kind="ranked"), task=TASK, method=method)


def finished(folder: Path, path: Path, kind: str = "ranked", **changes: Any) -> Path:
    splits = made_splits(kind=kind)
    prepared = made_run(folder, path, splits, task=TASK, **changes)
    fit = made_fit(prepared, path)
    list(loop.fit(fit))
    export_best(prepared, loop.best_file(fit), resolved(folder), splits, RunDirectory(path))
    return path


TEXTS = ["a good film", "where is my parcel, it is late and the box is broken", "dog"]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("kind", ["ranked", "similar"])
def test_sentence_transformers_gives_the_same_vectors(tiny_bert: Path, tmp_path: Path, kind: str, pooling: str) -> None:
    run = finished(tiny_bert, tmp_path, kind, model={"pooling": pooling})
    ours = np.array([result.vector for result in predict(run, TEXTS)])
    theirs = SentenceTransformer(str(run / "model"), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
    base = SentenceTransformer(str(run / "model"), device="cpu")
    assert base.max_seq_length == Predictor(run).facts.max_length_tokens


@pytest.mark.parametrize("method", registry.names("method"))
def test_what_is_exported_gives_the_same_vectors_in_transformers(tiny_bert: Path, tmp_path: Path, method: str) -> None:
    asked = registry.load("method", method).EXAMPLE
    run = finished(tiny_bert, tmp_path / "run", method=asked, learning_rate=1e-2)
    result = export(run, tmp_path / "out")
    assert result.largest_difference < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("method", ["prompt_tuning", "bottleneck_adapter"])
def test_lines_of_the_card_give_the_runs_vectors(tiny_bert: Path, tmp_path: Path, method: str) -> None:
    run = finished(tiny_bert, tmp_path, method=registry.load("method", method).EXAMPLE, learning_rate=1e-2)
    loading = registry.load("method", method).create(None).loading
    card = render_card(CardFacts("x", "base", None, "", {}, 0, [], {}, {}, loading=loading, kind="pairs"))
    code = card.split("```python\n")[1].split("```")[0]
    code = code.replace("path/to/this/folder", str(run / "model")).replace('["a text", "another text"]', repr(TEXTS))
    code += "import json\nprint(json.dumps(vectors.tolist()))\n"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    ours = np.array([result.vector for result in predict(run, TEXTS)])
    np.testing.assert_allclose(ours, json.loads(said.splitlines()[-1]), atol=2e-6)


def test_one_text_gives_a_vector_and_two_a_similarity(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished(tiny_bert, tmp_path / "run")
    alone, pair, other = predict(run, ["a film", "a film\tred card", "red card"])
    assert alone.vector is not None
    assert other.vector is not None
    assert np.linalg.norm(alone.vector) == pytest.approx(1.0, abs=1e-5)
    assert pair.vector is None
    assert pair.similarity == pytest.approx(float(np.dot(alone.vector, other.vector)), abs=1e-5)
    (tmp_path / "texts.csv").write_text("text\na film\nred card\n")
    assert main(["predict", str(run), "--file", str(tmp_path / "texts.csv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found[1]["vector"] == pytest.approx(other.vector, abs=1e-6)
    assert main(["predict", str(run), "a film"]) == 0
    assert json.loads(capsys.readouterr().out) == pytest.approx(alone.vector, abs=1e-5)


@pytest.mark.slow
def test_from_a_file_of_triplets_to_a_verdict(tiny_bert: Path, tmp_path: Path) -> None:
    with (tmp_path / "rows.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["anchor", "positive", "negative"])
        for number, row in enumerate(examples(150, 1, "ranked")):
            writer.writerow([f"{row.texts[0]} n{number}", row.texts[1], "".join(row.texts[2:3])])
    values = {
        "data": {"train": [str(tmp_path / "rows.csv")]},
        "model": {"source": str(tiny_bert)},
        "training": {"precision": "fp32", "num_threads": 1, "epochs": 1.0},
        "output_dir": str(tmp_path / "run"),
    }
    result = tune(*load_run_config(None, values), budget_seconds=60.0)
    assert result.metric == "ndcg_at_10"
    assert set(result.baselines) == {"BM25", "frozen cosine"}
    assert {"recall_at_1", "recall_at_5", "recall_at_10", "ndcg_at_10", "mrr"} <= set(result.test)
    assert "SentenceTransformer(folder)" in (tmp_path / "run" / "model" / "README.md").read_text()
    assert "pipeline_tag: sentence-similarity" in (tmp_path / "run" / "model" / "README.md").read_text()
