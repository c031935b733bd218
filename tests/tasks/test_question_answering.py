"""Question answering: answers over windows, no answer by a threshold, folders that plain transformers reads alike."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from feinschliff.config.evaluation import EvaluationConfig
from feinschliff.config.model import ModelConfig
from feinschliff.data.examples import Answer, Example, Place
from feinschliff.engine import loop
from feinschliff.engine.scoring import outputs
from feinschliff.lifecycle.finish import export_best
from feinschliff.models.card import CardFacts, render_card
from feinschliff.predictor import Predictor
from feinschliff.store.run_directory import RunDirectory
from feinschliff.tasks._answer_rivals import LikeliestStretch, NeverAnswers, OverlappingSentence
from feinschliff.tasks._answers_found import Found, best_threshold, texts
from feinschliff.tasks._question_answering import QuestionAnswering
from feinschliff.tasks._task import TaskContext
from feinschliff.tasks.question_answering import QuestionAnsweringConfig
from tests.numerics.tiny_runs import made_fit, made_run, made_splits, resolved

TEXT = "the dog is red and the cat is blue"
DOG, CAT = (4, 7), (23, 26)
ASKED = EvaluationConfig(bootstrap_samples=200)


def _task(threshold: float | None = None) -> QuestionAnswering:
    return QuestionAnswering(QuestionAnsweringConfig(), TaskContext((), False, 2, no_answer_threshold=threshold))


def _example(*answers: tuple[int, int], text: str = TEXT, line: int = 1) -> Example:
    return Example(("who", text), (), Place("a", line), answers=tuple(Answer(*one) for one in answers))


def test_answers_are_the_best_over_all_windows(tiny_bert: Path) -> None:
    """A span of two windows counts once, no answer scores as in the window where it scores least."""
    task = _task()
    task.load_model(ModelConfig(source=str(tiny_bert)), tiny_bert)
    example = _example(CAT, text=f"{TEXT} " * 4)
    rows = task.encode([example, _example(DOG)], 14)
    windows = int(rows.first_windows[1])
    assert windows > 2
    made = np.zeros((len(rows.table), 2 + 3 * 8), dtype=np.float32)
    made[:, 2:] = np.tile([-np.inf, 0, 0], 8)
    made[:, 1] = np.arange(len(made), 0, -1)
    places = [
        np.flatnonzero(rows.targets.values[b:e] & 4) for b, e in zip(rows.begins_W, rows.table.offsets[1:], strict=True)
    ]
    made[0, 2:8] = [3.0, places[0][1], places[0][1], 2.0, places[0][-1], places[0][-1]]
    made[1, 2:5] = [5.0, places[1][0], places[1][0]]
    made[windows, 2:5] = [1.0, places[windows][1], places[windows][1]]
    first, second = task.answers(made, rows)
    best = rows.ranges_T2[rows.begins_W[1] + places[1][0]]
    assert first.spans[0] == (*best.tolist(), 5.0)
    assert (*DOG, 3.0) in first.spans
    assert first.none == made[:windows, 1].min()
    assert second.spans == ((*DOG, 1.0),)
    shared = {span[:2] for span in first.spans}
    assert len(shared) == len(first.spans)


def test_whole_answers_come_out_of_targets_through_windows(tiny_bert: Path) -> None:
    """Logits that are the targets give every answer back by its characters, also in texts of many windows."""
    task = _task(0.0)
    task.load_model(ModelConfig(source=str(tiny_bert)), tiny_bert)
    long = " ".join([TEXT] * 12)
    begins = [match.start() for match in re.finditer("cat", long)]
    examples = [_example((begin, begin + 3), text=long) for begin in begins] + [_example(text=long), _example(DOG)]
    rows = task.encode(examples, 24)
    assert rows.first_windows[1] > 5

    class Knowing(torch.nn.Module):
        def forward(self, batch: Any) -> torch.Tensor:
            return (
                9.0 * torch.stack([(batch.targets & 1) > 0, (batch.targets & 2) > 0], 1) * (batch.targets >= 0)[:, None]
            )

    made = outputs(task, Knowing(), rows.table, max_tokens=256, targets=rows.targets)
    given = task._texts(task.answers(made, rows), examples)
    assert given == [*["cat"] * 12, "", "dog"]
    found = [one.spans[0][:2] for one in task.answers(made, rows)[:12]]
    assert found == [(begin, begin + 3) for begin in begins]
    assert task.score(task.answers(made, rows), examples, "exact_match") == 1.0
    assert task.validation_loss(made, rows) == pytest.approx(float(made[:, 0].mean()))


def test_threshold_is_chosen_where_questions_have_no_answer() -> None:
    answerable, without = _example(DOG), _example()
    found = [Found(((*DOG, 2.0),), 1.0), Found(((*CAT, 2.0),), 4.0), Found(((*CAT, 2.0),), 3.0)]
    rows = [answerable, without, answerable]
    threshold = best_threshold(found, rows, "answer_f1")
    assert threshold is not None
    assert texts(found, rows, threshold)[:2] == ["dog", ""]
    assert best_threshold(found[:1], [answerable], "answer_f1") is None
    assert texts([Found(((*DOG, 0.0),), 99.0), Found((), 0.0)], [answerable] * 2, None) == ["dog", ""]


def test_a_chosen_threshold_is_kept_and_test_rows_never_choose_one() -> None:
    rows = [_example(DOG), _example()]
    found = [Found(((*DOG, 2.0),), 1.0), Found(((*DOG, 2.0),), 4.0)]
    assert _task().score(found, rows, "answer_f1") == 1.0  # while it trains: the best for the validation rows
    assert _task(5.0).score(found, rows, "answer_f1") == 0.5
    judged = _task().judge(found, rows, "answer_f1", ASKED)
    assert judged.metrics["answer_f1"].value == 0.5  # trained without such questions: every one gets an answer
    assert judged.metrics["no_answer_accuracy"].value == 0.0
    kept = _task(1.0).judge(found, rows, "answer_f1", ASKED)
    assert {name: measure.value for name, measure in kept.metrics.items()} == {
        "exact_match": 1.0,
        "answer_f1": 1.0,
        "exact_match_has_answer": 1.0,
        "answer_f1_has_answer": 1.0,
        "no_answer_accuracy": 1.0,
    }
    assert judged.worst[0].reference == "(no answer)"
    assert judged.worst[0].prediction == "dog"


def test_results_say_where_the_answer_stands_and_how_sure() -> None:
    found = Found(((*DOG, 3.0), (*CAT, 2.0)), 1.0)
    (result,) = _task().results([found], [_example()])
    (span,) = result.spans or []
    assert (span.text, TEXT[span.start : span.end], span.label) == ("dog", "dog", "answer")
    assert result.score == span.score == pytest.approx(1 / (1 + math.exp(-1)))
    assert list(result.scores) == ["dog", "cat"]
    (result,) = _task(-5.0).results([found], [_example()])
    assert result.spans == []
    assert next(iter(result.scores)) == "(no answer)"
    assert result.score == pytest.approx(result.scores["(no answer)"])
    (result,) = _task().results([Found((), 0.0)], [_example()])
    assert (result.spans, result.scores) == ([], {"(no answer)": 1.0})


def test_rivals() -> None:
    rows = [
        _example((4, 7), text="the dog is old. a train was late in the city.", line=1),
        _example((4, 7), text="the cat is new. green food tastes good.", line=2),
    ]
    asked = replace(rows[0], texts=("was the train late", rows[0].texts[1]))
    (sentence,) = OverlappingSentence(rows).answers([asked])
    start, end, _ = sentence.spans[0]
    assert asked.texts[1][start:end] == "a train was late in the city."
    stretch = LikeliestStretch(rows)
    stretch._common = {"a", "in", "the"}
    (found,) = stretch.answers([asked])
    start, end, _ = found.spans[0]
    assert asked.texts[1][start:end] == "city"
    assert texts(NeverAnswers().answers(rows), rows, None) == ["", ""]
    nothing = Example(("?", "..."), (), Place("a", 1))
    assert texts(OverlappingSentence(rows).answers([nothing]) + stretch.answers([nothing]), [nothing] * 2, 0.0)


@pytest.fixture(scope="module")
def trained(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learned to find the label's word, and that every fourth row has no answer."""
    path = tmp_path_factory.mktemp("run")
    splits = made_splits(160, 40, "answers")
    prepared = made_run(
        tiny_bert,
        path,
        splits,
        task={"type": "question_answering"},
        epochs=6.0,
        learning_rate=2e-3,
        weight_averaging=0.0,
    )
    before = prepared.validate()
    fit = made_fit(prepared, path)
    list(loop.fit(fit))
    after = prepared.validate()
    assert after[0] < 0.8 * before[0]
    assert after[1] > before[1]
    export_best(prepared, loop.best_file(fit), resolved(tiny_bert), splits, RunDirectory(path))
    return path


def test_a_finished_model_gives_the_answers_of_the_run_and_of_plain_transformers(trained: Path) -> None:
    predictor = Predictor(trained)
    rows = made_splits(8, 40, "answers").validation
    assert predictor.facts.context.no_answer_threshold is not None
    assert predictor.task.score(predictor.score(rows).answers, rows, "answer_f1") > 0.6
    theirs = predictor.task.plain_outputs(predictor.folder, rows)
    np.testing.assert_allclose(predictor.outputs(rows), theirs, atol=1e-5)


def test_the_code_on_the_card_gives_the_same_answers(trained: Path) -> None:
    predictor = Predictor(trained)
    rows = [row for row in made_splits(8, 24, "answers").validation if row.answers]
    facts = CardFacts(
        name="m",
        base_model="b",
        base_license=None,
        verdict="",
        metrics={},
        test_rows=0,
        labels=(),
        data_sha256={},
        config={"task": predictor.facts.task},
        kind="answers",
        pipeline_tag="question-answering",
        no_answer_threshold=predictor.facts.context.no_answer_threshold,
    )
    (code,) = re.findall(r"```python\n(.*?)```", render_card(facts), re.DOTALL)
    assert "There is no answer where" in render_card(facts)
    predictor.task.context = replace(predictor.task.context, no_answer_threshold=None)
    ours = texts(predictor.score(rows).answers, rows, None)
    for row, expected in zip(rows, ours, strict=True):
        place = json.dumps(str(predictor.folder))
        asked = code.replace('"path/to/this/folder"', place)
        asked = asked.replace('"your question", "the text that answers it"', f"{row.texts[0]!r}, {row.texts[1]!r}")
        names: dict[str, Any] = {}
        exec(asked, names)
        assert names["answer"] == expected
