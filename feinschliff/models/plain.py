"""A model folder run by transformers alone, as any user of it would. Knows nothing of how it was made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from feinschliff.models.load import load_tokenizer


@torch.inference_mode()
def plain_probabilities(
    folder: Path,
    texts: Sequence[tuple[str, ...]],
    multi_label: bool,
    batch_rows: int = 8,
    complete: Callable[[Any], Any] = lambda model: model,
) -> npt.NDArray[np.float32]:
    """Probabilities [N, C] of ``AutoModelForSequenceClassification``, made whole by ``complete``, on padded batches."""
    from transformers import AutoModelForSequenceClassification

    tokenizer = load_tokenizer(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    model = complete(model.eval())
    parts = []
    for begin in range(0, len(texts), batch_rows):
        columns = [list(column) for column in zip(*texts[begin : begin + batch_rows], strict=True)]
        encoded = tokenizer(*columns, padding=True, truncation=True, return_tensors="pt")
        logits = model(**encoded).logits.float()
        parts.append((torch.sigmoid(logits) if multi_label else torch.softmax(logits, -1)).numpy())
    return np.concatenate(parts)
