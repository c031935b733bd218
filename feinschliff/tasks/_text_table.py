"""Texts or pairs of texts to a table of tokens, each row whole or cut at a limit. Knows no task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from feinschliff.data.examples import Example
from feinschliff.engine.batching import TokenTable

TOKENIZE_ROWS = 2048
"""Texts tokenized at once; bounds memory."""


def text_table(tokenizer: Any, examples: Sequence[Example], num_texts: int, limit: int) -> tuple[TokenTable, int]:
    """Tokens of each row, special ones included, and how many rows were cut at ``limit``."""
    ids, segments, lengths, num_cut = [], [], [0], 0
    for part, part_segments, cut in _tokenized(tokenizer, examples, num_texts, limit):
        num_cut += cut
        for row in part:
            lengths.append(lengths[-1] + len(row))
        ids.append(np.concatenate([np.asarray(row, dtype=np.int32) for row in part]))
        if part_segments is not None:
            segments.append(np.concatenate([np.asarray(row, dtype=np.int8) for row in part_segments]))
    table = TokenTable(
        np.concatenate(ids) if ids else np.empty(0, np.int32),
        np.asarray(lengths, dtype=np.int64),
        np.concatenate(segments) if segments else None,
    )
    return table, num_cut


def _tokenized(
    tokenizer: Any, examples: Sequence[Example], num_texts: int, limit: int
) -> Iterator[tuple[list[list[int]], list[list[int]] | None, int]]:
    for begin in range(0, len(examples), TOKENIZE_ROWS):
        chunk = examples[begin : begin + TOKENIZE_ROWS]
        columns = [[example.texts[i] for example in chunk] for i in range(num_texts)]
        whole = tokenizer(*columns, verbose=False, return_attention_mask=False)
        cut = sum(len(row) > limit for row in whole["input_ids"])
        if cut:
            whole = tokenizer(*columns, truncation=True, max_length=limit, return_attention_mask=False)
        yield whole["input_ids"], whole.get("token_type_ids") if num_texts == 2 else None, cut
