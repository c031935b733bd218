"""Tokens are those of the tokenizer that the file was made from, to the id; what is not known is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, pre_tokenizers
from transformers import AutoTokenizer

from feinschliff.errors import ModelError
from feinschliff.models import gguf_tokenizer
from feinschliff.models.gguf_file import GgufFile
from tests.models import tiny_gguf as tiny

ODD = [
    "",
    " ",
    "  a  b\n\n\n c\t\tx \r\n",
    "naïve e\u0301 \u1014\u103e 😍🎉👩‍👩‍👧 中文字 العربية",
    "def f(x):\n    return x**2  # ½ ² ٣ 2024-01-02, 1,000,000\n",
    "\u200b\x00\x01\ufeff ▁ ▁▁ \xa0 \U0010ffff",
    "don't DON'T we'll 'S they'd",
    "the cat sat on<|im_end|>\n<|im_start|>user\n12345 <|endoftext|><think>x</think>",
]


def described(entries: dict[str, Any], architecture: str = "llama") -> GgufFile:
    """A file that says this and holds no weights."""
    facts = {"general.architecture": architecture, f"{architecture}.context_length": 128}
    return GgufFile(Path("tiny.gguf"), facts | entries, {})


def byte_level(rule: str = "smollm", **changes: Any) -> GgufFile:
    """``changes`` are entries without their prefix; None takes one away."""
    entries = tiny.tokenizer_entries(tiny.byte_level(rule), rule)
    entries |= {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    return described({key: value for key, value in entries.items() if value is not None})


@pytest.mark.parametrize("rule", ["smollm", "gpt-2", "qwen2"])
def test_ids_are_those_of_the_original(rule: str) -> None:
    ours, original = gguf_tokenizer.tokenizer(byte_level(rule)), tiny.byte_level(rule)
    if rule == "qwen2":  # its pattern, which the stand-in was not trained with
        original = Tokenizer.from_str(original.to_str())
        original.pre_tokenizer = ours.backend_tokenizer.pre_tokenizer
    for text in [*ODD, tiny.TEXT]:
        assert ours(text)["input_ids"] == original.encode(text).ids, text
        if rule != "qwen2":
            assert ours.decode(ours(text)["input_ids"]) == text


def words(ours: Any, text: str) -> list[str]:
    return [word for word, _ in ours.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("smollm", ["a", "Ġ", "1", "2", "3", "4", "Ġit", "'s"]),
        ("starcoder", ["a", "Ġ", "1", "2", "3", "4", "Ġit", "'s"]),
        ("gpt-2", ["a", "Ġ1234", "Ġit", "'s"]),
        ("llama-bpe", ["a", "Ġ", "123", "4", "Ġit", "'s"]),
        ("qwen2", ["a", "Ġ", "1", "2", "3", "4", "Ġit", "'s"]),
        ("tekken", ["a", "Ġ", "1", "2", "3", "4", "Ġit", "'s"]),
    ],
)
def test_words_by_rule(rule: str, expected: list[str]) -> None:
    assert words(gguf_tokenizer.tokenizer(byte_level(rule)), "a 1234 it's") == expected


def test_digits_of_every_script_stand_alone_as_in_the_models_own_tokenizer() -> None:
    theirs = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\p{N}"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    ours = gguf_tokenizer.tokenizer(byte_level("smollm"))
    for text in ODD:
        assert words(ours, text) == [word for word, _ in theirs.pre_tokenize_str(text)], text


def test_accents_are_composed_for_qwen_only() -> None:
    qwen2, smollm = (gguf_tokenizer.tokenizer(byte_level(rule)) for rule in ("qwen2", "smollm"))
    assert qwen2.tokenize("e\u0301") == qwen2.tokenize("é")
    assert smollm.tokenize("e\u0301") == ["e", "Ì", "ģ"]


def test_whole_words_need_no_merges_for_llama3() -> None:
    """A piece that no merges lead to: the rule says whether it is used."""
    for rule, expected in (("llama-bpe", ["xyzxyz"]), ("gpt-2", list("xyzxyz"))):
        entries = tiny.tokenizer_entries(tiny.byte_level(rule), rule)
        pieces, types = entries["tokenizer.ggml.tokens"], entries["tokenizer.ggml.token_type"]
        file = byte_level(rule, tokens=[*pieces, "xyzxyz"], token_type=[*types, 1])
        assert gguf_tokenizer.tokenizer(file).tokenize("xyzxyz") == expected


def test_special_tokens_are_single_ids_and_of_their_kind() -> None:
    ours = gguf_tokenizer.tokenizer(byte_level())
    vocabulary = tiny.byte_level().get_vocab()
    for token in (*tiny.CONTROL, *tiny.USER_DEFINED):
        assert ours(f"a{token}b")["input_ids"][1:-1] == [vocabulary[token]]
    text = "<|im_start|>a<think>b</think><|im_end|>"
    assert ours.decode(ours(text)["input_ids"], skip_special_tokens=True) == "a<think>b</think>"
    named = {name: getattr(ours, f"{name}_token") for name in ("bos", "eos", "unk", "pad")}
    assert named == {"bos": "<|im_start|>", "eos": "<|im_end|>", "unk": "<|endoftext|>", "pad": "<|im_end|>"}
    assert (ours.model_max_length, ours.clean_up_tokenization_spaces) == (128, False)


def test_special_tokens_need_not_be_spelled_in_the_byte_alphabet() -> None:
    """DeepSeek's have a full-width bar, which no byte-level piece has."""
    entries = tiny.tokenizer_entries(tiny.byte_level(), "smollm")
    pieces, bar = list(entries["tokenizer.ggml.tokens"]), "<｜User｜>"
    pieces[0] = bar
    ours = gguf_tokenizer.tokenizer(byte_level(tokens=pieces, bos_token_id=0))
    assert (ours(f"{bar}a{bar}")["input_ids"][::2], ours.bos_token) == ([0, 0], bar)


def test_names_that_the_file_lacks_are_none() -> None:
    ours = gguf_tokenizer.tokenizer(byte_level(padding_token_id=None, unknown_token_id=None))
    assert (ours.pad_token, ours.unk_token, ours.eos_token) == (None, None, "<|im_end|>")


@pytest.mark.parametrize(
    ("rule", "flags", "expected"),
    [
        ("smollm", {"add_bos_token": None}, "A"),
        ("smollm", {"add_bos_token": True}, "1A"),
        ("smollm", {"add_bos_token": True, "add_eos_token": True}, "1A2"),
        ("llama-bpe", {"add_bos_token": None}, "1A"),
        ("llama-bpe", {"add_bos_token": False}, "A"),
        ("llama-bpe", {"add_bos_token": None, "bos_token_id": None}, "A"),
    ],
)
def test_begin_and_end(rule: str, flags: dict[str, Any], expected: str, tmp_path: Path) -> None:
    made = gguf_tokenizer.tokenizer(byte_level(rule, **flags))
    made.save_pretrained(tmp_path)
    for ours in (made, AutoTokenizer.from_pretrained(tmp_path)):
        text = ours("a", add_special_tokens=False)["input_ids"]
        one = [place for part in expected for place in (text if part == "A" else [int(part)])]
        assert ours("a")["input_ids"] == one
        assert ours("a", "a")["input_ids"] == one * 2


def test_a_saved_tokenizer_is_the_same(tmp_path: Path) -> None:
    ours = gguf_tokenizer.tokenizer(byte_level())
    ours.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert [again(text)["input_ids"] for text in ODD] == [ours(text)["input_ids"] for text in ODD]
    assert again.backend_tokenizer.to_str() == ours.backend_tokenizer.to_str()
    assert again.chat_template == tiny.TEMPLATE


def test_templates() -> None:
    chat = [{"role": "user", "content": "hi"}]
    ours = gguf_tokenizer.tokenizer(byte_level())
    assert ours.apply_chat_template(chat, tokenize=False) == "<|im_start|>user\nhi<|im_end|>\n"
    several = byte_level()
    several.metadata["tokenizer.chat_template.tool_use"] = "tools"
    several.metadata["tokenizer.chat_templates"] = ["tool_use"]
    assert gguf_tokenizer.tokenizer(several).chat_template == {"default": tiny.TEMPLATE, "tool_use": "tools"}
    without = byte_level()
    del without.metadata["tokenizer.chat_template"]
    assert gguf_tokenizer.tokenizer(without).chat_template is None


def test_ends_of_a_turn() -> None:
    assert gguf_tokenizer.end_ids(byte_level()) == [2], "eos ends the turn too"
    assert gguf_tokenizer.end_ids(byte_level(eos_token_id=0)) == [0, 2], "<|im_end|> is known by its text"
    assert gguf_tokenizer.end_ids(byte_level(eos_token_id=0, eot_token_id=1)) == [0, 1, 2]


SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
PLAIN = ["▁", "a", "b", "c", "t", "ab", "▁a", "▁ab", "at", "cat", "▁cat"]
SPACES, USER = ["  ", "   ", "    "], ["\n", "\n\n", "<table>"]


def sentencepiece(architecture: str = "gemma3", **changes: Any) -> GgufFile:
    """As Gemma has it: runs of spaces and lines are pieces of their own, with scores that say nothing."""
    pieces = [*SPECIAL, *SPACES, *USER, *BYTES, *PLAIN]
    types = [3] * len(SPECIAL) + [4] * len([*SPACES, *USER]) + [6] * 256 + [1] * len(PLAIN)
    entries = {"model": "llama", "pre": "default", "tokens": pieces, "token_type": types, "add_space_prefix": False}
    entries |= {"scores": [-1000.0] * (len(pieces) - len(PLAIN)) + [-float(place) for place in range(len(PLAIN))]}
    entries |= {"padding_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "unknown_token_id": 3} | changes
    return described({f"tokenizer.ggml.{key}": value for key, value in entries.items()}, architecture)


def test_gemma() -> None:
    ours = gguf_tokenizer.tokenizer(sentencepiece())
    assert ours.tokenize("cat ab  a\n\n") == ["cat", "▁ab", "▁▁", "a", "\n\n"]
    assert ours.tokenize(" <table>é") == ["▁", "<table>", "<0xC3>", "<0xA9>"]
    assert ours("<start_of_turn>a<end_of_turn>\n")["input_ids"][:1] == [2], "a text begins with <bos>"
    ids = ours("<start_of_turn>a<end_of_turn>\n", add_special_tokens=False)["input_ids"]
    assert (ids[0], ids[2:]) == (4, [5, 9])
    for text in ["  a\n\n\n b", "é😍 cat", "a     b", "", " "]:
        assert ours.decode(ours(text)["input_ids"], skip_special_tokens=True) == text
    assert gguf_tokenizer.end_ids(sentencepiece()) == [1, 5]
    assert ours.chat_template is None


def test_llama2_begins_a_text_with_a_space_and_merges_by_scores() -> None:
    ours = gguf_tokenizer.tokenizer(sentencepiece("llama", add_space_prefix=True))
    assert ours.tokenize("cat ab") == ["▁cat", "▁ab"]
    assert ours.decode(ours("cat ab")["input_ids"], skip_special_tokens=True) == "cat ab"
    pieces = sentencepiece().metadata["tokenizer.ggml.tokens"]
    last_first = [float(place) for place in range(len(pieces))]
    by_score = gguf_tokenizer.tokenizer(sentencepiece("llama", scores=last_first, add_space_prefix=False))
    by_place = gguf_tokenizer.tokenizer(sentencepiece("gemma3", scores=last_first))
    assert by_place.tokenize(" abat") == ["▁ab", "at"]
    assert by_score.tokenize("cab") == ["c", "ab"]


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (byte_level(model="bert"), "of the kind 'bert'; these are converted: gpt2, llama"),
        (byte_level(model=None), "of the kind 'None'"),
        (byte_level(pre="dots1"), "cuts a text by the rule 'dots1'; these are known: gpt-2, smollm"),
        (byte_level(pre=None), "by the rule 'None'"),
        (byte_level(tokens=None), r"tokenizer\.ggml\.tokens is missing"),
        (byte_level(tokens=[1, 2]), r"tokenizer\.ggml\.tokens is missing"),
        (byte_level(merges=None), r"tokenizer\.ggml\.merges is missing"),
        (byte_level(merges=["a b", "abc", "q zz"]), r"3 merges are not of its pieces, the first is \('a', 'b'\)"),
        (byte_level(token_type=None), r"token_type is missing, or not one of each piece"),
        (byte_level(token_type=[1, 2]), r"token_type is missing, or not one of each piece"),
        (byte_level(eos_token_id=99_999), r"not among its 3\d\d pieces: eos_token_id 99999"),
        (byte_level(eos_token_id="x"), "not among its"),
        (sentencepiece("llama", scores=[0.0]), "scores is missing"),
        (sentencepiece(tokens=["<pad>"] * 5, token_type=[3] * 5), "pieces that are there twice"),
    ],
    ids=range(14),
)
def test_what_is_not_known_is_refused(file: GgufFile, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        gguf_tokenizer.tokenizer(file)


def test_ids_of_the_file_are_checked_where_they_are_read() -> None:
    assert gguf_tokenizer.special_ids(byte_level()) == {"bos": 1, "eos": 2, "unk": 0, "pad": 2}
    with pytest.raises(ModelError, match="eot_token_id 5000"):
        gguf_tokenizer.end_ids(byte_level(eot_token_id=5000))


def test_every_piece_keeps_its_id() -> None:
    for file in (byte_level(), sentencepiece()):
        ours = gguf_tokenizer.tokenizer(file)
        pieces = file.metadata["tokenizer.ggml.tokens"]
        assert len(ours) == len(pieces)
        places = np.array([ours.convert_tokens_to_ids(piece) for piece in pieces if piece.strip(" ")])
        expected = [place for place, piece in enumerate(pieces) if piece.strip(" ")]
        np.testing.assert_array_equal(places, expected)
