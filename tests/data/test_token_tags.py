"""Spans to tags of subwords and back, through tokenizers of three kinds; what tags cannot say is counted."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

from feinschliff.data.spans import Span, in_characters, join_tokens
from feinschliff.data.tag_schemes import Scheme
from feinschliff.data.token_tags import IGNORED, TagSet, filled_ranges, spans_from_tags, token_tags

WORDS = ["Angela", "Merkel", "besuchte", "Paris", "an", "der", "Seine", "U.S.", "naïve", "東京", "12,5", "🙂", "x-y"]
SENTENCES = [" ".join(WORDS), "Merkel an der Seine", "Paris 東京 U.S. naïve 🙂 x-y", "besuchte Angela 12,5"]


def word_pieces() -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(SENTENCES, trainers.WordPieceTrainer(vocab_size=70, special_tokens=["[UNK]", "<s>"]))
    return made


def bytes_of_roberta() -> Tokenizer:
    """Bytes are the smallest pieces, so that a character may have several tokens; blanks belong to the next word."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=280, special_tokens=["<s>"], initial_alphabet=alphabet)
    )
    return made


def sentence_pieces() -> Tokenizer:
    """As XLM-R and DeBERTa have them: a token's offsets begin with the blank before it."""
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=["<unk>", "<s>"], unk_token="<unk>")
    made.train_from_iterator(SENTENCES, trainer)
    return made


@pytest.fixture(scope="module", params=[word_pieces, bytes_of_roberta, sentence_pieces])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    made: Tokenizer = request.param()
    made.post_processor = processors.TemplateProcessing("<s> $A <s>", None, [("<s>", made.token_to_id("<s>"))])
    return made


@st.composite
def tagged_texts(draw: st.DrawFn) -> tuple[str, list[Span]]:
    """A text of words, and spans from words to words, some of them touching."""
    words = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8))
    text, ranges_N2 = join_tokens(words)
    spans, place = [], 0
    while place < len(words):
        length = draw(st.integers(1, 3))
        label = draw(st.sampled_from(["", "PER", "LOC"]))
        if label:
            spans.append(Span(place, min(len(words), place + length), label))
        place += length
    return text, in_characters(spans, ranges_N2)


@pytest.mark.parametrize("scheme", ["IOB2", "BIOES", "IOB1"])
def test_spans_on_borders_of_tokens_survive_there_and_back(tokenizer: Tokenizer, scheme: Scheme) -> None:
    tag_set = TagSet(("LOC", "PER"), scheme)

    @settings(suppress_health_check=[HealthCheck.too_slow])
    @given(tagged_texts())
    def check(row: tuple[str, list[Span]]) -> None:
        text, spans = row
        offsets = tokenizer.encode(text).offsets
        tags = token_tags(offsets, spans, text, tag_set)
        assert (tags.num_inexact, tags.num_unseen) == (0, 0)
        assert tags.ids_T[[0, -1]].tolist() == [IGNORED, IGNORED]
        assert spans_from_tags(offsets, tags.ids_T, text, tag_set) == spans

    check()


def test_tags_are_those_of_pre_split_words(tiny_bert: Path) -> None:
    """The usual way, with ``word_ids``, gives the same tags for the same words."""
    made: Any = AutoTokenizer.from_pretrained(tiny_bert)
    tag_set = TagSet(("LOC", "PER"))
    words, tags = ["please", "meet", "angela", "merkel", "in", "paris-nord"], [0, 0, 3, 4, 0, 1]
    split = made(words, is_split_into_words=True)
    expected, before = [], None
    for word in split.word_ids():
        tag = IGNORED if word is None else tags[word]
        expected.append(tag + 1 if tag in (1, 3) and word == before else tag)
        before = word
    text, ranges_N2 = join_tokens(words)
    whole = made(text, return_offsets_mapping=True)
    assert whole["input_ids"] == split["input_ids"]
    spans = in_characters([Span(2, 4, "PER"), Span(5, 6, "LOC")], ranges_N2)
    assert token_tags(whole["offset_mapping"], spans, text, tag_set).ids_T.tolist() == expected


TAGS = TagSet(("X", "Y"))


def test_borders_inside_tokens_are_counted() -> None:
    text, offsets = "abcd efgh", [(0, 0), (0, 2), (2, 4), (5, 9), (0, 0)]
    tags = token_tags(offsets, [Span(1, 4, "X"), Span(5, 9, "Y")], text, TAGS)
    assert tags.ids_T.tolist() == [IGNORED, 1, 2, 3, IGNORED]
    assert (tags.num_inexact, tags.num_unseen) == (1, 0)
    assert spans_from_tags(offsets, tags.ids_T, text, TAGS) == [Span(0, 4, "X"), Span(5, 9, "Y")]


def test_two_spans_in_a_token_and_spans_that_were_cut_off() -> None:
    text, offsets = "abcd efgh ijkl", [(0, 4), (5, 9)]
    tags = token_tags(offsets, [Span(0, 2, "X"), Span(2, 4, "Y"), Span(5, 14, "X"), Span(10, 14, "Y")], text, TAGS)
    assert tags.ids_T.tolist() == [1, 1]
    assert (tags.num_inexact, tags.num_unseen) == (2, 2)


def test_blanks_belong_to_no_token() -> None:
    text = "a  New\u00a0 York b"
    offsets = [(0, 1), (1, 3), (2, 6), (6, 8), (7, 12), (12, 14)]
    expected = [[0, 1], [1, 1], [3, 6], [6, 6], [8, 12], [13, 14]]
    assert filled_ranges(offsets, text).tolist() == expected
    tags = token_tags(offsets, [Span(3, 12, "X")], text, TAGS)
    assert tags.ids_T.tolist() == [0, IGNORED, 1, IGNORED, 2, 0]
    assert spans_from_tags(offsets, [0, 0, 1, 3, 2, 0], text, TAGS) == [Span(3, 12, "X")]
    assert filled_ranges([(0, 0), (0, 0)], "").tolist() == [[0, 0], [0, 0]]


def test_subwords_that_contradict_each_other_give_spans_apart_from_each_other(tokenizer: Tokenizer) -> None:
    text = SENTENCES[2]
    offsets = tokenizer.encode(text).offsets
    rng = np.random.default_rng(0)
    for _ in range(200):
        found = spans_from_tags(offsets, rng.integers(0, 5, len(offsets)), text, TAGS)
        assert all(a.end <= b.start for a, b in pairwise(found))
        assert all(text[span.start : span.end].strip() == text[span.start : span.end] != "" for span in found)
