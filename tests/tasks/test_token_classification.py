"""Token classification: words, windows, decoding, spans of characters, what other programs read."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from feinschliff.config.load import load_run_config
from feinschliff.config.model import ModelConfig
from feinschliff.data.examples import Example, Place
from feinschliff.data.spans import Span
from feinschliff.data.tag_schemes import tag_names
from feinschliff.engine import loop
from feinschliff.engine.batching import NO_TARGET, TokenTargets
from feinschliff.lifecycle.finish import export_best
from feinschliff.lifecycle.tune import tune
from feinschliff.predictor import Predictor
from feinschliff.store.run_directory import RunDirectory
from feinschliff.tasks._tag_decoding import TagDecoder
from feinschliff.tasks._task import TaskContext
from feinschliff.tasks._token_classification import TokenClassification
from feinschliff.tasks._token_windows import EncodedWords
from feinschliff.tasks.token_classification import TokenClassificationConfig
from tests.numerics.tiny_runs import examples, made_fit, made_run, made_splits, resolved

NAMES = tag_names(("X", "Y"), "IOB2")


def made_task(folder: Path, overlap: float = 0.25) -> TokenClassification:
    config = TokenClassificationConfig(window_overlap_fraction=overlap)
    task = TokenClassification(config, TaskContext(("X", "Y"), False, 1))
    task.load_model(ModelConfig(), folder)
    return task


def row(text: str, *spans: tuple[int, int, str]) -> Example:
    return Example((text,), (), Place("made-up", 1), spans=tuple(Span(*span) for span in spans))


def perfect(task: TokenClassification, encoded: EncodedWords) -> np.ndarray:
    """Outputs of a network that is always right."""
    assert isinstance(encoded.targets, TokenTargets)
    outputs = np.zeros((len(encoded.targets.values), 3), dtype=np.float32)
    outputs[encoded.words, 0] = encoded.targets.values[encoded.words]
    outputs[encoded.words, 1] = 1.0
    return outputs


@pytest.mark.parametrize("limit", [128, 16, 8])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
def test_every_word_has_one_tag_however_long_the_text_is(tiny_bert: Path, limit: int, overlap: float) -> None:
    text = "good movie, the book-film card; bank account (transfer) money " * 6
    spans = [(place, place + 4, "X") for place in range(len(text)) if text.startswith("book", place)]
    spans += [(place, place + 12, "Y") for place in range(len(text)) if text.startswith("bank account", place)]
    task = made_task(tiny_bert, overlap)
    encoded = task.encode([row("late"), row(text, *sorted(spans)), row("")], limit)
    assert encoded.words is not None
    assert encoded.ranges_W2 is not None
    assert encoded.num_cut == 0
    assert encoded.num_inexact == 0
    assert int(encoded.table.lengths.max()) <= limit
    assert encoded.num_windowed == (limit < 100)
    begin, end = encoded.first_words[1:3].tolist() if encoded.first_words is not None else (0, 0)
    words = [text[start:stop] for start, stop in encoded.ranges_W2[begin:end].tolist()]
    assert "".join(words) == text.replace(" ", "")
    assert words[:6] == ["good", "movie", ",", "the", "book", "-"]
    found = task.answers(perfect(task, encoded), encoded)
    assert [[span for span, _ in spans_of] for spans_of in found] == [[], [Span(*s) for s in sorted(spans)], []]


def test_only_first_tokens_of_words_carry_loss(tiny_bert: Path) -> None:
    task = made_task(tiny_bert)
    encoded = task.encode([row("unknownword good", (0, 11, "X"))], 128)
    assert isinstance(encoded.targets, TokenTargets)
    tagged = [NAMES[value] for value in encoded.targets.values.tolist() if value != NO_TARGET]
    assert tagged == ["B-X", "O"]
    assert len(encoded.targets.values) > 4, "the first word has several tokens"


def brute_force(scores_LC: np.ndarray) -> tuple[int, ...]:
    """The best allowed sequence among all."""

    def allowed(tags: tuple[int, ...]) -> bool:
        names = ["O", *(NAMES[tag] for tag in tags)]
        return all(not now.startswith("I-") or before[2:] == now[2:] for before, now in itertools.pairwise(names))

    every = (tags for tags in itertools.product(range(len(NAMES)), repeat=len(scores_LC)) if allowed(tags))
    return max(every, key=lambda tags: scores_LC[np.arange(len(tags)), list(tags)].sum())


@given(st.integers(0, 10_000), st.lists(st.integers(1, 4), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_decoding_finds_the_likeliest_sequence_that_is_allowed(seed: int, lengths: list[int]) -> None:
    scores = torch.randn(len(lengths), max(lengths), len(NAMES), generator=torch.Generator().manual_seed(seed))
    tags = TagDecoder(NAMES).decode(scores, torch.tensor(lengths))
    for place, length in enumerate(lengths):
        assert tuple(tags[place, :length].tolist()) == brute_force(scores[place, :length].numpy())


def test_the_loss_is_transformers_on_first_tokens(tiny_bert: Path) -> None:
    """Packed, against ``BertForTokenClassification`` row by row."""
    from transformers import AutoModelForTokenClassification

    task = TokenClassification(TokenClassificationConfig(), TaskContext(("X", "Y"), False, 1))
    network = task.load_model(ModelConfig(), tiny_bert).eval()
    rows = [row("good movie card", (0, 4, "X")), row("late", (0, 4, "Y")), row("the book", (4, 8, "X"))]
    encoded = task.encode(rows, 128)
    batch = encoded.table.collate(np.arange(3), encoded.targets)
    ours = task.loss(network, batch)
    plain = AutoModelForTokenClassification.from_pretrained(tiny_bert, num_labels=len(NAMES)).eval()
    plain.classifier.load_state_dict(network.head.linear.state_dict())
    total, offsets = 0.0, encoded.table.offsets  # type: ignore[attr-defined]
    for place in range(3):
        part = slice(int(offsets[place]), int(offsets[place + 1]))
        ids = torch.from_numpy(encoded.table.ids[part]).long()[None]  # type: ignore[attr-defined]
        labels = torch.from_numpy(encoded.targets.values[part])[None]  # type: ignore[union-attr]
        total += float(plain(input_ids=ids, labels=labels).loss) * int((labels != NO_TARGET).sum())
    assert float(ours.loss_sum) == pytest.approx(total, rel=1e-5)
    assert ours.num_targets == 6


def test_transformers_finds_the_same_spans(tiny_bert: Path, tmp_path: Path) -> None:
    from transformers import pipeline

    splits = made_splits(48, 12, "spans")
    prepared = made_run(tiny_bert, tmp_path, splits, task="token_classification", epochs=6.0, learning_rate=3e-3)
    fit = made_fit(prepared, tmp_path)
    list(loop.fit(fit))
    export_best(prepared, loop.best_file(fit), resolved(tiny_bert), splits, RunDirectory(tmp_path))
    predictor = Predictor(tmp_path)
    found = predictor.score(splits.validation).answers
    assert sum(map(len, found)) > 5
    find = pipeline("token-classification", model=str(predictor.folder), aggregation_strategy="first", device="cpu")
    for example, spans in zip(splits.validation, found, strict=True):
        theirs = [(span["start"], span["end"], span["entity_group"]) for span in find(example.texts[0])]
        assert theirs == [(span.start, span.end, span.label) for span, _ in spans]
    plain = predictor.task.plain_outputs(predictor.folder, splits.validation)
    np.testing.assert_allclose(plain, predictor.outputs(splits.validation), atol=1e-5)


@pytest.mark.slow
def test_tune_on_a_conll_file_and_predict(tiny_bert: Path, tmp_path: Path) -> None:
    lines = []
    for number, example in enumerate(examples(150, 1, "spans")):
        starts = {span.start: span.label for span in example.spans}
        place = 0
        for word in example.texts[0].split(" "):
            lines.append(f"{word} {'B-' + starts[place] if place in starts else 'O'}")
            place += len(word) + 1
        lines += [f"n{number} O", ""]
    (tmp_path / "rows.conll").write_text("\n".join(lines) + "\n")
    values = {
        "data": {"train": [str(tmp_path / "rows.conll")]},
        "model": {"source": str(tiny_bert)},
        "method": {"type": "full"},
        "training": {"precision": "fp32", "num_threads": 1, "epochs": 3.0},
        "output_dir": str(tmp_path / "run"),
    }
    result = tune(*load_run_config(None, values), budget_seconds=60.0)
    assert result.metric == "entity_f1"
    assert set(result.baselines) == {"list of known entities", "linear probe"}
    assert result.baselines["list of known entities"]["entity_f1"].value > 0.9, "each word means the same everywhere"
    assert {c.label for c in result.details.evaluation.classes} == {"delivery", "film", "money"}
    report = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "entity F1" in report
    predictor = Predictor(tmp_path / "run")
    (answer,) = predictor.task.results(predictor.score([row("the movie")]).answers, [row("the movie")])
    assert answer.spans is not None
    assert all(span.text == "the movie"[span.start : span.end] for span in answer.spans)
