"""The vocabulary and special tokens of a model folder's tokenizer, read from its files without loading it.

Knows no model and no weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from feinschliff.errors import ModelError
from feinschliff.models.size import read_json_object

SpecialTokens = dict[str, str]
"""Name (``cls_token``) -> token (``[CLS]``)."""
_BERT_TYPES = ("bert", "distilbert", "electra", "mobilebert")
_BERT_SPECIAL_TOKENS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
_FILES = ("tokenizer.json", "vocab.txt", "vocab.json")


def vocabulary_file(folder: Path) -> Path | None:
    """The file that holds the vocabulary, in the order in which transformers prefers them."""
    for name in _FILES:
        if (folder / name).exists():
            return folder / name
    return next(iter(sorted(folder.glob("*.model"))), None)


def read_vocabulary(folder: Path) -> dict[str, int] | None:
    """Token -> id, added tokens included; None for a SentencePiece file, whose ids are not in the file.

    Raises:
        ModelError: a file is not valid JSON or has no vocabulary where one belongs.
    """
    file = vocabulary_file(folder)
    if file is None or file.suffix == ".model":
        return None
    try:
        return (_from_lines(file) if file.suffix == ".txt" else _from_json(file)) | _added(folder)
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise ModelError(f"{file.name} holds no vocabulary", where=str(file), why=repr(error)) from error


def _from_lines(file: Path) -> dict[str, int]:
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    return {token.rstrip("\r"): index for index, token in enumerate(lines) if token}


def _from_json(file: Path) -> dict[str, int]:
    content = read_json_object(file)
    if file.name != "tokenizer.json":
        return {token: int(index) for token, index in content.items()}
    vocab: Any = content["model"]["vocab"]
    if isinstance(vocab, list):  # Unigram: [token, score] in the order of the ids
        known = {str(token): index for index, (token, _) in enumerate(vocab)}
    else:
        known = {str(token): int(index) for token, index in vocab.items()}
    return known | {str(added["content"]): int(added["id"]) for added in content.get("added_tokens") or []}


def _added(folder: Path) -> dict[str, int]:
    """Tokens that files beside the vocabulary add to it."""
    added: dict[str, int] = {}
    if (folder / "added_tokens.json").exists():
        added |= {token: int(index) for token, index in read_json_object(folder / "added_tokens.json").items()}
    if (folder / "tokenizer_config.json").exists():
        decoder = read_json_object(folder / "tokenizer_config.json").get("added_tokens_decoder") or {}
        added |= {str(value["content"]): int(index) for index, value in decoder.items()}
    return added


def read_special_tokens(folder: Path, model_type: str) -> SpecialTokens:
    """The special tokens that the folder names; those of BERT where it names none and is of BERT's kind.

    Raises:
        ModelError: a file is not valid JSON.
    """
    named: SpecialTokens = dict(_BERT_SPECIAL_TOKENS) if model_type in _BERT_TYPES else {}
    names_own = False
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).exists():
            own = _named_in(read_json_object(folder / name))
            if own and not names_own:
                named, names_own = {}, True
            named |= own
    return named


def _named_in(content: dict[str, Any]) -> SpecialTokens:
    tokens: SpecialTokens = {}
    for name, value in content.items():
        if name.endswith("_token"):
            token = value.get("content") if isinstance(value, dict) else value
            if isinstance(token, str) and token:
                tokens[name] = token
    return tokens
