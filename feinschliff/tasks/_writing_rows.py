"""Sources and targets as tokens, and tokens as texts. Knows no network and no loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from feinschliff.data.examples import Example
from feinschliff.engine.batching import TokenTable, TokenTargets
from feinschliff.engine.source_targets import SourceTargets
from feinschliff.tasks._task import EncodedSet, Floats


def encode_texts(
    tokenizer: Any, examples: Sequence[Example], prefix: str, max_source_tokens: int, max_target_tokens: int
) -> EncodedSet:
    """Sources behind ``prefix``, and each one's first target; of both the end is cut where they are longer.

    Every target ends with the token that ends a text, cut or not: a model that never sees it writes on and on.
    """
    sources, num_cut = _cut(tokenizer, [prefix + example.texts[0] for example in examples], max_source_tokens)
    known = bool(examples) and all(example.references for example in examples)
    written = [example.references[0] for example in examples] if known else []
    targets, num_targets_cut = _cut(tokenizer, written, max_target_tokens, as_targets=True)
    table = SourceTargets(_table(sources), _table(targets or [[] for _ in examples]), int(tokenizer.pad_token_id or 0))
    values = TokenTargets(table.targets.ids.astype(np.int64))
    return EncodedSet(table, values, num_cut, examples, num_targets_cut)


def _cut(tokenizer: Any, texts: Sequence[str], most: int, *, as_targets: bool = False) -> tuple[list[list[int]], int]:
    """Token ids, and how many texts were longer than ``most`` tokens."""
    if not texts:
        return [], 0
    side = "text_target" if as_targets else "text"
    found = tokenizer(**{side: list(texts)}, verbose=False, return_attention_mask=False)["input_ids"]
    end = tokenizer.eos_token_id
    rows = [_ended(ids, end) if as_targets and end is not None else list(ids) for ids in found]
    long = [row for row, ids in enumerate(rows) if len(ids) > most]
    for row in long:
        if as_targets and end is not None:
            rows[row] = [*rows[row][: most - 1], end]
        else:
            short = tokenizer(texts[row], truncation=True, max_length=most, return_attention_mask=False)
            rows[row] = list(short["input_ids"])
    return rows, len(long)


def _ended(ids: Sequence[int], end: int) -> list[int]:
    return list(ids) if end in ids[1:] else [*ids, end]


def _table(rows: Sequence[Sequence[int]]) -> TokenTable:
    offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in rows], dtype=np.int64)])
    return TokenTable(np.array([one for ids in rows for one in ids], dtype=np.int32), offsets)


def texts_of(tokenizer: Any, ids: Floats) -> list[str]:
    """[N, L] token ids, below zero behind the end, to texts without special tokens."""
    rows = [[int(one) for one in row if one >= 0] for row in ids]
    found = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return [text.strip() for text in found]
