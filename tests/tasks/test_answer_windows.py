"""Windows of questions and texts: every answer is found again by its characters, through several tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from feinschliff.data.examples import Answer, Example, Place
from feinschliff.engine.batching import NO_TARGET, TokenTable, TokenTargets
from feinschliff.tasks._answer_windows import END, FIRST, INSIDE, START, cut_questions, encode_questions

TEXT = (
    "Angela Merkel was born in Hamburg in 1954. She studied physics in Leipzig, Ölfässer inbegriffen; the 日本 trip "
    "(1,435 mm standard gauge) cost £5.60 a day. In 2005 she was elected. After that a house was built for the dog."
)
ANSWERS = ("Hamburg", "1954", "Ölfässer", "日本", "1,435 mm standard gauge", "£5.60", "2005", "Angela", "dog")


def _trained(kind: str) -> Any:
    """A tokenizer of a kind, learned on the text: WordPiece, byte-level BPE (RoBERTa) or Unigram (XLM-R)."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    if kind == "bpe":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer: Any = trainers.BpeTrainer(vocab_size=320, special_tokens=special, show_progress=False)
        trainer.initial_alphabet = pre_tokenizers.ByteLevel.alphabet()
    elif kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=80, special_tokens=special, unk_token="[UNK]", show_progress=False)
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([TEXT, "Where was she born?"], trainer)
    two = "[CLS] $A [SEP] [SEP] $B [SEP]" if kind == "bpe" else "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1"
    ids = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair=two, special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


@pytest.fixture(scope="module", params=["wordpiece", "bpe", "unigram"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return _trained(request.param)


def _example(start: int, end: int, text: str = TEXT) -> Example:
    return Example(("Where was she born?", text), (), Place("a", 1), answers=(Answer(start, end),))


def _of(word: str) -> Example:
    start = TEXT.index(word)
    return _example(start, start + len(word))


def _pointed(rows: Any) -> list[tuple[int, int] | None]:
    """Of each window the characters that its targets say; None where it points to the first token."""
    assert isinstance(rows.targets, TokenTargets)
    found: list[tuple[int, int] | None] = []
    for begin, stop in zip(rows.table.offsets, rows.table.offsets[1:], strict=False):
        values = rows.targets.values[begin:stop]
        (start,), (end,) = np.flatnonzero(values & START), np.flatnonzero(values & END)
        assert values[0] & FIRST
        assert np.flatnonzero(values & FIRST).tolist() == [0]
        if start == 0:
            assert end == 0
            found.append(None)
        else:
            assert values[start] & INSIDE
            assert values[end] & INSIDE
            assert start <= end
            found.append((int(rows.ranges_T2[begin + start, 0]), int(rows.ranges_T2[begin + end, 1])))
    return found


@pytest.mark.parametrize("limit", [40, 64, 512])
def test_every_answer_is_found_again(tokenizer: Any, limit: int) -> None:
    examples = [_of(word) for word in ANSWERS]
    rows = encode_questions(tokenizer, examples, limit, 0.5)
    assert rows.num_inexact == 0
    assert rows.table.lengths.max() <= limit
    pointed = _pointed(rows)
    for row, example in enumerate(examples):
        own = pointed[rows.first_windows[row] : rows.first_windows[row + 1]]
        (answer,) = example.answers
        assert set(own) - {None} <= {(answer.start, answer.end)}
        if limit > 40:  # in shorter windows an answer of many pieces may fit none
            assert (answer.start, answer.end) in own
        assert (len(own) > 1) is (limit < 512)


def test_windows_cover_the_text_and_overlap(tokenizer: Any) -> None:
    rows = encode_questions(tokenizer, [_of("dog")], 48, 0.5)
    seen = np.zeros(len(TEXT), dtype=int)
    for begin, stop in zip(rows.table.offsets, rows.table.offsets[1:], strict=False):
        covered = np.zeros(len(TEXT), dtype=bool)
        for token in begin + np.flatnonzero(rows.targets.values[begin:stop] & INSIDE):
            covered[slice(*rows.ranges_T2[token])] = True
        seen += covered
    assert all(count or character.isspace() for count, character in zip(seen, TEXT, strict=True))
    assert (seen > 1).any()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_piece_of_a_text_lies_inside_what_is_pointed_to(data: st.DataObject) -> None:
    words = data.draw(
        st.lists(st.sampled_from(["dog", "Ölfässer", "日本語", "£5.60", "(a)", "naïve", "x"]), min_size=1)
    )
    text = data.draw(st.sampled_from([" ", "  ", "\n"])).join(words)
    start = data.draw(st.sampled_from([i for i, one in enumerate(text) if not one.isspace()]))
    end = data.draw(st.sampled_from([i + 1 for i, one in enumerate(text) if not one.isspace() and i >= start]))
    rows = encode_questions(WORDPIECE, [_example(start, end, text)], 512, 0.3)
    (pointed,) = _pointed(rows)
    assert pointed is not None
    assert pointed[0] <= start < end <= pointed[1]
    assert (pointed == (start, end)) is (rows.num_inexact == 0)


WORDPIECE = _trained("wordpiece")


def test_an_answer_cut_by_a_window_and_no_answer_point_to_the_first_token() -> None:
    rows = encode_questions(WORDPIECE, [_example(0, len(TEXT)), _example(0, 6)], 64, 0.3)
    pointed = _pointed(rows)
    assert set(pointed[: rows.first_windows[1]]) == {None}
    assert pointed[rows.first_windows[1]] == (0, 6)
    without = Example(("Who?", TEXT), (), Place("a", 1), answers=())
    assert set(_pointed(encode_questions(WORDPIECE, [without], 64, 0.3))) == {None}


def test_of_several_answers_the_most_frequent_is_learned() -> None:
    answers = tuple(Answer(TEXT.index(word), TEXT.index(word) + len(word)) for word in ("1954", "dog", "dog"))
    example = Example(("When?", TEXT), (), Place("a", 1), answers=answers)
    assert _pointed(encode_questions(WORDPIECE, [example], 512, 0.3)) == [(answers[1].start, answers[1].end)]


def test_long_questions_are_cut_and_counted(tiny_bert: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    long = Example((" ".join(["dog"] * 90), "the cat"), (), Place("a", 1), answers=(Answer(4, 7),))
    questions, num_cut = cut_questions(tokenizer, [long, _of("dog")], 120)
    assert (questions[0].split(), num_cut) == (["dog"] * 58, 1)
    rows = encode_questions(tokenizer, [long], 120, 0.3)
    assert rows.num_cut == 1
    assert _pointed(rows) == [(4, 7)]


@pytest.mark.parametrize("limit", [8, 9, 12])
def test_the_smallest_limits_leave_room(tokenizer: Any, limit: int) -> None:
    rows = encode_questions(tokenizer, [_of("dog")], limit, 0.3)
    assert rows.table.lengths.max() <= limit


def test_windows_do_not_depend_on_what_stands_beside(tokenizer: Any) -> None:
    alone = encode_questions(tokenizer, [_of("dog")], 64, 0.3).table
    beside = encode_questions(tokenizer, [Example(("a " * 90, TEXT), (), Place("a", 1)), _of("dog")], 64, 0.3)
    begin = beside.table.offsets[beside.first_windows[1]]
    assert isinstance(alone, TokenTable)
    np.testing.assert_array_equal(alone.ids, beside.table.ids[begin:])


def test_virtual_tokens_have_no_part() -> None:
    rows = encode_questions(WORDPIECE, [_of("dog"), _of("1954")], 64, 0.3)
    moved = rows.behind(3)
    assert isinstance(moved.targets, TokenTargets)
    assert len(moved.table) == len(rows.table)
    assert (moved.targets.values == NO_TARGET).sum() == 3 * len(rows.table)
    kept = moved.targets.values[moved.targets.values != NO_TARGET]
    np.testing.assert_array_equal(kept, rows.targets.values)
