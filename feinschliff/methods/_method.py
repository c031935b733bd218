"""What every method offers the loop, with the behaviour of the plainest one. Knows no task.

A method decides which parameters have ``requires_grad``; everything else follows from that: the optimizer's groups, the
frozen prefix and its cache, what a checkpoint holds. Torch is imported where it is used: methods'
configurations are read before any work, and must be light.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from feinschliff.config.training import TrainingConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from feinschliff.engine.contracts import ParameterGroup


class Staged(Protocol):
    """What a method may ask of a network."""

    body: Any

    def depth_of(self, parameter_name: str) -> int:
        """See ``engine.contracts.Network``."""
        ...


class Method:
    """Base of all methods."""

    default_learning_rate = 1e-4
    mergeable = True
    """Whether weights of the base's own shape hold all that was trained; if not, the rest is saved beside them."""
    loading: tuple[str, ...] = ()
    """Python that makes a plain transformers ``model`` loaded from ``folder`` the trained one, for the model card."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @property
    def num_virtual_tokens(self) -> int:
        """Places that every row gets in front of its tokens (see ``engine.virtual_tokens``)."""
        return 0

    def adapt(self, network: nn.Module) -> nn.Module:
        """Mark what is trained (and add what has to be added)."""
        return network

    def parameter_groups(self, network: Any, training: TrainingConfig) -> list[ParameterGroup]:
        """Trained parameters with their rates: the head faster, lower layers slower, as the configuration says."""
        from feinschliff.engine.optimizers import layer_wise_groups

        shapes = [(name, p.ndim) for name, p in network.named_parameters() if p.requires_grad]
        return layer_wise_groups(shapes, network.depth_of, training)

    def start_epoch(self, network: nn.Module, epoch: int) -> None:
        """Called before each epoch; nothing changes by default."""

    @contextmanager
    def reference(self, network: nn.Module) -> Iterator[nn.Module]:
        """The network as it was before training, where a method can switch itself off; here it cannot differ."""
        yield network

    def merged_weights(self, network: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Trained ``weights`` as values of the base network's own parameters, by name.

        What cannot be merged is left out (see :meth:`save_added`).
        """
        return weights

    def save_added(self, network: Any, weights: dict[str, Tensor], folder: Path) -> None:
        """Write what cannot be merged, as it is in ``weights`` (fp32, by the network's names), into an empty folder."""

    def attach(self, network: Any, folder: Path) -> None:
        """Put what :meth:`save_added` wrote into a plain network of ours."""

    def complete(self, model: Any, folder: Path) -> Any:
        """The same for a plain transformers model, by the means that ``loading`` names; the model is returned."""
        return model
