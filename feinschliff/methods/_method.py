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
from feinschliff.methods._names import listed

if TYPE_CHECKING:
    from torch import Tensor, nn

    from feinschliff.engine.contracts import ParameterGroup
    from feinschliff.results.training import QuantisedBase


class Staged(Protocol):
    """What a method may ask of a network."""

    body: Any

    def depth_of(self, parameter_name: str) -> int:
        """See ``engine.contracts.Network``."""
        ...


def is_head(network: Any, parameter_name: str) -> bool:
    """Whether a parameter lies above the last layer."""
    above: bool = network.depth_of(parameter_name) > network.body.num_layers
    return above


def and_head(network: Any, joint: str = " and ") -> str:
    """What is said of the head where it is trained; language models have none of their own."""
    trained = (name for name, parameter in network.named_parameters() if parameter.requires_grad)
    return f"{joint}the head" if any(is_head(network, name) for name in trained) else ""


class Method:
    """Base of all methods."""

    default_learning_rate = 1e-4
    mergeable = True
    """Whether weights of the base's own shape hold all that was trained; if not, the rest is saved beside them."""
    loading: tuple[str, ...] = ()
    """Python that makes a plain transformers ``model`` loaded from ``folder`` the trained one, for the model card."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.quantised: QuantisedBase | None = None
        """How the frozen base is held, where that is in fewer bits."""

    @property
    def num_virtual_tokens(self) -> int:
        """Places that every row gets in front of its tokens (see ``engine.virtual_tokens``)."""
        return 0

    def quantise_base(self, network: Any) -> None:
        """Hold what stays frozen in fewer bits, where that is asked for, and note it in ``quantised``.

        Called once, before :meth:`adapt`, on the network that is trained; never on one that weights are merged into.
        """

    def adapt(self, network: nn.Module) -> nn.Module:
        """Mark what is trained (and add what has to be added)."""
        return network

    def parameter_groups(self, network: Any, training: TrainingConfig) -> list[ParameterGroup]:
        """Trained parameters with their rates: the head faster, lower layers slower, as the configuration says."""
        from feinschliff.engine.optimizers import layer_wise_groups

        shapes = [(name, p.ndim) for name, p in network.named_parameters() if p.requires_grad]
        return layer_wise_groups(shapes, network.depth_of, training)

    def describe(self, network: Any) -> str:
        """What is trained, in words, for the announcement (``lifecycle.prepare`` counts it)."""
        depths = {network.depth_of(name) for name, p in network.named_parameters() if p.requires_grad}
        top = network.body.num_layers
        num_layers = len(depths & set(range(1, top + 1)))
        parts = [
            *(["the embeddings"] if 0 in depths else []),
            *([f"{num_layers} of {top} layers"] if num_layers else []),
            *(["the head"] if top + 1 in depths else []),
        ]
        return listed(parts)

    def start_epoch(self, network: nn.Module, epoch: int) -> None:
        """Called before each epoch, and at a resumed run's first step: a function of ``epoch`` and nothing else.

        Nothing changes by default.
        """

    @contextmanager
    def reference(self, network: nn.Module) -> Iterator[nn.Module]:
        """The network as it was before training, where a method can switch itself off; here it cannot differ."""
        yield network

    def merged_weights(self, network: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Trained ``weights`` as values of the base network's own parameters, by name.

        ``network`` is the base model in fp32, freshly adapted; ``weights`` are all of its weights, the trained ones in
        their places. What cannot be merged is left out (see :meth:`save_added`).
        """
        return weights

    def save_adapter(self, network: nn.Module, weights: dict[str, Tensor], folder: Path, base_model: str) -> bool:
        """Write what was trained beside the base as an adapter in PEFT's format; False: there is nothing to write.

        Arguments as in :meth:`merged_weights`; ``folder`` is made, ``base_model`` is the name written into it. The head
        is no part of it: it stands in the run's model folder.
        """
        return False

    def save_added(self, network: Any, weights: dict[str, Tensor], folder: Path) -> None:
        """Write what cannot be merged, as it is in ``weights`` (fp32, by the network's names), into an empty folder."""

    def attach(self, network: Any, folder: Path) -> None:
        """Put what :meth:`save_added` wrote into a plain network of ours."""

    def complete(self, model: Any, folder: Path) -> Any:
        """The same for a plain transformers model, by the means that ``loading`` names; the model is returned."""
        return model
