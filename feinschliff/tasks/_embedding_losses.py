"""Losses over the vectors of a global batch, summed over its rows. Know no network.

Shapes: S texts, d width, E rows, W texts of the longest row, D candidates. Vectors have length one; ``members_EW`` are
the places of each row's texts among them, -1 where it has fewer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def ranking_loss(vectors_Sd: Tensor, members_EW: Tensor, identities_EW: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of each anchor's positive among all positives and negatives of the batch.

    InfoNCE (van den Oord et al. 2018) with the other rows' texts as negatives (Henderson et al. 2017): the similarity
    is the cosine over ``temperature``. A candidate that says the same as the anchor, or that is a positive of the same
    anchor in any row, is no negative and left out.

    Args:
        identities_EW: equal where texts are equal; -1 where there is none.
    """
    rows = torch.arange(len(members_EW))
    more = members_EW[:, 2:] >= 0
    candidates = torch.cat([members_EW[:, 1], members_EW[:, 2:][more]])
    said_D = torch.cat([identities_EW[:, 1], identities_EW[:, 2:][more]])
    anchor_E, positive_E = identities_EW[:, 0], identities_EW[:, 1]
    same_anchor_EE = anchor_E[:, None] == anchor_E[None]
    says_positive_ED = positive_E[:, None] == said_D[None]
    left_out_ED = (same_anchor_EE.float() @ says_positive_ED.float() > 0) | (anchor_E[:, None] == said_D[None])
    left_out_ED[rows, rows] = False
    logits_ED = vectors_Sd[members_EW[:, 0]] @ vectors_Sd[candidates].T / temperature
    return F.cross_entropy(logits_ED.masked_fill(left_out_ED, float("-inf")), rows, reduction="sum")


def correlation_loss(vectors_Sd: Tensor, members_EW: Tensor, values_E: Tensor, temperature: float) -> Tensor:
    """``1 - r``, Pearson's correlation of cosines and values over the batch; ``temperature`` counts for nothing.

    The distances of the values count too, not only their order. One loss a batch, times its rows; a batch whose values
    are all the same says nothing, and its loss is 0.
    """
    cosines_E = (vectors_Sd[members_EW[:, 0]] * vectors_Sd[members_EW[:, 1]]).sum(1)
    values_E = (values_E - values_E.mean()).to(cosines_E.dtype)
    if not float(values_E.norm()):
        return 0.0 * cosines_E.sum()
    centred_E = cosines_E - cosines_E.mean()
    r: Tensor = (centred_E * values_E).sum() / (centred_E.norm() * values_E.norm()).clamp_min(1e-8)
    return len(values_E) - len(values_E) * r


def similarity_loss(vectors_Sd: Tensor, members_EW: Tensor, values_E: Tensor, temperature: float) -> Tensor:
    """CoSENT (Su 2022): ``log(1 + sum of exp((cos_j - cos_i) / temperature))`` over rows i, j with value_i > value_j.

    Only the order of the values counts, so they may be on any scale, or 0 and 1. One loss a batch, times its rows.
    """
    cosines_E = (vectors_Sd[members_EW[:, 0]] * vectors_Sd[members_EW[:, 1]]).sum(1) / temperature
    over_EE = values_E[:, None] > values_E[None]
    wrong = (cosines_E[None] - cosines_E[:, None])[over_EE]
    return len(values_E) * torch.logsumexp(torch.cat([0.0 * cosines_E[:1], wrong]), 0)
