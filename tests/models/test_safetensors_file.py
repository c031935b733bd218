"""What is written part by part is what the library reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from feinschliff.models import safetensors_file
from feinschliff.models.size import read_header


@dataclass
class InRows:
    values: npt.NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def parts(self) -> Iterator[npt.NDArray[np.float32]]:
        yield from self.values


def test_read_back(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    given = {name: draw.normal(size=shape).astype(np.float32) for name, shape in {"b": (3, 5), "a": (4, 1)}.items()}
    file = tmp_path / "model.safetensors"
    safetensors_file.write(file, {name: InRows(values) for name, values in given.items()})
    found = load_file(file)
    assert found.keys() == given.keys()
    for name, values in given.items():
        np.testing.assert_array_equal(found[name], values)
    assert read_header(file)["b"].shape == (3, 5)
