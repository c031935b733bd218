"""Which device is chosen, what is refused, and what of a batch goes there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from feinschliff.engine import devices
from feinschliff.engine.batching import GroupsElsewhere, TokenTable, TokenTargets
from feinschliff.errors import ConfigError
from feinschliff.lifecycle.placing import device_for
from tests.numerics.tiny_runs import made_config


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> int:
    """As many as the test asks for, as far as choosing looks at them."""
    count = int(request.param)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA Made-up")
    return count


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "1000000", "memory.current": "700000", "memory.stat": "anon 9\ninactive_file 100000"}, 400_000),
        ({"memory.max": "max", "memory.current": "700000", "memory.stat": "inactive_file 1"}, None),
        ({"memory.max": "1000", "memory.current": "7000", "memory.stat": "inactive_file 0"}, 0),
        ({"memory/memory.limit_in_bytes": "1000000", "memory/memory.usage_in_bytes": "600000",
          "memory/memory.stat": "total_inactive_file 1000"}, 401_000),
        ({}, None),
    ],
)  # fmt: skip
def test_a_container_may_have_less_memory_than_its_machine(
    files: dict[str, str], left: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(devices, "CGROUP", tmp_path)
    monkeypatch.setattr(devices.psutil, "virtual_memory", lambda: SimpleNamespace(available=2_000_000))
    assert devices.free_bytes(devices.CPU) == (2_000_000 if left is None else left)


@pytest.mark.parametrize("gpus", [0], indirect=True)
def test_without_a_gpu_the_cpu_is_taken_and_said(gpus: int) -> None:
    assert devices.chosen("auto") == (devices.CPU, "device cpu: no GPU found")
    with pytest.raises(ConfigError) as refused:
        devices.chosen("cuda")
    (fault,) = refused.value.faults
    assert fault.where == "training.device"
    assert "CUDA" in (fault.remedy or "")


@pytest.mark.parametrize("gpus", [2], indirect=True)
def test_each_process_has_a_gpu_of_its_own(gpus: int) -> None:
    assert devices.chosen("auto", 1) == (torch.device("cuda", 1), "device cuda:1: NVIDIA Made-up")
    assert devices.chosen("cpu", 1) == (devices.CPU, "device cpu: as asked")
    for asked in ("auto", "cuda"):
        with pytest.raises(ConfigError, match="process 2") as refused:
            devices.chosen(asked, 2)  # type: ignore[arg-type]
        assert "nproc-per-node 2" in (refused.value.faults[0].remedy or "")


@pytest.mark.parametrize("gpus", [1], indirect=True)
def test_tasks_that_stay_on_the_cpu_say_so(gpus: int) -> None:
    assert device_for("sft", "auto")[0].type == "cuda"
    device, why = device_for("image_classification", "auto")
    assert device == devices.CPU
    assert "image_classification" in why
    with pytest.raises(ConfigError, match="image_classification"):
        device_for("image_classification", "cuda")


def test_a_gpu_for_a_task_that_uses_none_is_refused_with_the_configuration(tmp_path: object) -> None:
    from feinschliff.config.rules import gpus_are_asked_for_where_tasks_use_them as rule

    def faults(task: str, device: str) -> int:
        return len(rule(made_config("m", "o", task={"type": task}, device=device)))  # type: ignore[arg-type]

    assert [faults("sft", "cuda"), faults("embeddings", "cuda"), faults("embeddings", "auto")] == [0, 1, 0]


def test_a_batch_goes_there_but_for_the_numbers_of_its_rows() -> None:
    table = TokenTable(np.arange(40, dtype=np.int32), np.array([0, 3, 20, 40]), np.zeros(40, dtype=np.int8))
    targets = TokenTargets(np.arange(40), np.ones(40, dtype=np.float32))
    batch = table.collate(np.array([0, 1, 2]), targets)
    batch.prefix = torch.zeros(batch.size, 4)
    assert devices.on(batch, devices.CPU) is batch
    moved = devices.on(batch, torch.device("meta"))
    there = (moved.lengths_B, moved.ids_T, moved.positions_T, moved.segments_T, moved.targets, moved.weights_T)
    assert {tensor.device.type for tensor in (*there, moved.prefix) if tensor is not None} == {"meta"}
    assert None not in there
    assert moved.rows is batch.rows
    assert isinstance(moved.groups, GroupsElsewhere)
    assert moved.groups.longest == 20
    assert (moved.groups.borders.dtype, tuple(moved.groups.borders.shape)) == (torch.int32, (4,))
    assert [group.stop for group in moved.groups] == [group.stop for group in batch.groups]
    padded = [group for group in moved.groups if group.index is not None]
    assert padded
    assert all(group.index.device.type == group.bias_B11L.device.type == "meta" for group in padded)  # type: ignore[union-attr]
    assert batch.ids_T.device == devices.CPU
