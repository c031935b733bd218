"""A verified model folder becomes an encoder and a tokenizer in memory. Knows no head, no data and no loop."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from feinschliff.errors import ModelError
from feinschliff.models.encoder import StagedEncoder, family_of
from feinschliff.models.heads import Pooling


@dataclass(slots=True)
class LoadedEncoder:
    """An encoder in fp32 with its tokenizer."""

    encoder: StagedEncoder
    tokenizer: Any
    pooling: Pooling
    max_length_tokens: int
    """The longest row it can take."""
    announcements: list[str]


def quiet_transformers() -> None:
    """No progress bars and no load report: what matters is announced by us."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_encoder(
    folder: Path, attention: str | None, pooling: str = "auto", *, drop_last_layer: bool = False
) -> LoadedEncoder:
    """Load base encoder and tokenizer; ``attention`` names a registered attention function.

    ``drop_last_layer`` leaves out the pooling block of a folder written by ``native``.

    Raises:
        ModelError: the architecture is not supported, or transformers cannot load the folder.
    """
    from transformers import AutoConfig, AutoModel

    quiet_transformers()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        family_of(config.model_type)
        config.num_hidden_layers -= int(drop_last_layer)
        model = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            add_pooling_layer=False,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"the model in {folder} cannot be loaded",
            where=str(folder),
            why=str(error),
            remedy="see what is wrong with it: feinschliff models verify FOLDER",
        ) from error
    if attention is not None:
        model.config._attn_implementation = attention
    encoder = StagedEncoder(model)
    chosen, reason = _pooling(folder, pooling)
    tokenizer = load_tokenizer(folder)
    limit = min(encoder.max_positions, int(min(tokenizer.model_max_length, 10**9)))
    return LoadedEncoder(encoder, tokenizer, chosen, limit, [f"pooling {chosen}: {reason}"])


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer.

    Raises:
        ModelError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    quiet_transformers()
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        remedy = "take all tokenizer files from the model that the weights come from"
        if any(folder.glob("*.spm")) and importlib.util.find_spec("sentencepiece") is None:
            remedy = 'it needs a package of its own: pip install "feinschliff[translation]"'
        raise ModelError(
            f"the tokenizer in {folder} cannot be loaded",
            where=str(folder),
            why=str(error).splitlines()[0] if str(error) else type(error).__name__,
            remedy=remedy,
        ) from error


def _pooling(folder: Path, asked: str) -> tuple[Pooling, str]:
    if asked == "mean":
        return "mean", "as asked"
    if asked == "cls":
        return "cls", "as asked"
    file = folder / "1_Pooling" / "config.json"
    if not file.exists():
        return "cls", "the model folder names no other"
    values = json.loads(file.read_text(encoding="utf-8"))
    mean = bool(values.get("pooling_mode_mean_tokens")) or values.get("pooling_mode") == "mean"
    return ("mean" if mean else "cls"), "from the model's sentence-transformers file"
