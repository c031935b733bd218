"""Tokenized rows that are kept: the same rows again, under a key of everything they depend on."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feinschliff.data.examples import Example
from feinschliff.engine.batching import TokenTargets
from feinschliff.models.chat_rows import ChatRenderer
from feinschliff.tasks import _chat_cache
from feinschliff.tasks._chat_encoding import ChatSet
from feinschliff.tasks._sft import Sft
from tests.models.chat_tokenizers import tokenizer_for
from tests.models.tiny_decoders import save_tiny_decoder
from tests.tasks.test_sft import conversation, sft, thoughts

READ, KEPT = "tokenized rows were read from the cache", "tokenized rows are kept in the cache for the next run"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where small sets are kept too."""
    monkeypatch.setenv("FEINSCHLIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_chat_cache, "FEWEST_CHARACTERS", 1)
    monkeypatch.setattr(_chat_cache, "MOST_SETS", 8)
    return tmp_path / "cache" / "tokens"


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the template that leaves earlier reasoning out."""
    folder = save_tiny_decoder(tmp_path_factory.mktemp("qwen3"), "qwen3")
    tokenizer = tokenizer_for("qwen3", pattern=None)
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(folder)
    return folder


def rows() -> list[Example]:
    """Of every kind: unrolled, weighted, without loss, without a prompt."""
    return [
        thoughts(),
        conversation("Hello", "Fine", "So", "No", weights={1: 0.25}),
        conversation("Hello", "Fine", weights={1: 0.0}),
        conversation("Alone", roles="a"),
        conversation("Hello <|im_end|>", "Yes"),
    ]


def contents(encoded: ChatSet) -> tuple[Any, ...]:
    targets = encoded.targets
    assert isinstance(targets, TokenTargets)
    arrays = (encoded.table.ids, encoded.table.offsets, targets.values, targets.weights, encoded.owner)  # type: ignore[attr-defined]
    said = [note for note in encoded.notes if note not in (READ, KEPT)]
    return ([(None if a is None else (a.dtype, a.tolist())) for a in arrays], said, encoded.faults, encoded.num_cut)


def test_rows_that_were_kept_are_the_same_and_nothing_is_tokenized(
    qwen3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sft(qwen3, tmp_path / "a", on_mismatch="inference")
    plain = sft(qwen3, tmp_path / "b", on_mismatch="inference", token_cache=False)
    made, expected = first.encode(rows(), 500), plain.encode(rows(), 500)
    assert KEPT in made.notes
    second = sft(qwen3, tmp_path / "c", on_mismatch="inference")
    monkeypatch.setattr(ChatRenderer, "rows", lambda *_: pytest.fail("rendered anew"))
    read = second.encode(rows(), 500)
    assert READ in read.notes
    assert contents(read) == contents(made) == contents(expected)
    assert len(contents(read)[1]) > 2, "there is something to be said of these rows"
    assert first._ends == second._ends
    shorter = second.encode(rows(), 35)
    assert READ in shorter.notes, "the limit is applied to what was kept"
    assert len(shorter.table) < len(read.table)


def test_documents_are_kept_too(tiny_decoder: Path, tmp_path: Path) -> None:
    documents = [
        replace(conversation("Hello", "x"), conversation=None),
        replace(conversation("So", "x"), conversation=None),
    ]
    made, read = (sft(tiny_decoder, tmp_path / name).encode(documents, 100) for name in "ab")
    assert (KEPT in made.notes, READ in read.notes) == (True, True)
    assert contents(made) == contents(read)


def notes_of(task: Sft, examples: list[Example]) -> str:
    (said,) = [note for note in task.encode(examples, 500).notes if note in (READ, KEPT)]
    return said


def test_the_key_holds_everything_that_rows_depend_on(qwen3: Path, tmp_path: Path, cache: Path) -> None:
    asked = conversation("Hello", "Fine")
    base = sft(qwen3, tmp_path / "0")
    assert notes_of(base, [asked]) == KEPT
    assert notes_of(base, [asked]) == READ
    others = [
        (base, [asked, asked]),
        (base, [conversation("Hello", "Fine", weights={1: 0.5})]),
        (base, [conversation("Hello!", "Fine")]),
        (sft(qwen3, tmp_path / "1", template_arguments=("enable_thinking=true",)), [asked]),
        (sft(qwen3, tmp_path / "2", loss_on=("all",)), [asked]),
        (sft(qwen3, tmp_path / "3", on_mismatch="inference"), [asked]),
        (sft(qwen3, tmp_path / "4", chat_template="chatml"), [asked]),
    ]
    assert [notes_of(task, examples) for task, examples in others] == [KEPT] * len(others)
    base.loaded.tokenizer.add_tokens(["Fine"])  # type: ignore[union-attr]
    assert notes_of(base, [asked]) == KEPT
    assert len([one for one in cache.iterdir() if one.is_dir()]) == _chat_cache.MOST_SETS


def test_a_template_that_reads_the_clock_is_rendered_every_time(
    tiny_decoder: Path, tmp_path: Path, cache: Path
) -> None:
    template = tmp_path / "dated.jinja"
    text = "{{ strftime_now('%d') }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    template.write_text(text, encoding="utf-8")
    task = sft(tiny_decoder, tmp_path / "a", chat_template=str(template))
    task.encode([conversation("Hello", "Yes")], 100)
    assert not cache.exists()


def test_what_is_damaged_is_made_anew(tiny_decoder: Path, tmp_path: Path, cache: Path) -> None:
    task, examples = sft(tiny_decoder, tmp_path / "a"), [conversation("Hello", "Yes")]
    made = task.encode(examples, 100)
    for name in (_chat_cache.ROWS, _chat_cache.FACTS):
        for folder in [one for one in cache.iterdir() if one.is_dir()]:
            (folder / name).write_bytes(b"PK\x03\x04 half")
        again = task.encode(examples, 100)
        assert KEPT in again.notes
        assert contents(again) == contents(made)


def test_a_full_disk_costs_the_cache_and_not_the_run(
    tiny_decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = sft(tiny_decoder, tmp_path / "a")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez", full)
    found = task.encode([conversation("Hello", "Yes")], 100)
    assert len(found.table) == 1
    assert any(note.startswith("tokenized rows are not kept: no space left") for note in found.notes)


def test_small_sets_are_not_worth_a_file(
    tiny_decoder: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_chat_cache, "FEWEST_CHARACTERS", 10_000)
    assert sft(tiny_decoder, tmp_path / "a").encode([conversation("Hello", "Yes")], 100).notes == []
    assert not cache.exists()
