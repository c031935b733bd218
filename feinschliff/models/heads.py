"""Pooling and the classification head, in a form that exports to transformers' own classes. Knows no data and no loop.

``mean`` pooling is ``LayerNorm(MEAN_WEIGHT * mean of the row's states + first state)``: what one more post-norm
transformer block computes at the first token when its attention is uniform and its feed-forward part is zero. So a
mean-pooled model is written out as a plain BERT with one more layer (see ``native``), and scores stay equal. ``cls``
pooling takes the first state.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pooling = Literal["mean", "cls"]
MEAN_WEIGHT = 8.0
"""How much the mean outweighs the first state. Small enough for fp16, large enough to be a mean."""
SQUASH = 2.0**-8
"""Native heads pass features through tanh; scaled down by this it is linear to about 1e-5, and we compute it too."""


def pool(states_Td: Tensor, lengths_B: Tensor, pooling: Pooling, norm_epsilon: float) -> Tensor:
    """Token states [T, d] of packed rows to features [B, d], in fp32. ``norm_epsilon`` is the encoder's own.

    Tokens after the last row are filling and are left out.
    """
    first_Bd = plain_pool(states_Td, lengths_B, "cls")
    if pooling == "cls":
        return first_Bd
    mean_Bd = plain_pool(states_Td, lengths_B, "mean")
    normed = F.layer_norm(MEAN_WEIGHT * mean_Bd + first_Bd, first_Bd.shape[1:], eps=norm_epsilon)
    return F.layer_norm(normed, first_Bd.shape[1:], eps=norm_epsilon)


def plain_pool(states_Td: Tensor, lengths_B: Tensor, pooling: Pooling) -> Tensor:
    """The first states or the plain means of packed rows [B, d], in fp32: what sentence-transformers computes."""
    states_Td = states_Td[: int(lengths_B.sum())]
    if pooling == "cls":
        return states_Td[torch.cumsum(lengths_B, 0) - lengths_B].float()
    rows = torch.repeat_interleave(torch.arange(len(lengths_B), device=lengths_B.device), lengths_B)
    sums = torch.zeros(len(lengths_B), states_Td.shape[1], device=states_Td.device)
    return sums.index_add(0, rows, states_Td.float()) / lengths_B[:, None]


class TokenHead(nn.Module):
    """Linear classifier on states as they are: [T, d] to logits [T, C], in fp32."""

    def __init__(self, width: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(width, num_classes)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features_Bd: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.linear(self.dropout(features_Bd.float()))
        return logits

    @torch.no_grad()
    def start_from_class_means(self, features_Nd: Tensor, targets: Tensor, sharpness: float = 16.0) -> None:
        """Set the weights to the centred means of features per class (nearest class mean, Mensink et al. 2013).

        ``targets`` are class indices [N] or indicators [N, C]. ``sharpness`` is the logit of a feature that equals its
        class mean's direction at full length.
        """
        unit = F.normalize(features_Nd.float(), dim=1)
        member = F.one_hot(targets, self.linear.out_features).float() if targets.ndim == 1 else targets.float()
        counts = member.sum(0).clamp_min(1.0)
        means = member.T @ unit / counts[:, None]
        centre = means.mean(0) if targets.ndim == 1 else unit.mean(0)
        scale = sharpness / float(features_Nd.float().norm(dim=1).mean())
        self.linear.weight.copy_((means - centre) * scale)
        self.linear.bias.zero_()
        if targets.ndim == 2:
            share = (counts / len(targets)).clamp(1e-3, 1 - 1e-3)
            self.linear.bias.copy_(torch.log(share / (1 - share)))

    @torch.no_grad()
    def start_from_weights(self, weights_Cd: Tensor, biases_C: Tensor) -> None:
        """Set both."""
        self.linear.weight.copy_(weights_Cd)
        self.linear.bias.copy_(biases_C)

    @torch.no_grad()
    def start_from_ridge(self, features_Nd: Tensor, targets_NK: Tensor, penalty: float = 1.0) -> None:
        """Set the weights to the ridge regression of targets on normalised features (Hoerl and Kennard 1970).

        ``penalty`` is on the weights of features of unit length; targets that are not a number are left out.
        """
        length = float(features_Nd.float().norm(dim=1).mean())
        x = features_Nd.double() / length
        for k in range(targets_NK.shape[1]):
            known = torch.isfinite(targets_NK[:, k])
            a, y = x[known], targets_NK[known, k].double()
            centre, mean = a.mean(0), y.mean()
            a = a - centre
            gram = a.T @ a + penalty * torch.eye(a.shape[1], dtype=a.dtype, device=a.device)
            weight = torch.linalg.solve(gram, a.T @ (y - mean))
            self.linear.weight[k] = (weight / length).float()
            self.linear.bias[k] = float(mean - weight @ centre)


class Head(TokenHead):
    """Linear classifier on squashed features: [B, d] to logits [B, C], in fp32."""

    def forward(self, features_Bd: Tensor) -> Tensor:
        """Logits."""
        return super().forward(torch.tanh(features_Bd.float() * SQUASH) / SQUASH)
