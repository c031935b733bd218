"""Which token comes next: greedy or drawn, after penalties, grammars and truncation. Knows no model and no text.

Every answer draws from a stream of its own, so what is computed beside it changes nothing. Of rows that only take the
likeliest token no probability is computed. Shapes: m rows, V vocabulary, c candidates, likeliest first.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from feinschliff.config.generation import SamplingConfig
from feinschliff.generation.structured import GrammarState

BLOCK_TOKENS = 256
"""Of the vocabulary, whose largest is found first."""
FEW_CANDIDATES = 512
"""So many likeliest tokens are looked at first when only those of a probability are wanted; sorting all takes far
longer."""


@dataclass(slots=True)
class Chooser:
    """The state of one answer."""

    prompt: Sequence[int]
    draws: np.random.Generator
    grammar: GrammarState | None = None
    written: Counter[int] = field(default_factory=Counter)

    @property
    def num_written(self) -> int:
        """Tokens chosen so far."""
        return self.written.total()


def draws_of(seed: int, prompt: Sequence[int], sample: int) -> np.random.Generator:
    """The random stream of the ``sample``-th answer to a prompt."""
    content = np.asarray([seed, sample, *prompt], dtype=np.int64).tobytes()
    key = int.from_bytes(hashlib.blake2b(content, digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))


@torch.inference_mode()
def choose(
    logits_mV: Tensor, rows: Sequence[Chooser], sampling: SamplingConfig, end_ids: Sequence[int]
) -> tuple[list[int], list[float] | None]:
    """The next token of each row, and its logarithmic probability in the model itself if that is asked for."""
    changed = _changed(logits_mV, rows, sampling, end_ids)
    chosen = likeliest(changed) if sampling.is_greedy else _drawn(changed.float(), rows, sampling)
    ids = chosen.tolist()
    for row, id in zip(rows, ids, strict=True):
        row.written[id] += 1
    logprobs = None
    if sampling.logprobs:
        own = logits_mV.float()
        logprobs = (own.gather(1, chosen[:, None])[:, 0] - own.logsumexp(-1)).tolist()
    return ids, logprobs


def likeliest(logits_mV: Tensor) -> Tensor:
    """The first of the largest logits of each row, as ``argmax``, which takes twice as long for a large vocabulary."""
    rows, size = logits_mV.shape
    if size % BLOCK_TOKENS:
        return logits_mV.max(-1).indices
    blocks = logits_mV.view(rows, -1, BLOCK_TOKENS)
    best = blocks.amax(-1).max(-1).indices
    inside = blocks[torch.arange(rows, device=best.device), best].max(-1).indices
    return best * BLOCK_TOKENS + inside


def _changed(logits_mV: Tensor, rows: Sequence[Chooser], sampling: SamplingConfig, end_ids: Sequence[int]) -> Tensor:
    """Logits after penalties and bans; the same tensor where there are none."""
    penalised = sampling.repetition_penalty != 1.0 or sampling.frequency_penalty or sampling.presence_penalty
    early = [index for index, row in enumerate(rows) if row.num_written < sampling.min_new_tokens]
    if not penalised and not early and not any(row.grammar for row in rows):
        return logits_mV
    logits = logits_mV.float().clone() if logits_mV.dtype == torch.float32 else logits_mV.float()
    if penalised:
        for index, row in enumerate(rows):
            _penalise(logits[index], row, sampling)
    if early and end_ids:
        logits[torch.tensor(early)[:, None], torch.tensor(end_ids)] = float("-inf")
    for index, row in enumerate(rows):
        if row.grammar is not None:
            logits[index].masked_fill_(~row.grammar.allowed(logits.shape[1]).to(logits.device), float("-inf"))
    return logits


def _penalise(logits_V: Tensor, row: Chooser, sampling: SamplingConfig) -> None:
    device = logits_V.device
    if sampling.repetition_penalty != 1.0:
        seen = torch.tensor(sorted({*row.prompt, *row.written}), device=device)
        old, factor = logits_V[seen], sampling.repetition_penalty
        logits_V[seen] = torch.where(old > 0, old / factor, old * factor)
    if row.written and (sampling.frequency_penalty or sampling.presence_penalty):
        ids = torch.tensor(list(row.written), device=device)
        counts = torch.tensor(list(row.written.values()), device=device, dtype=logits_V.dtype)
        logits_V[ids] -= counts * sampling.frequency_penalty + sampling.presence_penalty


def _drawn(logits_mV: Tensor, rows: Sequence[Chooser], sampling: SamplingConfig) -> Tensor:
    """Tokens [m] by inverting the cumulative distribution at one number a row."""
    values, ids = _candidates(logits_mV / sampling.temperature, sampling)
    up_to = torch.softmax(values, -1).cumsum(-1, dtype=torch.float64)
    numbers = torch.tensor([row.draws.random() for row in rows], dtype=torch.float64, device=values.device)
    places = torch.searchsorted(up_to, (numbers * up_to[:, -1])[:, None], right=True)
    last = (values > float("-inf")).long().cumsum(-1).argmax(-1, keepdim=True)
    places = torch.minimum(places, last)
    return (places if ids is None else ids.gather(1, places))[:, 0]


def _candidates(logits_mV: Tensor, sampling: SamplingConfig) -> tuple[Tensor, Tensor | None]:
    """Logits of the tokens among which is chosen (those left out are -inf), and their ids where they are not all in
    order."""
    size = logits_mV.shape[1]
    if sampling.top_k is not None and sampling.top_k < size:
        values, ids = logits_mV.topk(sampling.top_k)
    elif sampling.top_p < 1.0:
        values, ids = _likeliest(logits_mV, sampling.top_p)
    else:
        values, ids = logits_mV, None
    if sampling.top_p < 1.0:
        probabilities = torch.softmax(values, -1) if sampling.top_k is not None else _of_all(values, logits_mV)
        before = probabilities.cumsum(-1) - probabilities
        values = values.masked_fill(before >= sampling.top_p, float("-inf"))
    if sampling.min_p > 0.0:
        least = values.amax(-1, keepdim=True) + float(np.log(sampling.min_p))
        values = values.masked_fill(values < least, float("-inf"))
    return values, ids


def _likeliest(logits_mV: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """At least the likeliest tokens that have ``top_p`` of the probability."""
    size = logits_mV.shape[1]
    few = min(FEW_CANDIDATES, size)
    values, ids = logits_mV.topk(few)
    if few < size and bool((_of_all(values, logits_mV).sum(-1) < top_p).any()):
        values, ids = torch.sort(logits_mV, dim=-1, descending=True, stable=True)
    return values, ids


def _of_all(values_mc: Tensor, logits_mV: Tensor) -> Tensor:
    """Probabilities of some tokens among all."""
    return (values_mc - logits_mV.logsumexp(-1, keepdim=True)).exp()
