"""The tokenizer that a GGUF file describes, as one of transformers: the same ids as the model was trained with.

Knows no weights and no folder. Built from what the file says (pieces, their types, merges, the name of the rule that
cuts a text into words), not guessed: a rule that is not known here is refused, since other tokens than those of the
training would only show as a model that is worse than it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from feinschliff.models.gguf_file import GgufFile

_KEY = "tokenizer.ggml."
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
"""Types of pieces; all others are ordinary ones, unused ones and single bytes."""
_SPACE = "▁"
_SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
"""transformers' names -> the file's."""
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>")
_MERGED_BY_PLACE = ("gemma2", "gemma3")
"""Architectures whose pieces' places, not their scores, are the order in which they are merged."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """How a text is cut before pieces are merged, in a byte-level vocabulary."""

    split: str | None = None
    """Name of the pattern among transformers' ``GGUF_PRE_TOKENIZER_SPLITS``; None: GPT-2's."""
    single_digits: bool = False
    composed: bool = False
    """Whether letters and their accents become one character first (NFC)."""
    whole_words: bool = False
    """Whether a word that is a piece stays one, even where no merges lead to it."""
    begins: bool = False
    """Whether a text begins with the bos token where the file does not say."""


_LLAMA3 = _Rule("llama-bpe", whole_words=True, begins=True)
_QWEN2 = _Rule("qwen2", composed=True)
_DIGITS = _Rule(single_digits=True)
_RULES = {
    "gpt-2": _Rule(),
    "smollm": _DIGITS,
    "starcoder": _DIGITS,
    "refact": _DIGITS,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "llama-bpe": _LLAMA3,
    "tekken": _Rule("tekken", whole_words=True, begins=True),
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
}


def tokenizer(file: GgufFile) -> Any:
    """The tokenizer, with the file's chat template where it has one.

    Raises:
        ModelError: it is of a kind that is not converted, or damaged.
    """
    from transformers import PreTrainedTokenizerFast

    pieces = _pieces(file)
    kind = str(file.metadata.get(f"{_KEY}model"))
    builders = {"gpt2": _byte_level, "llama": _sentencepiece}
    if kind not in builders:
        raise file.refusal(f"its tokenizer is of the kind {kind!r}; these are converted: {', '.join(builders)}")
    if kind == "llama":
        pieces = [_SPACE * len(piece) if piece and not piece.strip(" ") else piece for piece in pieces]
    made, begins = builders[kind](file, pieces)
    special = {name: pieces[place] for name, place in special_ids(file).items()}
    made.add_special_tokens(list(_added(file, pieces, (_CONTROL, _UNKNOWN), special=True)))
    made.add_tokens(list(_added(file, pieces, (_USER_DEFINED,), special=False)))
    _frame(file, made, special, begins)
    templates = _templates(file.metadata)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_max_length=file.metadata[f"{file.metadata['general.architecture']}.context_length"],
        clean_up_tokenization_spaces=False,
        **{f"{name}_token": token for name, token in special.items()},
        **({"chat_template": templates} if templates else {}),
    )


def special_ids(file: GgufFile) -> dict[str, int]:
    """Ids by name: ``bos``, ``eos``, ``unk``, ``pad``, where the file has them.

    Raises:
        ModelError: an id beyond the vocabulary.
    """
    found = {name: _id(file, f"{key}_token_id") for name, key in _SPECIAL.items()}
    return {name: place for name, place in found.items() if place is not None}


def end_ids(file: GgufFile) -> list[int]:
    """Ids after which nothing is to be written: the eos token first, then those that end a turn.

    Raises:
        ModelError: an id beyond the vocabulary.
    """
    named = [_id(file, f"{key}_token_id") for key in ("eos", "eot", "eom")]
    pieces = zip(_pieces(file), _types(file), strict=True)
    by_text = [place for place, (piece, kind) in enumerate(pieces) if kind == _CONTROL and piece in _TURN_ENDS]
    return [place for place in dict.fromkeys([*named, *by_text]) if place is not None]


def _id(file: GgufFile, key: str) -> int | None:
    """The id of a special token; None where the file has none."""
    place, number = file.metadata.get(_KEY + key), len(_pieces(file))
    if place is None:
        return None
    if not isinstance(place, int) or not 0 <= place < number:
        raise file.refusal(f"its special tokens are not among its {number:,} pieces: {key} {place}")
    return place


def _pieces(file: GgufFile) -> list[str]:
    return _texts(file, "tokens")


def _texts(file: GgufFile, key: str) -> list[str]:
    texts = file.metadata.get(_KEY + key)
    if not isinstance(texts, list) or not texts or not isinstance(texts[0], str):
        raise file.refusal(f"it has no complete tokenizer: {_KEY}{key} is missing")
    return texts


def _types(file: GgufFile) -> list[int]:
    """One of each piece: without them, nothing says which are special."""
    return _numbers(file, "token_type")


def _numbers(file: GgufFile, key: str) -> list[Any]:
    numbers = file.metadata.get(_KEY + key)
    if not isinstance(numbers, list) or len(numbers) != len(_pieces(file)):
        raise file.refusal(f"it has no complete tokenizer: {_KEY}{key} is missing, or not one of each piece")
    return numbers


def _vocabulary(file: GgufFile, pieces: list[str]) -> dict[str, int]:
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    if len(vocabulary) != len(pieces):
        raise file.refusal("its tokenizer is damaged: pieces that are there twice")
    return vocabulary


def _added(file: GgufFile, pieces: list[str], types: tuple[int, ...], *, special: bool) -> Iterator[Any]:
    """Tokens that a text is cut at before anything else."""
    from tokenizers import AddedToken

    for piece, kind in zip(pieces, _types(file), strict=True):
        if kind in types:
            yield AddedToken(piece, normalized=False, special=special)


def _byte_level(file: GgufFile, pieces: list[str]) -> tuple[Any, bool]:
    """BPE over bytes, and whether a text begins with bos."""
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import BPE
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    name = str(file.metadata.get(f"{_KEY}pre"))
    if name not in _RULES:
        raise file.refusal(f"it cuts a text by the rule {name!r}; these are known: {', '.join(_RULES)}")
    rule = _RULES[name]
    made = Tokenizer(BPE(_vocabulary(file, pieces), _merges(file), ignore_merges=rule.whole_words))
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if rule.single_digits else []
    if rule.split:
        steps.append(pre_tokenizers.Split(Regex(GGUF_PRE_TOKENIZER_SPLITS[rule.split]), "isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=rule.split is None))
    made.pre_tokenizer = pre_tokenizers.Sequence(steps)
    made.decoder = decoders.ByteLevel()
    if rule.composed:
        made.normalizer = normalizers.NFC()
    return made, rule.begins


def _merges(file: GgufFile) -> list[tuple[str, str]]:
    known = set(_pieces(file))
    merges = [tuple(merge.split(" ")) for merge in _texts(file, "merges")]
    wrong = [merge for merge in merges if len(merge) != 2 or not known.issuperset((*merge, "".join(merge)))]
    if wrong:
        raise file.refusal(
            f"its tokenizer is damaged: {len(wrong)} merges are not of its pieces, the first is {wrong[0]}"
        )
    return [(left, right) for left, right in merges]


def _sentencepiece(file: GgufFile, pieces: list[str]) -> tuple[Any, bool]:
    """BPE over characters with bytes for unknown ones, and whether a text begins with bos."""
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import BPE
    from transformers.tokenization_utils_base import generate_merges

    vocabulary = _vocabulary(file, pieces)
    by_place = file.metadata["general.architecture"] in _MERGED_BY_PLACE
    scores = None if by_place else dict(zip(pieces, _numbers(file, "scores"), strict=True))
    unknown = pieces[special_ids(file).get("unk", 0)]
    merges = generate_merges(vocabulary, scores)
    made = Tokenizer(BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    steps: list[Any] = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if file.metadata.get(f"{_KEY}add_space_prefix", True):
        made.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, prepend_scheme="first", split=False)
        steps.append(decoders.Strip(" ", left=1))
    else:
        made.normalizer = normalizers.Replace(" ", _SPACE)
        made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.decoder = decoders.Sequence(steps)
    return made, True


def _frame(file: GgufFile, made: Any, special: dict[str, str], begins: bool) -> None:
    """What a text gets before and behind it."""
    from tokenizers.processors import TemplateProcessing

    bos = special.get("bos") if file.metadata.get(f"{_KEY}add_bos_token", begins) else None
    eos = special.get("eos") if file.metadata.get(f"{_KEY}add_eos_token", False) else None
    one, other = (" ".join(filter(None, [bos, text, eos])) for text in ("$A", "$B"))
    other = " ".join(f"{part}:1" for part in other.split(" "))
    used = {token: made.token_to_id(token) for token in (bos, eos) if token}
    made.post_processor = TemplateProcessing(single=one, pair=f"{one} {other}", special_tokens=list(used.items()))


def _templates(metadata: dict[str, Any]) -> str | dict[str, str] | None:
    """The chat template; several by name, where the file has several."""
    prefix = "tokenizer.chat_template"
    default = metadata.get(prefix)
    found = {"default": default} | {
        key.removeprefix(f"{prefix}."): text for key, text in metadata.items() if key.startswith(f"{prefix}.")
    }
    texts = {name: text for name, text in found.items() if isinstance(text, str)}
    return texts if texts.keys() - {"default"} else texts.get("default")
