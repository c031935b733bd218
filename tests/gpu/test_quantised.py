"""4-bit weights made whole on a GPU: by plain torch and by bitsandbytes' kernel, as on the CPU to the bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from feinschliff.models import nf4_kernel
from feinschliff.models.quantised import pack_nf4, plain_nf4

DEVICE = torch.device("cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(1536, 576), (7, 33), (16, 32)], ids=str)
def test_4_bit_weights_are_made_whole_as_on_the_cpu(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    packed = pack_nf4(weight)
    given: Any = (packed.codes.to(DEVICE), packed.scales.to(DEVICE), 64, shape, dtype)
    expected = plain_nf4(packed.codes, packed.scales, 64, shape, dtype)
    assert torch.equal(plain_nf4(*given).cpu(), expected)
    found = nf4_kernel.kernel("cuda", plain_nf4)
    assert found.unpack is not None, found.sentence
    assert torch.equal(found.unpack(*given).cpu(), expected)
