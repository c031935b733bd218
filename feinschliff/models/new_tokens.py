"""Words that become tokens of their own: the tokenizer learns them, their embeddings start where their pieces stand.

Knows no task and no data.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import torch

from feinschliff.errors import ConfigError


@torch.no_grad()
def add_tokens(model: Any, tokenizer: Any, tokens: Sequence[str]) -> list[str]:
    """Add what is no token yet to tokenizer and embeddings; an output projection grows along, shared or not.

    Each new row is the mean of the rows of the pieces that the token was read as before: the model starts near what
    it knew. A word of letters is read so where it stands alone, not inside another word. Changes both in place.

    Returns:
        what is worth saying.

    Raises:
        ConfigError: the tokenizer reads nothing in one of them.
    """
    pieces = extend(tokenizer, tokens)
    known = [token for token in dict.fromkeys(tokens) if token not in pieces]
    new = list(pieces)
    said = [f"tokens already: {', '.join(map(repr, known))}"] if known else []
    if not new:
        return said
    tables = [model.get_input_embeddings(), model.get_output_embeddings()]
    if len(tokenizer) > len(tables[0].weight):
        with torch.random.fork_rng(devices=[]):
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        tables = [model.get_input_embeddings(), model.get_output_embeddings()]
    for table in [table for table in tables if table is not None]:
        for token in new:
            table.weight[tokenizer.convert_tokens_to_ids(token)] = table.weight[pieces[token]].mean(0)
    return [*said, f"{len(new)} new tokens, each starting at the mean of the pieces it was read as"]


def extend(tokenizer: Any, tokens: Sequence[str]) -> dict[str, list[int]]:
    """Add what is no token yet to the tokenizer, in place; each new token with the pieces that it was read as before.

    Raises:
        ConfigError: the tokenizer reads nothing in one of them.
    """
    pieces = {token: tokenizer(token, add_special_tokens=False)["input_ids"] for token in tokens}
    nothing = [token for token, ids in pieces.items() if not ids]
    if nothing:
        raise ConfigError(f"the tokenizer reads nothing in {nothing[0]!r}", where="model.new_tokens",
                          remedy="leave it out")  # fmt: skip
    new = {token: ids for token, ids in pieces.items() if len(ids) != 1 or ids[0] == tokenizer.unk_token_id}
    if new:
        from transformers import AddedToken

        tokenizer.add_tokens([AddedToken(token, single_word=_is_word(token), normalized=True) for token in new])
    return new


def _is_word(token: str) -> bool:
    """Letters and digits of a script that puts blanks between words."""
    return bool(re.fullmatch(r"\w+", token)) and not any(unicodedata.east_asian_width(c) in "WF" for c in token)
