"""Temperature scaling finds the temperature that was applied, and keeps decisions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from feinschliff.engine.calibration import HIGHEST, LOWEST, fit_temperature


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_finds_the_temperature_of_overconfident_or_timid_logits(temperature: float) -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(20_000, 5)) * 2
    honest = softmax(logits, axis=1)
    references = (honest.cumsum(1) > draw.random((len(honest), 1))).argmax(1)
    distorted = softmax(logits * temperature, axis=1).astype(np.float32)
    assert fit_temperature(distorted, references) == pytest.approx(temperature, rel=0.05)


def test_is_bounded_where_every_row_is_right_and_silent_on_few_rows() -> None:
    sure = np.tile(np.array([[0.9, 0.1]], dtype=np.float32), (60, 1))
    found = fit_temperature(sure, np.zeros(60, dtype=np.int64))
    assert found is not None
    assert LOWEST <= found <= HIGHEST
    assert fit_temperature(sure[:10], np.zeros(10, dtype=np.int64)) is None
