"""(IA)3: trained vectors that scale keys, values and feed-forward activations, and the head (Liu et al. 2022).

Keys and values ``K x`` and ``V x`` become ``l * (K x)`` and ``l * (V x)``; the input ``h`` of the layer that leads out
of a feed-forward block becomes ``l * h``. All l start at one, so training begins at the base model. Merged, a scaled
output is a scaled row of the matrix and its bias, a scaled input a scaled column. The layers are PEFT's. Knows no task.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from feinschliff.config.bases import TypedConfig
from feinschliff.config.training import TrainingConfig
from feinschliff.errors import ConfigError
from feinschliff.methods import _peft, _peft_folder, _peft_layers
from feinschliff.methods._method import Method, and_head
from feinschliff.methods._names import kinds
from feinschliff.methods._peft_layers import ADAPTER

if TYPE_CHECKING:
    from torch import Tensor, nn

    from feinschliff.engine.contracts import ParameterGroup

PREFIX = "ia3_"
KEYS_AND_VALUES = frozenset(
    f"{name}{end}" for name in ("key", "value", "k", "v") for end in ("", "_proj", "_lin", "_layer", "_linear")
)
"""What models call these layers (BERT: `key`; Llama and most since: `k_proj`; DistilBERT: `k_lin`; T5: `k`)."""


class Ia3Config(TypedConfig):
    """Vectors that scale activations."""

    type: Literal["ia3"] = "ia3"
    """`ia3`."""
    target_modules: tuple[str, ...] = ()
    """Names (or ends of names) of linear layers whose outputs are scaled; empty: keys and values, found by name."""
    feedforward_modules: tuple[str, ...] = ()
    """Names (or ends of names) of linear layers whose inputs are scaled; empty: those that lead from the widest space
    back to the hidden width."""
    init_from: str | None = None
    """A folder with an (IA)3 adapter that PEFT (or a run) wrote: vectors start there, on its layers. None: at one."""


class Ia3(Method):
    """Vectors and head move.

    The paper's rate is 3e-3. The default is lower because the head learns at a multiple of it
    (``training.head_learning_rate_multiplier``): MiniLM on 400 rows of SST-2 reached a validation loss of 0.50 at 1e-4
    and at 3e-4, and on 500 rows 0.61 at 1e-3. A vector moves about one rate a step, so long runs or a lower multiplier
    want more.
    """

    default_learning_rate = 3e-4

    def __init__(self, config: Ia3Config) -> None:
        super().__init__(config)
        self._start: _peft_folder.PeftFolder | None = None
        """Read once: a run can be finished without it."""

    def adapt(self, network: Any) -> nn.Module:
        """Freeze the base, put vectors at the layers, train the head.

        Raises:
            ConfigError: no layer has one of the names or can be found without, or ``init_from`` names no (IA)3 adapter
                for this base model.
        """
        peft = _peft.load()

        if self.config.init_from and self._start is None:
            self._start = _peft_folder.read(self.config.init_from, "IA3", PREFIX, network.body)
        if self._start is None:
            outputs, inputs = self._outputs(network.body), self._inputs(network.body)
        else:
            outputs, inputs = self._of_folder(self._start)
        config = peft.IA3Config(target_modules=[*outputs, *inputs], feedforward_modules=inputs)
        _peft_layers.inject(network, config, PREFIX)
        if self._start is not None:
            _peft_folder.fill(network, self._start, PREFIX)
        adapted: nn.Module = network
        return adapted

    def _outputs(self, body: Any) -> list[str]:
        names, asked = list(_peft_layers.linear_layers(body)), self.config.target_modules
        inputs = self._inputs(body)
        if asked:
            chosen = _peft_layers.with_ends(names, asked, "method.target_modules")
        else:
            chosen = [name for name in names if name.rpartition(".")[2] in KEYS_AND_VALUES]
        if not chosen:
            raise _not_found("keys and values", "target_modules", names)
        return [name for name in chosen if name not in inputs]

    def _inputs(self, body: Any) -> list[str]:
        linear, asked = _peft_layers.linear_layers(body), self.config.feedforward_modules
        if asked:
            return _peft_layers.with_ends(linear, asked, "method.feedforward_modules")
        width = body.hidden_width
        wide = {name: x.in_features for name, x in linear.items() if x.in_features > x.out_features == width}
        if not wide:
            raise _not_found("layers out of the feed-forward blocks", "feedforward_modules", linear)
        widest = max(wide.values())  # out of attention it can be wide too
        return [name for name, features in wide.items() if features == widest]

    def _of_folder(self, start: _peft_folder.PeftFolder) -> tuple[list[str], list[str]]:
        for field in ("target_modules", "feedforward_modules"):
            asked = self.config.model_dump()[field]
            if asked:
                raise ConfigError(
                    f"method.{field} = {','.join(asked)} contradicts the adapter in {start.path}",
                    where=f"method.{field}",
                    why="its layers are its own",
                    remedy=f"leave out method.{field}: it comes with method.init_from",
                )
        inputs = [name for name, parts in start.tensors.items() if len(parts["ia3_l"]) == 1]
        return [name for name in start.tensors if name not in inputs], inputs

    def parameter_groups(self, network: Any, training: TrainingConfig) -> list[ParameterGroup]:
        """As ever, but vectors do not decay: they would go to zero, not to one where they do nothing."""
        from feinschliff.engine.optimizers import layer_wise_groups

        shapes = [
            (name, 1 if f".{PREFIX}" in name else p.ndim) for name, p in network.named_parameters() if p.requires_grad
        ]
        return layer_wise_groups(shapes, network.depth_of, training)

    def describe(self, network: Any) -> str:
        """How many vectors."""
        layers = _layers(network).values()
        inputs = sum(layer.is_feedforward for layer in layers)
        outputs = len(layers) - inputs
        head = and_head(network, ", and ")
        return f"vectors on the outputs of {outputs} and the inputs of {inputs} linear layers{head}"

    @contextmanager
    def reference(self, network: nn.Module) -> Iterator[nn.Module]:
        """The network with its vectors switched off."""
        with _peft_layers.switched_off(_layers(network).values()):
            yield network

    def merged_weights(self, network: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The vectors multiplied into rows and biases, or into columns, in fp32, under the base's names."""
        merged = _peft_layers.without_base_layers(weights, PREFIX)
        for name, layer in _layers(network).items():
            vector = weights[f"{name}.ia3_l.{ADAPTER}"].float()  # [out, 1], or [1, in] where inputs are scaled
            merged[f"{name}.weight"] = merged[f"{name}.weight"].float() * vector
            if not layer.is_feedforward and f"{name}.bias" in merged:
                merged[f"{name}.bias"] = merged[f"{name}.bias"].float() * vector.flatten()
        return merged

    def save_adapter(self, network: nn.Module, weights: dict[str, Tensor], folder: Path, base_model: str) -> bool:
        """Write the vectors as PEFT does."""
        peft = _peft.load()

        tensors = {name: value for name, value in weights.items() if f".{PREFIX}" in name}
        names = {
            name.removeprefix(_peft_layers.BODY + _peft_layers.MODEL): layer.is_feedforward
            for name, layer in _layers(network).items()
        }
        config = peft.IA3Config(
            target_modules=list(names),
            feedforward_modules=[name for name, is_input in names.items() if is_input],
            task_type=_peft_layers.task_of(network),
        )
        _peft_folder.write(folder, config, tensors, base_model)
        return True


def _not_found(what: str, field: str, names: Any) -> ConfigError:
    return ConfigError(
        f"{what} are not found in this model",
        where=f"method.{field}",
        why=f"linear layers here: {', '.join(kinds(name.removeprefix(_peft_layers.MODEL) for name in names))}",
        remedy=f"name them: --method.{field.replace('_', '-')}",
    )


def _layers(network: nn.Module) -> dict[str, Any]:
    from peft.tuners.ia3 import IA3Layer

    return _peft_layers.adapted_layers(network, IA3Layer)


CONFIG = Ia3Config
create = Ia3
NEEDS_LINEAR_LAYERS = True
EXAMPLE = {"type": "ia3"}
