"""What is shown is what is learned: the same tokens, weights and refusals as a run has; other rows as they are read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feinschliff.config.load import load_run_config
from feinschliff.data.load import load_examples, open_with_columns
from feinschliff.errors import DataError
from feinschliff.lifecycle.prepare import task_of
from feinschliff.lifecycle.recipes import given_fields
from feinschliff.lifecycle.recognise import with_rows, with_task
from feinschliff.lifecycle.show import Wanted, show
from feinschliff.results.tokens import ShowResult, TokenRow
from feinschliff.tasks._chat_encoding import ChatSet
from tests.data.test_load import rows, write
from tests.numerics.tiny_runs import made_splits

TALKS = [
    [("user", "what is it?"), ("assistant", "a parcel\nfor you")],
    [("user", "why 日本🌍?"), ("assistant", "because", 0), ("user", "sure?"), ("assistant", "yes 👩‍👩‍👧")],
    [("user", "nobody answers")],
    [("user", "weightless"), ("assistant", "nothing", 0)],
    [("user", "half"), ("assistant", "of it", 0.5)],
]


def lines_of(talks: list[list[tuple[Any, ...]]]) -> str:
    made = []
    for talk in talks:
        messages = [dict(zip(("role", "content", "weight"), said, strict=False)) for said in talk]
        made.append(json.dumps({"messages": messages}))
    return "\n".join(made) + "\n"


@pytest.fixture
def talks(tmp_path: Path) -> str:
    """Five conversations, one a line."""
    (tmp_path / "talks.jsonl").write_text(lines_of(TALKS), encoding="utf-8")
    return str(tmp_path / "talks.jsonl")


def shown(source: str, model: Path, *options: str, **wanted: Any) -> ShowResult:
    config, origins = load_run_config(None, ["--data.train", source, "--model.source", str(model), *options])
    return show(config, given_fields(origins), Wanted(**wanted))


def learned(row: TokenRow) -> str:
    return "".join(token for token, weight in zip(row.tokens, row.weights, strict=True) if weight)


def encoded(source: str, model: Path, *options: str) -> ChatSet:
    """The same rows as a run makes them, with the model in memory."""
    given = ["--data.train", source, "--model.source", str(model), *options]
    config, origins = load_run_config(None, given)
    config = with_rows(config, given_fields(origins))
    columns = open_with_columns([source], config.data)[1]
    config = with_task(config, given_fields(origins), columns, lambda _: None)
    examples = load_examples([source], config.data, columns)[0]
    task = task_of(config, made_splits(8, 4, "conversations"))
    task.load_model(config.model, model)
    found: ChatSet = task.encode(examples, min(config.model.max_length_tokens or 256, 256))
    return found


@pytest.mark.parametrize(
    "options",
    [(), ("--task=sft", "--task.loss-on", "last"), ("--task=sft", "--task.loss-on", "user,assistant")],
    ids=["answers", "last", "roles"],
)
def test_tokens_and_weights_are_those_of_a_run(talks: str, tiny_decoder: Path, options: tuple[str, ...]) -> None:
    result = shown(talks, tiny_decoder, *options, num_rows=9)
    run = encoded(talks, tiny_decoder, *options)
    taught = [row for row in result.shown if row.num_with_loss]
    table: Any = run.table
    assert len(taught) == len(table)
    for number, row in enumerate(taught):
        begin, end = table.offsets[number : number + 2]
        assert row.ids[: end - begin] == table.ids[begin:end].tolist()
        goal: Any = run.targets
        expected = np.where(goal.values[begin:end] >= 0, goal.values[begin:end], -1)
        following = [one if weight else -1 for one, weight in zip(row.ids, row.weights, strict=True)][1:]
        assert following[: end - begin] == expected.tolist()
        assert not any(weight for weight in row.weights[end - begin + 1 :])
    assert result.totals is not None
    assert result.totals.tokens_with_loss == run.targets.num_targets  # type: ignore[union-attr]
    assert result.totals.training_rows == len(table)


def test_texts_of_tokens_make_the_row_again(talks: str, tiny_decoder: Path) -> None:
    first, second, silent, half = shown(talks, tiny_decoder, num_rows=9).shown
    assert learned(first) == "a parcel\nfor you<|im_end|>"
    assert "".join(second.tokens).startswith("<|im_start|>user\nwhy 日本🌍?<|im_end|>\n")
    assert learned(second) == "yes 👩‍👩‍👧<|im_end|>"
    assert (silent.line, learned(silent), silent.notes[0][:11]) == (4, "", "not learned")
    assert {weight for weight in half.weights if weight} == {0.5}
    assert [row.line for row in (first, second, silent, half)] == [1, 2, 4, 5]


def test_totals_of_all_rows_whatever_is_shown(talks: str, tiny_decoder: Path) -> None:
    result = shown(talks, tiny_decoder, num_rows=0)
    totals = result.totals
    assert totals is not None
    assert result.shown == []
    assert (result.rows_read, totals.rows, totals.training_rows) == (5, 4, 3)
    assert result.left_out == {"no message of the assistant": 1}
    (silent,) = totals.without_loss
    assert (silent.rows, silent.places) == (1, [f"{talks}:4"])
    assert "weight 0" in silent.reason
    everything = shown(talks, tiny_decoder, num_rows=9)
    learned_rows = [row for row in everything.shown if row.num_with_loss]
    assert totals.tokens == sum(row.num_tokens for row in learned_rows)
    assert totals.loss_weight == sum(sum(row.weights) for row in learned_rows)
    assert totals.end_tokens == ["<|im_end|>"]
    assert (result.task, result.template and result.template.origin) == ("sft", "tokenizer")


def test_no_weights_are_needed(talks: str, tiny_decoder: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(tiny_decoder, tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    assert shown(talks, bare).shown == shown(talks, tiny_decoder).shown


def test_refusals_are_those_of_a_run(talks: str, tiny_decoder: Path) -> None:
    assert shown(talks, tiny_decoder).refusals == []
    options = ("--task=sft", "--task.chat-template", "llama3")
    refused = [(one.what, one.where, one.why, one.remedy) for one in shown(talks, tiny_decoder, *options).refusals]
    faults = [(one.what, one.where, one.why, one.remedy) for one in encoded(talks, tiny_decoder, *options).faults]
    assert refused == faults
    assert any("ends answers with no special token" in what for what, *_ in refused)
    assert any("is read in" in what for what, *_ in refused)


def test_rows_of_which_most_are_lost_are_refused(tmp_path: Path, tiny_decoder: Path) -> None:
    silent = [[("user", f"question {n}"), ("assistant", "no", 0)] for n in range(3)]
    (tmp_path / "silent.jsonl").write_text(lines_of([*silent, TALKS[0]]), encoding="utf-8")
    result = shown(str(tmp_path / "silent.jsonl"), tiny_decoder)
    (refusal,) = result.refusals
    assert refusal.what == "3 of 4 rows have no token that carries loss"
    assert refusal.where == f"{tmp_path / 'silent.jsonl'}:1"


@pytest.mark.parametrize("rule", ["drop", "cut", "window"])
def test_long_rows(tmp_path: Path, tiny_decoder: Path, rule: str) -> None:
    (tmp_path / "page.md").write_text("one two " * 80, encoding="utf-8")
    limit = ("--model.max-length-tokens", "30", "--task=sft", "--task.long-rows", rule, "--data.rows=documents")
    result = shown(str(tmp_path / "page.md"), tiny_decoder, *limit)
    (row,) = result.shown
    total = row.num_tokens
    assert total > 200
    expected = {"drop": (0, []), "cut": (30, [31]), "window": (total - 1, list(range(31, total, 30)))}
    assert (row.num_with_loss, row.borders) == expected[rule]
    assert row.notes == [f"{total} tokens are more than 30: {expected_words(rule)}"]
    assert result.totals is not None
    assert result.totals.long_rows == {expected_words(rule): 1}
    assert result.totals.tokens == {"drop": 0, "cut": 31, "window": total}[rule]
    run = encoded(str(tmp_path / "page.md"), tiny_decoder, *limit)
    assert result.totals.training_rows == len(run.table)


def expected_words(rule: str) -> str:
    return {"drop": "dropped", "cut": "cut", "window": "read in windows"}[rule]


def test_a_very_long_row_shows_begin_and_end(tmp_path: Path, tiny_decoder: Path) -> None:
    (tmp_path / "page.md").write_text("one two " * 80, encoding="utf-8")
    (whole,) = shown(str(tmp_path / "page.md"), tiny_decoder).shown
    (row,) = shown(str(tmp_path / "page.md"), tiny_decoder, max_tokens=40).shown
    assert (len(row.ids), row.gap, row.num_tokens) == (40, 30, whole.num_tokens)
    assert row.ids == whole.ids[:30] + whole.ids[-10:]
    assert row.num_with_loss == whole.num_with_loss
    assert whole.gap is None
    assert whole.tokens[-1] == "<|im_end|>"


def test_rows_at_lines(talks: str, tiny_decoder: Path) -> None:
    result = shown(talks, tiny_decoder, lines=(5, 3))
    assert [(row.line, bool(row.ids)) for row in result.shown] == [(3, False), (5, True)]
    assert result.shown[0].notes == ["left out: no message of the assistant"]
    with pytest.raises(DataError) as caught:
        shown(talks, tiny_decoder, lines=(7, 2, 80))
    assert [fault.what for fault in caught.value.faults] == ["no row begins at line 7", "no row begins at line 80"]
    assert "--line 5" in (caught.value.faults[0].remedy or "")


def test_personal_data_is_shown_as_it_is_learned(tmp_path: Path, tiny_decoder: Path) -> None:
    talk = [("user", "mail?"), ("assistant", "jane@firma.de")]
    (tmp_path / "mail.jsonl").write_text(lines_of([talk, [("user", "jane@firma.de")]]), encoding="utf-8")
    result = shown(str(tmp_path / "mail.jsonl"), tiny_decoder, "--data.redact", "true", lines=(1, 2))
    assert learned(result.shown[1]) == "[EMAIL]<|im_end|>"
    assert "personal data replaced: 1 e-mail address" in result.columns.announcements
    assert "firma" not in result.model_dump_json()


def test_labelled_rows_are_shown_as_they_are_read(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.csv", [*rows(8), ("", "a")])
    config, origins = load_run_config(None, ["--data.train", source])
    result = show(config, given_fields(origins), Wanted(lines=(2, 10)))
    assert [row.values for row in result.read] == [{"text": rows()[0][0], "label": "a"}, {"text": "", "label": "a"}]
    assert result.read[1].note == "left out: no text in column 'text'"
    assert (result.totals, result.task, result.rows_read) == (None, None, 9)
    assert result.left_out == {"no text in column 'text'": 1}
