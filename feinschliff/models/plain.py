"""A written model folder in plain transformers, as any user of it would. Knows nothing of how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from feinschliff.models.load import load_tokenizer


@torch.inference_mode()
def plain_logits(folder: Path, texts: Sequence[tuple[str, ...]], batch_rows: int = 8) -> Tensor:
    """Logits [N, C] of ``AutoModelForSequenceClassification`` on padded batches."""
    from transformers import AutoModelForSequenceClassification

    model, tokenizer = _loaded(AutoModelForSequenceClassification, folder)
    parts = []
    for begin in range(0, len(texts), batch_rows):
        columns = [list(column) for column in zip(*texts[begin : begin + batch_rows], strict=True)]
        encoded = tokenizer(*columns, padding=True, truncation=True, return_tensors="pt")
        parts.append(model(**encoded).logits.float())
    return torch.cat(parts)


@torch.inference_mode()
def plain_token_logits(folder: Path, texts: Sequence[str]) -> list[Tensor]:
    """Logits [tokens, C] of ``AutoModelForTokenClassification`` for each text, special tokens included."""
    from transformers import AutoModelForTokenClassification

    model, tokenizer = _loaded(AutoModelForTokenClassification, folder)
    return [model(**tokenizer(text, truncation=True, return_tensors="pt")).logits[0].float() for text in texts]


def _loaded(kind: Any, folder: Path) -> tuple[Any, Any]:
    model = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    return model.eval(), load_tokenizer(folder)
