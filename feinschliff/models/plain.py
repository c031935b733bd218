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


@torch.inference_mode()
def plain_target_probabilities(
    folder: Path,
    pairs: Sequence[tuple[str, str]],
    max_target_tokens: int,
    complete: Complete = lambda model: model,
) -> Tensor:
    """What ``AutoModelForSeq2SeqLM`` gives each token of a target after its source and the tokens before it.

    The tokens of all (source, target) end to end; sources are cut as the tokenizer says.
    """
    from transformers import AutoModelForSeq2SeqLM

    model, tokenizer = _loaded(AutoModelForSeq2SeqLM, folder, complete)
    found = []
    for source, target in pairs:
        encoded = tokenizer(source, truncation=True, return_tensors="pt")
        ids = tokenizer(text_target=target)["input_ids"]
        end = tokenizer.eos_token_id
        ids = ids if end is None or end in ids[1:] else [*ids, end]
        ids = ids if len(ids) <= max_target_tokens else [*ids[: max_target_tokens - 1], end or ids[-1]]
        labels = torch.tensor([ids])
        given = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        logits = model(**given, labels=labels).logits.float()
        found.append(logits.softmax(-1)[0].gather(1, labels[0][:, None])[:, 0])
    return torch.cat(found)


def _loaded(kind: Any, folder: Path, complete: Complete) -> tuple[Any, Any]:
    model = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    return complete(model.eval()), load_tokenizer(folder)
