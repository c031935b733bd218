"""What a model folder weighs, read from the headers of its safetensors files. Loads no weights and imports no torch."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from feinschliff.errors import ModelError
from feinschliff.models import keras_files
from feinschliff.models.keras_folder import FILE as KERAS_FILE

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
_HEADER_LIMIT_BYTES = 100_000_000  # the limit of the safetensors library
_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor as a header describes it."""

    dtype: str
    shape: tuple[int, ...]


def read_header(file: Path) -> dict[str, TensorInfo]:
    """Name, type and shape of every tensor in a safetensors file, after comparing what it promises with its size.

    Raises:
        ModelError: the file is truncated, corrupt, not readable, or a git-lfs pointer without the content.
    """
    try:
        tensors = _read_header(file)
        with safe_open(file, framework="numpy"):  # the library's own checks: offsets against shapes, no holes
            return tensors
    except SafetensorError as error:
        raise _broken(file, f"its header contradicts itself: {error}") from error
    except OSError as error:
        raise _broken(file, error.strerror or str(error)) from error


def _read_header(file: Path) -> dict[str, TensorInfo]:
    size_bytes = file.stat().st_size
    with open(file, "rb") as content:
        start = content.read(8)
        if (start + content.read(len(_LFS_POINTER) - 8)) == _LFS_POINTER:
            raise _broken(file, "it is a git-lfs pointer, the content was not fetched", "run: git lfs pull")
        content.seek(8)
        header_bytes = int.from_bytes(start, "little")
        if len(start) < 8 or header_bytes > _HEADER_LIMIT_BYTES:
            raise _broken(file, f"its {size_bytes:,} bytes do not start with a safetensors header")
        raw = content.read(header_bytes)
    if len(raw) < header_bytes:
        raise _broken(file, f"truncated within the header: {header_bytes + 8:,} bytes needed, {size_bytes:,} there")
    try:
        header = json.loads(raw)
        entries = {name: value for name, value in header.items() if name != "__metadata__"}
        end = max((int(value["data_offsets"][1]) for value in entries.values()), default=0)
        tensors = {
            name: TensorInfo(str(value["dtype"]), tuple(map(int, value["shape"]))) for name, value in entries.items()
        }
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise _broken(file, f"its header is not valid: {error}") from error
    promised_bytes = 8 + header_bytes + end
    if promised_bytes != size_bytes:
        kind = "truncated" if size_bytes < promised_bytes else "longer than its header says"
        raise _broken(file, f"{kind}: {promised_bytes:,} bytes expected, {size_bytes:,} there")
    return tensors


def _broken(file: Path, why: str, remedy: str = "download it again") -> ModelError:
    return ModelError(f"{file.name} is not a readable safetensors file", where=str(file), why=why, remedy=remedy)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers would load, whether or not they exist, or the Keras file; or none.

    Raises:
        ModelError: the index of a sharded model is not readable.
    """
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    if keras_files.is_keras(folder):
        return [folder / KERAS_FILE]
    index = folder / WEIGHTS_INDEX
    if not index.exists():
        return []
    try:
        shards = set(map(str, read_json_object(index)["weight_map"].values()))
    except (KeyError, AttributeError) as error:
        raise _broken(index, f"the index of the shards is not valid: {error}") from error
    if any(Path(shard).name != shard for shard in shards):
        raise _broken(index, "it names shards outside the folder", "do not use this model")
    return [folder / shard for shard in sorted(shards)]


def num_parameters(folder: Path) -> int:
    """Numbers in all weight tensors of the folder, buffers of integers not counted."""
    if keras_files.is_keras(folder):
        return keras_files.num_parameters(folder / KERAS_FILE)
    return sum(
        math.prod(tensor.shape)
        for file in weight_files(folder)
        for tensor in read_header(file).values()
        if not tensor.dtype.startswith(("I", "U", "BOOL"))
    )


def size_mb(folder: Path) -> float:
    """Size of the weight files in megabytes (10^6 bytes)."""
    return sum(file.stat().st_size for file in weight_files(folder)) / 1e6


def weights_sha256(folder: Path) -> str:
    """Hash of the weights: of the one file; of shards, of the lines ``<sha256>  <name>`` sorted by name."""
    hashes = {file.name: _sha256(file) for file in weight_files(folder)}
    if list(hashes) in ([WEIGHTS], [KERAS_FILE]):
        return next(iter(hashes.values()))
    lines = "".join(f"{value}  {name}\n" for name, value in hashes.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def _sha256(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def read_json_object(file: Path) -> dict[str, Any]:
    """A JSON object from a model folder.

    Raises:
        ModelError: not readable as UTF-8 JSON, or not an object.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{file.name} is not valid JSON", where=str(file), why=str(error), remedy="fetch the model again"
        ) from error
    if not isinstance(value, dict):
        raise ModelError(f"{file.name} holds no JSON object", where=str(file), why=f"it holds a {type(value).__name__}")
    return value
