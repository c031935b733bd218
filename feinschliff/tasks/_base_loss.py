"""The loss of some rows before anything is learned, twice: by transformers' own forward pass, row by row, and by ours.

Both must be the same for every token: a difference means that ours computes another model than the one that was given,
or sets other targets. Knows no loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from feinschliff.engine.batching import NO_TARGET, Ints, TokenTable, TokenTargets
from feinschliff.engine.devices import device_of, on
from feinschliff.engine.token_loss import token_scores
from feinschliff.errors import PreflightError
from feinschliff.models.decoder import StagedDecoder, plain_token_losses
from feinschliff.tasks._decoder_network import DecoderNetwork

ROWS, TOKENS = 8, 256
"""So many rows, spread over the set, and so many tokens of each at most."""
TOLERANCE = 0.1
"""Of the mean difference of a token's loss, and of its share in that loss; in bf16 rounding makes a few hundredths."""


@dataclass(frozen=True, slots=True)
class BaseRows:
    """Some rows of a set, cut to ``TOKENS``."""

    table: TokenTable
    targets: TokenTargets


def chosen(ids: Sequence[Ints], targets: Sequence[Ints], weights: Sequence[np.ndarray] | None) -> BaseRows | None:
    """Rows at even distances of which something is learned within ``TOKENS``; None where there is no such row.

    Args:
        ids, targets, weights: of each row, [T].
    """
    places = np.unique(np.linspace(0, max(0, len(ids) - 1), min(len(ids), 4 * ROWS)).astype(int)).tolist()
    usable = [place for place in places if (targets[place][:TOKENS] != NO_TARGET).any()]
    taken = [usable[at] for at in np.unique(np.linspace(0, len(usable) - 1, ROWS).astype(int))] if usable else []
    if not taken:
        return None
    cut = [ids[place][:TOKENS] for place in taken]
    weighed = None if weights is None else np.concatenate([weights[place][:TOKENS] for place in taken])
    table = TokenTable(np.concatenate(cut).astype(np.int32), np.cumsum([0, *map(len, cut)], dtype=np.int64))
    return BaseRows(table, TokenTargets(np.concatenate([targets[place][:TOKENS] for place in taken]), weighed))


@torch.no_grad()
def base_loss(body: StagedDecoder, rows: BaseRows) -> float:
    """Mean over the targets, by their weights, as transformers computes it.

    Raises:
        PreflightError: our own forward pass gives other losses.
    """
    network = DecoderNetwork(body)
    batch = on(rows.table.collate(np.arange(len(rows.table)), rows.targets), device_of(network))
    if batch.targets is None:
        raise RuntimeError("rows come with their targets")
    at = (batch.targets != NO_TARGET).nonzero().squeeze(1)
    with _as_it_scores(body):
        ours = token_scores(network(batch)[at], body.projection.weight, batch.targets[at], body.softcap).losses_n
        theirs = np.concatenate([_plain(body, rows, int(row)) for row in batch.rows])
    weights = np.ones_like(theirs) if batch.weights_T is None else batch.weights_T[at].float().cpu().numpy()
    gap = float(np.average(np.abs(ours.float().cpu().numpy() - theirs), weights=weights))
    known, own = (float(np.average(one, weights=weights)) for one in (theirs, ours.float().cpu().numpy()))
    if not gap <= TOLERANCE * (1.0 + known):
        raise PreflightError(
            f"the first loss of {len(rows.table)} rows is {own:.3g}; transformers' own forward pass of the same model "
            f"gives them {known:.3g}",
            why=f"the losses of single tokens differ by {gap:.2g} in the mean: it is not computed as it is meant",
            remedy="run `feinschliff models verify` on the model, and report it with the model's name",
        )
    return known


def _plain(body: StagedDecoder, rows: BaseRows, row: int) -> np.ndarray:
    part = slice(int(rows.table.offsets[row]), int(rows.table.offsets[row + 1]))
    found: np.ndarray = plain_token_losses(body.model, rows.table.ids[part].astype(np.int64), rows.targets.values[part])
    return found


@contextmanager
def _as_it_scores(body: StagedDecoder) -> Iterator[None]:
    """Without dropout; modes are put back part by part, as frozen layers stay out of training mode."""
    modes = [(part, part.training) for part in body.modules()]
    body.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
