"""Everything in this folder wants a GPU of NVIDIA; without one each test is skipped, and the reason is shown."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip(f"no GPU here (torch {torch.__version__})")
