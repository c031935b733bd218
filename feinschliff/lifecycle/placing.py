"""Where a run computes, and in what type: as asked, or as found and measured. Knows no loop and no data."""

from __future__ import annotations

from typing import Any

import torch

from feinschliff import registry, settings
from feinschliff.config.run import RunConfig
from feinschliff.engine.devices import CPU, DeviceName, chosen, device_of
from feinschliff.engine.precision import Precision, choose, choose_by_running
from feinschliff.errors import ConfigError
from feinschliff.tasks._row_network import RowNetwork

PROBED_IMAGES = 4


def device_for(task: str, asked: DeviceName) -> tuple[torch.device, str]:
    """This process's device for a task, made the current one, and a sentence that says which and why.

    Raises:
        ConfigError: a GPU was asked for, and there is none for this process, or the task does not use one.
    """
    if registry.says("task", task, "COMPUTES_ON_GPUS"):
        return chosen(asked, settings.read().local_rank)
    if asked == "cuda":
        raise ConfigError(
            f"task {task} does not compute on GPUs yet",
            where="training.device",
            why="its batches and outputs are made for the CPU",
            remedy="leave training.device at auto",
        )
    return CPU, f"device cpu: task {task} does not compute on GPUs yet" if asked == "auto" else "device cpu: as asked"


def precision_of(config: RunConfig, network: Any) -> tuple[Precision, str]:
    """The precision asked for, or the one that is faster for this network where it stands, and why.

    Raises:
        ConfigError: bf16 was asked for, and the network cannot compute in it.
    """
    if isinstance(network, RowNetwork) and network.body.fp32_only:
        if config.training.precision == "bf16":
            raise ConfigError(
                "Keras models compute in fp32 here",
                where="training.precision",
                why="Keras's layers cast everything to their own type",
                remedy="leave it at auto",
            )
        return "fp32", "precision fp32: Keras's layers compute in it"
    if config.training.precision != "auto":
        return config.training.precision, f"precision {config.training.precision}: as asked"
    if isinstance(network, RowNetwork):
        return choose_by_running(network.body, network.made_up(PROBED_IMAGES))
    return choose(device_of(network), network.body.hidden_width)
