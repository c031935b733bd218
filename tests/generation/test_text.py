"""Text from tokens: whole characters only, stop strings wherever they begin, and nothing lost."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from feinschliff.generation.text import TextStream
from tests.generation import tiny


def decode(ids: list[int]) -> str:
    text: str = tiny.tokenizer().decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def ids_of(text: str) -> list[int]:
    ids: list[int] = tiny.tokenizer()(text)["input_ids"]
    return ids


def pieces(ids: Sequence[int], *stops: str) -> tuple[TextStream, list[str]]:
    stream, found = TextStream(decode, stops), []
    for id in ids:
        found.append(stream.push(id))
        if stream.is_stopped:
            break
    return stream, [*found, stream.finish()]


@pytest.mark.parametrize("text", ["hello top!!", "ätöp, grüße", "日本語 と 🙂🙃 end", "", "  two  spaces ", "�real"])
def test_pieces_join_to_the_text_and_are_whole_characters(text: str) -> None:
    ids = ids_of(text)
    stream, found = pieces(ids)
    assert "".join(found) == decode(ids) == stream.text == text
    if "�" not in text:
        assert not any("�" in piece for piece in found)


def test_a_character_waits_for_its_last_byte() -> None:
    stream = TextStream(decode)
    assert [stream.push(id) for id in ids_of("🙂")] == ["", "", "", "🙂"]


def test_bytes_that_never_become_a_character_come_at_the_end() -> None:
    ids = ids_of("a🙂")[:-1]
    _, found = pieces(ids)
    assert "".join(found) == decode(ids)
    assert found[0] == "a"
    assert "�" in found[-1]


@pytest.mark.parametrize(
    ("text", "stops", "wanted"),
    [
        ("hello top and more", ("top",), "hello "),
        ("hello top and more", ("lo t",), "hel"),
        ("hello", ("h",), ""),
        ("ends with it", ("it",), "ends w"),
        ("hätop!!", ("top",), "hä"),
        ("hätop!!", ("ätop",), "h"),
        ("a!! b", ("!",), "a"),
        ("aab", ("ab", "aab"), ""),
        ("nothing here", ("xyz", "hero"), "nothing here"),
        ("grüß 🙂 da", ("🙂",), "grüß "),
        ("aaab", ("aab",), "a"),
    ],
)
def test_the_answer_ends_before_the_first_stop_string(text: str, stops: tuple[str, ...], wanted: str) -> None:
    stream, found = pieces(ids_of(text), *stops)
    assert stream.text == wanted
    assert "".join(found) == wanted
    assert stream.is_stopped == (wanted != text)


def test_a_stop_string_that_begins_in_a_token_with_the_end_of_a_letter() -> None:
    """``hätop``: the second byte of ä is one token with the stop string."""
    tokens = [tiny.tokenizer().convert_ids_to_tokens(id) for id in ids_of("hätop")]
    split = [*tiny.tokenizer().convert_tokens_to_ids(["h", "Ã", "¤top"])]
    assert tokens == ["h", "Ã¤", "top"]
    stream, found = pieces(split, "top")
    assert found == ["h", "", "ä", ""]
    assert stream.is_stopped


def test_what_may_become_a_stop_string_is_held_back_and_given_when_it_does_not() -> None:
    stream = TextStream(decode, ("STOP",))
    assert [stream.push(id) for id in ids_of("aSTO")] == ["a", "", "", ""]
    assert stream.push(ids_of("b")[0]) == "STOb"
    assert [stream.push(id) for id in ids_of("ST")] == ["", ""]
    assert stream.finish() == "ST"


def test_special_tokens_are_left_out_and_the_first_space_of_what_follows_stays() -> None:
    ids = [*ids_of("a"), tiny.END, *ids_of(" b")]
    stream, _ = pieces(ids)
    assert stream.text == "a b"


def test_any_text_in_any_split_comes_out_whole() -> None:
    dice = random.Random(0)
    alphabet = ["a", "ä", "🙂", "語", " ", "!", "top", "\n"]
    for _ in range(200):
        text = "".join(dice.choices(alphabet, k=dice.randrange(12)))
        ids = [id for byte in text.encode() for id in _byte(byte)]
        stops = tuple("".join(dice.choices(alphabet, k=2)) for _ in range(2))
        stream, found = pieces(ids, *stops)
        assert "".join(found) == stream.text
        ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
        if not ends:
            assert stream.text == text
        else:
            assert stream.text in [text[: text.find(stop)] for stop in stops if stop in text]


def _byte(byte: int) -> list[int]:
    """The token of one byte alone."""
    pieces = [tiny.tokenizer().backend_tokenizer.pre_tokenizer.pre_tokenize_str(chr(byte))] if byte < 128 else []
    token = pieces[0][0][0] if pieces else _ALPHABET[byte]
    return [tiny.tokenizer().convert_tokens_to_ids(token)]


def _byte_alphabet() -> dict[int, str]:
    """GPT-2's: bytes to printable characters."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


_ALPHABET = _byte_alphabet()
