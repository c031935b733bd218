"""Temperature scaling: one number on the logits, so that probabilities mean what they say. Changes no decision.

Knows no task: it sees probabilities and references.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

Floats = npt.NDArray[np.float32]
FEWEST_ROWS = 50
"""Below, a temperature would be fitted to chance."""
LOWEST, HIGHEST = 0.25, 4.0
"""Bounds: where every validation row is right, likelihood alone would ask for infinite confidence."""


def fit_temperature(probabilities_NC: Floats, references_N: npt.NDArray[np.int64]) -> float | None:
    """The T that makes ``softmax(logits / T)`` likeliest on validation rows (Guo et al. 2017, section 4.2).

    Logits are taken as log probabilities: softmax does not see the difference. None: too few rows to tell.
    """
    if len(references_N) < FEWEST_ROWS:
        return None
    logits = np.log(np.clip(probabilities_NC.astype(np.float64), 1e-12, 1.0))
    rows = np.arange(len(references_N))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        top = scaled.max(1)
        return float(np.mean(top + np.log(np.exp(scaled - top[:, None]).sum(1)) - scaled[rows, references_N]))

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    return float(np.exp(found.x))
