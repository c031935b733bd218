"""AdamW over parameter groups with their own rates. Knows no layer names: depth comes from the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from feinschliff.config.training import TrainingConfig
from feinschliff.engine.contracts import ParameterGroup


def layer_wise_groups(
    shapes: Iterable[tuple[str, int]], depth_of: Callable[[str], int], training: TrainingConfig
) -> list[ParameterGroup]:
    """Groups by depth: the head at its multiple, each layer below the top at one more factor of the decay.

    ``shapes`` are (name, number of dimensions). Weight decay acts on matrices of layers and head only: biases and norms
    have one dimension, and embedding rows that do not occur in a batch should not shrink.
    """
    shapes = list(shapes)
    top = max((depth_of(name) for name, _ in shapes), default=0)
    groups: dict[tuple[float, float], list[str]] = {}
    for name, dimensions in shapes:
        depth = depth_of(name)
        rate = training.head_learning_rate_multiplier
        if depth < top:
            rate = training.layer_learning_rate_decay ** (top - 1 - depth)
        decay = training.weight_decay if dimensions >= 2 and depth > 0 else 0.0
        groups.setdefault((rate, decay), []).append(name)
    return [ParameterGroup(tuple(names), rate, decay) for (rate, decay), names in groups.items()]


class GroupedAdamW:
    """torch's fused AdamW (decoupled weight decay, Loshchilov and Hutter 2019) with a factor per group and step."""

    def __init__(
        self, named: dict[str, Tensor], groups: list[ParameterGroup], learning_rate: float, training: TrainingConfig
    ) -> None:
        self.named = named
        self.learning_rate = learning_rate
        self.factors = [group.learning_rate_factor for group in groups]
        self._adam = torch.optim.AdamW(
            [{"params": [named[name] for name in g.names], "weight_decay": g.weight_decay} for g in groups],
            lr=learning_rate,
            betas=(training.adam_beta1, training.adam_beta2),
            eps=training.adam_epsilon,
            fused=True,
        )

    def step(self, schedule_factor: float) -> None:
        """One update at ``learning_rate * group factor * schedule_factor``, then the gradients are dropped."""
        for group, factor in zip(self._adam.param_groups, self.factors, strict=True):
            group["lr"] = self.learning_rate * factor * schedule_factor
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)

    def rates(self, schedule_factor: float) -> dict[str, float]:
        """The rate of each parameter in a step, by name."""
        name_of = {id(parameter): name for name, parameter in self.named.items()}
        return {
            name_of[id(parameter)]: self.learning_rate * factor * schedule_factor
            for group, factor in zip(self._adam.param_groups, self.factors, strict=True)
            for parameter in group["params"]
        }

    def rehearse(self) -> None:
        """A step at rate zero, so that memory for the moments is known to be there; it leaves no trace."""
        self.step(0.0)
        self.forget()

    def forget(self) -> None:
        """Drop moments and step counts."""
        self._adam.state.clear()

    def state(self) -> dict[str, Tensor]:
        """Moments and step counts by parameter name, flat: ``exp_avg.<name>`` ..."""
        return {
            f"{key}.{name}": value
            for name, parameter in self.named.items()
            for key, value in self._adam.state.get(parameter, {}).items()
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore what :meth:`state` gave."""
        for key, value in state.items():
            kind, name = key.split(".", 1)
            self._adam.state[self.named[name]][kind] = value.to(self.named[name].device, copy=True)
