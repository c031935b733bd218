"""What the folder of a decoder says without its weights: its tokenizer, where writing stops, how long a row may be.

Gives what ``decoder.load_decoder`` gives of these. Loads no weights; knows no template and no data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feinschliff.errors import ModelError
from feinschliff.models.decoder import EXAMPLES, is_decoder, row_limit
from feinschliff.models.load import load_tokenizer, quiet_transformers
from feinschliff.models.new_tokens import extend


@dataclass(frozen=True, slots=True)
class DecoderFolder:
    """A decoder's tokenizer and the limits of its model."""

    tokenizer: Any
    end_ids: tuple[int, ...]
    """Tokens at which writing stops, as the model's settings and its tokenizer say; sorted."""
    max_length_tokens: int
    """Of a row."""


def read_decoder_folder(folder: Path, new_tokens: Sequence[str] = ()) -> DecoderFolder:
    """The folder as it is, with ``new_tokens`` added to its tokenizer.

    Raises:
        ModelError: its model is no decoder, or its tokenizer cannot be loaded.
        ConfigError: the tokenizer reads nothing in one of the new tokens.
    """
    from transformers import AutoConfig

    quiet_transformers()
    if not is_decoder(folder):
        raise ModelError(
            f"the model in {folder} is no decoder language model",
            where="model.source",
            why="conversations are learned and written by a model that continues texts",
            remedy=f"name one, such as {EXAMPLES}",
        )
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    tokenizer = load_tokenizer(folder)
    extend(tokenizer, new_tokens)
    return DecoderFolder(tokenizer, _end_ids(folder, config, tokenizer), row_limit(config, tokenizer))


def _end_ids(folder: Path, config: Any, tokenizer: Any) -> tuple[int, ...]:
    """As transformers finds them: in the settings of generation, which come of the model's where there are none."""
    from transformers import GenerationConfig

    try:
        settings = GenerationConfig.from_pretrained(folder, local_files_only=True)
    except OSError:
        settings = GenerationConfig.from_model_config(config)
    given = settings.eos_token_id
    found = [*(given if isinstance(given, list) else [given]), tokenizer.eos_token_id]
    return tuple(sorted({int(one) for one in found if one is not None}))
