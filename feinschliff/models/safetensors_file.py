"""Writes a safetensors file part by part, so that no more than one part of one tensor is in memory. Knows no model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt


class Tensor(Protocol):
    """Values that are computed when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""

    def parts(self) -> Iterable[npt.NDArray[np.float32]]:
        """All values in fp32, in order, flat."""


def write(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write ``tensors`` in fp32."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + 4 * math.prod(tensor.shape)
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with open(file, "xb") as out:
        out.write(len(encoded).to_bytes(8, "little") + encoded)
        for tensor in tensors.values():
            for part in tensor.parts():
                out.write(np.ascontiguousarray(part, dtype="<f4").data)
