"""A base encoder for a task, checked to compute packed rows as single ones. Knows no task and no head."""

from __future__ import annotations

from pathlib import Path

from feinschliff.config.model import ModelConfig
from feinschliff.engine import attention
from feinschliff.engine.batching import group_by_length
from feinschliff.errors import ModelError
from feinschliff.models.load import LoadedEncoder, load_encoder
from feinschliff.models.new_tokens import add_tokens

PACKING_TOLERANCE = 1e-3
PROBED_LENGTHS = (3, 5, 9)


def load_base(model: ModelConfig, folder: Path) -> LoadedEncoder:
    """The encoder of a model folder in fp32, its dropout set.

    Raises:
        ModelError: the architecture cannot be loaded, or gives other numbers packed than row by row.
    """
    loaded = load_encoder(folder, attention.NAME, model.pooling)
    encoder, lengths = loaded.encoder.eval(), list(PROBED_LENGTHS)
    difference = encoder.check_packing(group_by_length(lengths), lengths)
    if not difference < PACKING_TOLERANCE:
        raise ModelError(
            f"{folder} gives other outputs for packed rows than for single rows",
            where="model.source",
            why=f"largest difference {difference:.2g} on a made-up batch: the architecture mixes rows",
            remedy="choose another model",
        )
    encoder.set_dropout(model.dropout)
    loaded.announcements += add_tokens(encoder.model, loaded.tokenizer, model.new_tokens)
    return loaded
