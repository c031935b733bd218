"""The whole state of a run, saved atomically and found again. Knows tensors by name, not what they mean."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from feinschliff.engine import sharding
from feinschliff.engine.ranks import ALONE
from feinschliff.engine.sharding import Shards
from feinschliff.errors import FeinschliffError, RunDirectoryError
from feinschliff.results.training import CurvePoint
from feinschliff.store.run_directory import disk_full

WHOLE, DIVIDED = "state.safetensors", "state.dcp"
"""The tensors of a checkpoint: all in one file, or a folder with the pieces of several processes."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(slots=True)
class TrainState:
    """Everything besides tensors that a run needs to go on as if it had not stopped."""

    step: int = 0
    best_metric: float | None = None
    best_step: int = 0
    evaluations_since_best: int = 0
    """Since the best of what early stopping watches."""
    best_watched: float | None = None
    stopped_early: bool = False
    tokens: int = 0
    averaged_step: int = 0
    """The last step that the average of the weights has taken in."""
    seconds: float = 0.0
    loss_sum: float = 0.0
    """Loss and targets since the last point of the curve."""
    loss_targets: float = 0.0
    curve: list[CurvePoint] = field(default_factory=list)
    soup_steps: list[int] = field(default_factory=list)
    """Steps whose weights were averaged at the end, where that was no worse than the best of them."""

    def to_json(self) -> str:
        """As text."""
        return json.dumps({**asdict(self), "curve": [point.model_dump() for point in self.curve]})

    @classmethod
    def from_json(cls, text: str) -> TrainState:
        """The way back."""
        values = json.loads(text)
        values["curve"] = [CurvePoint.model_validate(point) for point in values["curve"]]
        return cls(**values)


def sync(path: Path) -> None:
    """Have a file or a folder on the disk itself, not only in the system's memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file, all or nothing.

    Raises:
        ResourceError: the disk is full; what was at ``path`` is untouched.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, temporary)
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if is_full(error):
            raise disk_full(path) from error
        raise RunDirectoryError(f"{path} cannot be written", why=str(error)) from error


def is_full(error: Exception) -> bool:
    """Whether an error of the system, of safetensors or of copying a tree says that the disk is full."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL
    return any(os.strerror(code) in str(error) or f"os error {code}" in str(error) for code in FULL)


@dataclass(frozen=True, slots=True)
class Divided:
    """That the tensors of a checkpoint are this process's pieces."""

    shards: Shards
    shapes: Mapping[str, Sequence[int]]
    """Of the whole tensors, by name."""


def save(
    folder: Path, state: TrainState, tensors: dict[str, Tensor], keep: int, divided: Divided | None = None
) -> Path:
    """Write ``step-N`` beside the older ones: built under a hidden name, synced, renamed, then the oldest removed.

    A process killed at any point leaves either the old checkpoints or also the complete new one. Where tensors are
    ``divided`` all processes call this, and the first one makes and seals the folder.

    Raises:
        ResourceError: the disk is full; the last complete checkpoint is intact.
    """
    target = folder / f"step-{state.step:08d}"
    building = folder / f".{target.name}.tmp"
    ranks = ALONE if divided is None else divided.shards.ranks
    try:
        if ranks.leads:
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir(parents=True)
        ranks.wait()
        if divided is None:
            save_tensors(building / WHOLE, tensors)
        else:
            divided.shards.write(building / DIVIDED, tensors, divided.shapes)
        if ranks.leads:
            _seal(building, target, state)
        ranks.wait()
    except OSError as error:
        shutil.rmtree(building, ignore_errors=True)
        if is_full(error):
            raise disk_full(folder) from error
        raise RunDirectoryError(f"{target} cannot be written", why=str(error)) from error
    except FeinschliffError:
        shutil.rmtree(building, ignore_errors=True)
        raise
    if ranks.leads:
        for old in complete(folder)[:-keep]:
            shutil.rmtree(old, ignore_errors=True)
    return target


def _seal(building: Path, target: Path, state: TrainState) -> None:
    (building / "state.json").write_text(state.to_json(), encoding="utf-8")
    sync(building / "state.json")
    if (building / DIVIDED).exists():
        sync(building / DIVIDED)
    sync(building)
    if target.exists():
        shutil.rmtree(target)
    os.replace(building, target)
    sync(target.parent)


def complete(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").exists()) if folder.exists() else []


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process left half written; it would take up the disk until the run ends."""
    for path in folder.glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def load_state(checkpoint: Path) -> TrainState:
    """The state of one checkpoint, without tensors."""
    return TrainState.from_json((checkpoint / "state.json").read_text(encoding="utf-8"))


def load(checkpoint: Path, shards: Shards | None = None) -> tuple[TrainState, dict[str, Tensor]]:
    """Read one checkpoint, however many processes wrote it; of its tensors this process's pieces where it has such.

    Raises:
        RunDirectoryError: a file in it is damaged (a checkpoint is complete when it appears, so the disk failed).
    """
    try:
        state = load_state(checkpoint)
        if (checkpoint / DIVIDED).exists():
            return state, sharding.read(checkpoint / DIVIDED, shards)
        tensors = load_file(checkpoint / WHOLE)
        if shards is not None:
            tensors = {name: shards.piece(one).clone() if one.dim() else one for name, one in tensors.items()}
        return state, tensors
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise RunDirectoryError(
            f"checkpoint {checkpoint} cannot be read", why=str(error), remedy="remove that folder: an older one is used"
        ) from error
