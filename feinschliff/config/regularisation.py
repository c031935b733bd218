"""What holds a run back from learning by heart and from forgetting. Knows no task and no method.

Everything is off by default. Label smoothing, weight decay and averaging stand at `training` itself.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from feinschliff.config.bases import Config


class RegularisationConfig(Config):
    """Against overfitting and forgetting."""

    l2_sp: float = Field(default=0.0, ge=0.0, le=1000.0)
    """Strength of the pull of pretrained weights w back to their start w0: alpha / 2 * |w - w0|^2 is added to the loss
    (L2-SP, Li et al. 2018). Instead of `training.weight_decay`, which pulls to zero and is better set to 0. 0: off."""
    l2_sp_head: float = Field(default=0.0, ge=0.0, le=1000.0)
    """The same for the new head, whose start is worth nothing, toward zero: beta / 2 * |w|^2."""
    l2_sp_form: Literal["penalty", "decoupled"] = "penalty"
    """`penalty`: in the loss, so in AdamW's moments too. `decoupled`: beside them, each step shrinks w - w0 by rate *
    l2_sp (as Loshchilov and Hutter 2019 do with weight decay)."""
    r_drop: float = Field(default=0.0, ge=0.0, le=100.0)
    """Weight of the symmetric divergence between two passes with other dropout (R-Drop, Liang et al. 2021): fewer
    chance answers, at twice the time. Needs dropout. Usual: 1 to 5. 0: off."""
    mixup: float = Field(default=0.0, ge=0.0, le=10.0)
    """Learn from mixtures of two rows' features and labels, in shares drawn from Beta(a, a) (mixup, Zhang et al. 2018;
    of texts, Guo et al. 2019). Pairs are drawn within what is computed at once. Usual: 0.2 to 1. 0: off."""
    pair_contrast: float = Field(default=0.0, ge=0.0, le=100.0)
    """Weight of a second loss on the features: cosines of rows of one class go to 1, of others to 0 (as SetFit trains,
    Tunstall et al. 2022). For few rows a class; pairs are those of what is computed at once. Usual: 1. 0: off."""
    soup: int = Field(default=0, ge=0, le=50)
    """At the end average the weights of up to so many of the best validations, each only if validation then is no worse
    (greedy soup, Wortsman et al. 2022). Each takes disk, and one validation more. 0: off."""
    early_stopping_metric: str | None = None
    """What `training.early_stopping_patience` watches: `loss`, or any metric that could decide. None: the deciding
    one. Which weights are kept, the deciding metric still says."""


class BalanceConfig(Config):
    """Against uneven classes."""

    class_weights: Literal["none", "balanced", "sqrt"] = "none"
    """Rows count in the loss by their class: balanced, as 1 / rows of the class (King and Zeng 2001); sqrt, as its
    square root. With several labels a row: a label's yes by no-rows / yes-rows, or its square root."""
    sampling: Literal["natural", "balanced"] = "natural"
    """balanced: an epoch draws as many rows as there are, with replacement, every class as often as the others."""
