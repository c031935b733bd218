"""A Keras model as a graph without its classifier, cut into layers, run by Keras on torch. Knows no file and no head.

Keras keeps every model of layers as a graph, so where it can be cut is read off: after an operation over which all
paths from input to features lead. What lies between two cuts and has a matrix is a layer. Keras's training flag stays
off: BatchNorm keeps its statistics, and Keras's own dropout layers do nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from feinschliff.errors import ModelError

BETWEEN = (
    "Activation",
    "Softmax",
    "ReLU",
    "Dropout",
    "Flatten",
    "Reshape",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
)
"""What may stand between a classifier and the model's output."""
CHANNELS = (1, 3)


@dataclass(slots=True)
class Graph:
    """What lies between a model's input and the features that its classifier reads."""

    keras: Any
    nodes: list[Any]
    """Calls of operations, each after those whose outputs it reads; the first gives the input."""
    features: Any
    """Keras's symbolic tensor [B, d]."""
    classifier: Any
    """The operation that was left out."""
    activation: str
    """Of the model's answer: softmax, sigmoid or linear."""
    said: list[str]

    @property
    def input(self) -> Any:
        """The symbolic tensor of the input."""
        return self.nodes[0].outputs[0]

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Without the rows."""
        return tuple(self.input.shape[1:])

    def first_operations(self) -> Iterator[Any]:
        """Operations up to the first with trained weights."""
        for node in self.nodes[1:]:
            if node.operation.trainable_variables:
                return
            yield node.operation


def graph_of(keras: Any, model: Any, where: str) -> Graph:
    """Take a model apart.

    Raises:
        ModelError: it has several inputs or outputs, or its answer does not come from a classifier of its own.
    """
    inputs, outputs = (list(_listed(model, name)) for name in ("inputs", "outputs"))
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"the model has {len(inputs)} inputs and {len(outputs)} outputs",
            where=where,
            why="a row is one image or one line of numbers, and gets one answer",
            remedy="save the part with one input and one output: keras.Model(input, output).save(FILE)",
        )
    model.trainable = True
    said: list[str] = []
    model = _laid_open(keras, model, said)
    _refuse_other_types(model, where)
    answer = model.outputs[0]
    node, above = _classifier(answer, where)
    kind = type(node.operation).__name__
    features = node.input_tensors[0]
    if len(features.shape) == 4:
        said.append(f"the classifier {node.operation.name} ({kind}) reads a map: its mean over places are the features")
        features = keras.layers.GlobalAveragePooling2D(data_format=node.operation.data_format)(features)
    if len(features.shape) != 2 or features.shape[1] is None:
        raise _no_classifier(where, f"{node.operation.name} reads a tensor of shape {features.shape}")
    said.append(f"the classifier {node.operation.name} ({kind}) is taken out, a new one for your classes put in")
    return Graph(keras, _ordered(features), features, node.operation, _activation([*above, node.operation]), said)


def _listed(model: Any, name: str) -> list[Any]:
    found = getattr(model, name, None)
    return list(found) if found else []


def _laid_open(keras: Any, model: Any, said: list[str]) -> Any:
    """The same layers and weights in one graph, where models stand inside the model."""
    inner = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    if not inner:
        return model

    def called(layer: Any, *args: Any, **options: Any) -> Any:
        if isinstance(layer, keras.Sequential):
            states = args[0]
            for part in layer.layers:
                states = called(part, states)
            return states
        if isinstance(layer, keras.Model) and len(_listed(layer, "inputs")) == 1:
            return _cloned(keras, layer, called, args[0]).output
        return layer(*args, **options)

    try:
        if isinstance(model, keras.Sequential):
            first = keras.Input(batch_shape=model.input_shape, dtype=model.inputs[0].dtype)
            opened = keras.Model(first, called(model, first))
        else:
            opened = _cloned(keras, model, called, None)
    except (ValueError, TypeError, AttributeError):  # two parts of one name: it stays as it is, in larger layers
        return model
    said.append(f"models inside the model are laid open: {', '.join(layer.name for layer in inner)}")
    return opened


def _cloned(keras: Any, model: Any, call: Any, given: Any) -> Any:
    return keras.models.clone_model(model, input_tensors=given, clone_function=lambda layer: layer, call_function=call)


def _refuse_other_types(model: Any, where: str) -> None:
    dtype = str(model.inputs[0].dtype)
    odd = sorted({str(v.dtype) for v in model.trainable_variables} - {"float32"})
    if not dtype.startswith(("float", "bfloat", "uint8")):
        raise ModelError(
            f"the model reads {dtype}, not images or numbers",
            where=where,
            remedy="models of texts come from transformers here: feinschliff models list",
        )
    if odd:
        remedy = "load it in Keras and save it with float32 weights"
        raise ModelError(f"the model's weights are {', '.join(odd)}", where=where, remedy=remedy)
    for layer in model.layers:
        if str(layer.compute_dtype) != "float32":
            layer.dtype_policy = "float32"


def _node_of(tensor: Any) -> Any:
    """The call that gave a symbolic tensor."""
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]


def _classifier(answer: Any, where: str) -> tuple[Any, list[Any]]:
    """The call of the Dense or convolution from which the answer follows without weights, and what stands above it."""
    above, node = [], _node_of(answer)
    while type(node.operation).__name__ in BETWEEN and len(node.input_tensors) == 1:
        above.append(node.operation)
        node = _node_of(node.input_tensors[0])
    kind = type(node.operation).__name__
    if kind not in ("Dense", "Conv2D") or len(answer.shape) != 2:
        raise _no_classifier(where, f"it ends with {kind} {node.operation.name!r}, of shape {tuple(answer.shape)}")
    return node, above


def _no_classifier(where: str, why: str) -> ModelError:
    return ModelError(
        "the model's answer does not come from a Dense classifier (or a convolution and a mean)",
        where=where,
        why=why,
        remedy="save a model that ends with Dense(number of classes, activation='softmax')",
    )


def _activation(operations: list[Any]) -> str:
    """softmax, sigmoid or linear, whichever operation applies it."""
    for operation in operations:
        if type(operation).__name__ == "Softmax":
            return "softmax"
        name = getattr(getattr(operation, "activation", None), "__name__", "linear")
        if name in ("softmax", "sigmoid"):
            return str(name)
    return "linear"


def _ordered(features: Any) -> list[Any]:
    """All calls that features follow from, each after those it reads."""
    done: dict[int, Any] = {}
    waiting = [(_node_of(features), False)]
    while waiting:
        node, ready = waiting.pop()
        if id(node) in done:
            continue
        if ready:
            done[id(node)] = node
        else:
            waiting += [(node, True), *((parent, False) for parent in reversed(node.parent_nodes))]
    return list(done.values())


class KerasBody(nn.Module):
    """Features [B, d] of a Keras model; its trained weights are parameters here, the same memory as in Keras."""

    fp32_only = True
    """Keras casts to the type of its own policy, whatever the weights are."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.hidden_width = int(graph.features.shape[1])
        cuts = _cuts(graph.nodes)
        depths, self._ends = _stages(graph.nodes, cuts)
        self._depths: dict[str, int] = {}
        self._models: dict[tuple[int, int], Any] = {}
        self.layers = nn.ModuleDict()
        for node, depth in zip(graph.nodes, depths, strict=True):
            self._hold(node.operation, depth)
            _picking_first(graph.keras, node.operation)

    def _hold(self, operation: Any, depth: int) -> None:
        name = operation.name.replace(".", "_")
        if not operation.trainable_variables:
            return
        self._depths[name] = min(depth, self._depths.get(name, depth))
        if name in self.layers:
            return
        held = nn.Module()
        for variable in operation.trainable_variables:
            parts = variable.path.split("/")
            own = parts[parts.index(operation.name) + 1 :] if operation.name in parts else parts
            held.register_parameter("_".join(own).replace(".", "_"), variable.value)
        self.layers[name] = held

    @property
    def num_layers(self) -> int:
        """Layers with a matrix."""
        return len(self._ends)

    def depth_of(self, name: str) -> int:
        """0 for what stands below the first matrix, 1 to n for layers; ``name`` is relative to this module."""
        return self._depths[name.split(".")[1]]

    def stage_modules(self) -> Iterator[tuple[int, nn.Module]]:
        """None in which dropout could be switched on."""
        return iter(())

    def forward(self, inputs: Tensor, states: Tensor | None = None, start: int = 0, stop: int | None = None) -> Tensor:
        """Features [B, d] of images [B, c, h, w] or numbers [B, n]; or the outputs of layer ``stop``.

        ``states`` are outputs of layer ``start``: ``inputs`` are then not looked at.
        """
        given = self._arranged(inputs) if states is None else states
        key = (-1 if states is None else start, self.num_layers if stop is None else stop)
        with self.graph.keras.device("cpu"):
            if key not in self._models:
                self._models[key] = self.graph.keras.Model(self._tensor(key[0]), self._tensor(key[1]))
            out: Tensor = self._models[key](given, training=False)
        return out

    def _tensor(self, stage: int) -> Any:
        if stage < 0:
            return self.graph.input
        return self.graph.features if stage == self.num_layers else self._ends[stage]

    def _arranged(self, inputs: Tensor) -> Tensor:
        """As the model wants them: with colours last, first or without."""
        shape = self.graph.input_shape
        if inputs.ndim == 2 or channels_first(shape):
            return inputs
        arranged = inputs.permute(0, 2, 3, 1)
        return arranged if len(shape) == 3 else arranged.squeeze(-1)


def _picking_first(keras: Any, operation: Any) -> None:
    """Let a convolution of single places that leaves out places leave them out before it computes: the same numbers.

    oneDNN's gradient of such a convolution writes past its memory where there are fewer than 16 channels (torch 2.13,
    AVX-512, 60 x 60 places of 8 channels), and the process dies.
    """
    if type(operation).__name__ != "Conv2D" or set(operation.kernel_size) != {1} or set(operation.strides) == {1}:
        return
    last = operation.data_format == "channels_last"
    down, right = operation.strides

    def picked(inputs: Any, kernel: Any) -> Any:
        some = inputs[:, ::down, ::right] if last else inputs[:, :, ::down, ::right]
        return keras.ops.conv(some, kernel, data_format=operation.data_format)

    operation.convolution_op = picked


def channels_first(shape: tuple[int | None, ...]) -> bool:
    """Whether images of this shape, without rows, have their colours in front."""
    return len(shape) == 3 and shape[2] not in CHANNELS and shape[0] in CHANNELS


def _cuts(nodes: list[Any]) -> list[int]:
    """Places in ``nodes`` after which only that call's output is read; the last is none."""
    place = {id(node): number for number, node in enumerate(nodes)}
    last_read = list(range(len(nodes)))
    for number, node in enumerate(nodes):
        for parent in node.parent_nodes:
            last_read[place[id(parent)]] = max(last_read[place[id(parent)]], number)
    found, furthest = [], 0
    for number in range(len(nodes) - 1):
        if furthest <= number and len(nodes[number].outputs) == 1:
            found.append(number)
        furthest = max(furthest, last_read[number])
    return found


def _stages(nodes: list[Any], cuts: list[int]) -> tuple[list[int], list[Any]]:
    """The depth of each call, and the tensors in front of each layer."""
    depths, ends, begin = [], [], 0
    for cut in [*cuts, len(nodes) - 1]:
        segment = nodes[begin : cut + 1]
        if any(len(v.shape) >= 2 for node in segment for v in node.operation.trainable_variables):
            ends.append(nodes[max(0, begin - 1)].outputs[0])
        depths += [len(ends)] * len(segment)
        begin = cut + 1
    return depths, ends


@torch.no_grad()
def with_classifier(
    graph: Graph, weight_Cd: Tensor, bias_C: Tensor, activation: str, body: dict[str, Tensor]
) -> tuple[Any, str]:
    """The whole Keras model with trained values by the names of :class:`KerasBody`, and its classifier's name."""
    keras, own = graph.keras, KerasBody(graph)
    for name, parameter in own.named_parameters():
        parameter.copy_(body[name])
    taken = {node.operation.name for node in graph.nodes}
    name = next(n for n in ("classes", *(f"classes_{i}" for i in range(1, 1000))) if n not in taken)
    with keras.device("cpu"):
        head = keras.layers.Dense(len(bias_C), activation=activation, name=name)
        model = keras.Model(graph.input, head(graph.features))
        head.set_weights([weight_Cd.T.contiguous().numpy(), bias_C.numpy()])
    return model, name
