"""A written model folder in plain transformers, as any user of it would. Knows nothing of how it was made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from feinschliff.models.load import load_tokenizer

Complete = Callable[[Any], Any]
"""Puts what was trained beside the weights into a plain model."""


@torch.inference_mode()
def plain_logits(
    folder: Path, texts: Sequence[tuple[str, ...]], complete: Complete = lambda model: model, batch_rows: int = 8
) -> Tensor:
    """Logits [N, C] of ``AutoModelForSequenceClassification``, made whole by ``complete``, on padded batches."""
    from transformers import AutoModelForSequenceClassification

    model, tokenizer = _loaded(AutoModelForSequenceClassification, folder, complete)
    parts = []
    for begin in range(0, len(texts), batch_rows):
        columns = [list(column) for column in zip(*texts[begin : begin + batch_rows], strict=True)]
        encoded = tokenizer(*columns, padding=True, truncation=True, return_tensors="pt")
        parts.append(model(**encoded).logits.float())
    return torch.cat(parts)


@torch.inference_mode()
def plain_token_logits(folder: Path, texts: Sequence[str], complete: Complete = lambda model: model) -> list[Tensor]:
    """Logits [tokens, C] of ``AutoModelForTokenClassification`` for each text, special tokens included."""
    from transformers import AutoModelForTokenClassification

    model, tokenizer = _loaded(AutoModelForTokenClassification, folder, complete)
    found = []
    for text in texts:
        encoded = tokenizer(text, truncation=True, return_tensors="pt")
        found.append(model(**encoded).logits[0, -encoded["input_ids"].shape[1] :].float())  # behind virtual tokens
    return found


@torch.inference_mode()
def plain_answer_logits(
    folder: Path, texts: Sequence[tuple[str, ...]], complete: Complete = lambda model: model
) -> list[Tensor]:
    """Start and end logits [tokens, 2] of ``AutoModelForQuestionAnswering`` for each question with its text.

    Texts that are too long are cut, questions are not.
    """
    from transformers import AutoModelForQuestionAnswering

    model, tokenizer = _loaded(AutoModelForQuestionAnswering, folder, complete)
    found = []
    for question, context in texts:
        encoded = tokenizer(question, context, truncation="only_second", return_tensors="pt")
        out = model(**encoded)
        logits = torch.stack([out.start_logits[0], out.end_logits[0]], -1).float()
        found.append(logits[-encoded["input_ids"].shape[1] :])  # behind virtual tokens
    return found


def _loaded(kind: Any, folder: Path, complete: Complete) -> tuple[Any, Any]:
    model = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    return complete(model.eval()), load_tokenizer(folder)
