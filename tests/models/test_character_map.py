"""Character maps do in ``tokenizers`` what they say, and composed letters are those of SentencePiece's own rules."""

from __future__ import annotations

import unicodedata

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from feinschliff.models.character_map import precompiled, with_composed

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=1)


@given(st.dictionaries(texts, st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
@settings(max_examples=60, deadline=None)
def test_each_character_becomes_what_the_map_says(characters: dict[str, str]) -> None:
    normalizer = normalizers.Precompiled(precompiled(characters))
    for character, expected in characters.items():
        assert normalizer.normalize_str(character) == expected
    assert normalizer.normalize_str("x") == characters.get("x", "x")


def test_many_characters() -> None:
    characters = {chr(code): chr(code + 1) for code in range(0x100, 0x2000, 3)}
    normalizer = normalizers.Precompiled(precompiled(characters))
    for code in range(0x100, 0x2000):
        if unicodedata.category(chr(code)) not in ("Mn", "Mc"):
            assert normalizer.normalize_str(chr(code)) == characters.get(chr(code), chr(code))


@pytest.mark.parametrize("word", ["Müller", "Ärger", "été", "ação", "Číslo", "Łódź", "naïve", "ελληνικά", "йод"])
def test_letters_with_marks_are_composed_as_sentencepiece_does(word: str) -> None:
    apart = unicodedata.normalize("NFD", word)
    ours = normalizers.Precompiled(precompiled(with_composed({"\t": " "}))).normalize_str(apart)
    theirs = sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc").normalize(apart)
    assert ours == word == theirs.removeprefix("▁")


def test_marks_keep_their_order() -> None:
    """NFKC of the whole word would swap the last two marks, and XLM-R has pieces of the word as it is written."""
    burmese = "\u1014\u103e\u1004\u103a\u1037"  # a piece of XLM-R
    assert unicodedata.normalize("NFKC", burmese) != burmese
    assert normalizers.Precompiled(precompiled(with_composed({}))).normalize_str(burmese) == burmese


def test_the_map_itself_wins() -> None:
    assert with_composed({"é": "e"})["e\u0301"] == "e"
    assert with_composed({"e\u0301": "x"})["e\u0301"] == "x"
