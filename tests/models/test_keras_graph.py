"""Keras models as graphs: parted from their classifiers, cut into layers, the same numbers as Keras gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from feinschliff.errors import ModelError
from feinschliff.models.keras_graph import Graph, KerasBody, graph_of, with_classifier
from tests.models.tiny_keras import conv_net, keras


def parted(model: Any) -> Graph:
    return graph_of(keras(), model, "a file")


def images(rows: int = 4, size: int = 16, channels: int = 3) -> torch.Tensor:
    return torch.rand(rows, channels, size, size, generator=torch.Generator().manual_seed(0))


def asked(model: Any, given: torch.Tensor) -> torch.Tensor:
    """What Keras itself gives for [B, c, h, w]."""
    with torch.no_grad():
        out: torch.Tensor = model(given.permute(0, 2, 3, 1), training=False)
    return out


@torch.no_grad()
def test_features_with_the_old_classifier_are_the_old_answers() -> None:
    model = conv_net()
    graph = parted(model)
    body, dense = KerasBody(graph), model.get_layer("answer")
    logits = body(images()) @ dense.kernel.value + dense.bias.value
    torch.testing.assert_close(torch.softmax(logits, -1), asked(model, images()))
    assert graph.activation == "softmax"
    assert body.hidden_width == 10


@torch.no_grad()
def test_cuts_are_where_all_paths_meet() -> None:
    body = KerasBody(parted(conv_net()))
    assert body.num_layers == 3  # the shortcut lies beside the second convolution
    depths = {name.split(".")[1]: body.depth_of(name) for name, _ in body.named_parameters()}
    assert depths == {"first": 1, "norm_1": 1, "second": 2, "shortcut": 2, "norm_2": 2, "third": 3}
    whole = body(images())
    for layer in (1, 2):
        states = body(images(), stop=layer)
        torch.testing.assert_close(body(torch.zeros(4, 3, 1, 1), states, layer), whole)
        assert not torch.equal(body(images(), 2 * states, layer), whole)


def test_parameters_are_those_that_keras_trains_and_the_same_memory() -> None:
    model = conv_net()
    body = KerasBody(parted(model))
    names = {name.removeprefix("layers.") for name, _ in body.named_parameters()}
    assert names == {
        *(f"{name}.{part}" for name in ("first", "second", "third") for part in ("kernel", "bias")),
        *(f"norm_{number}.{part}" for number in (1, 2) for part in ("gamma", "beta")),
        "shortcut.kernel",
    }
    before = asked(model, images())
    with torch.no_grad():
        body.get_parameter("layers.first.kernel").mul_(2)
    assert not torch.equal(asked(model, images()), before)


def test_layers_that_were_saved_frozen_can_be_trained() -> None:
    model = conv_net()
    model.get_layer("first").trainable = False
    assert "layers.first.kernel" in dict(KerasBody(parted(model)).named_parameters())


def test_statistics_of_norms_stay_and_dropout_is_off() -> None:
    model = conv_net()
    body = KerasBody(parted(model)).train()
    mean = model.get_layer("norm_1").moving_mean.value.clone()
    first, second = body(images()), body(images())
    assert torch.equal(first, second)
    first.sum().backward()
    assert torch.equal(model.get_layer("norm_1").moving_mean.value, mean)
    assert all(parameter.grad is not None for parameter in body.parameters())


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("size", [15, 16])
@torch.no_grad()
def test_convolutions_that_leave_out_places_do_so_before(size: int, padding: str) -> None:
    k = keras()
    inputs = k.Input((size, size, 3))
    states = k.layers.Conv2D(6, 1, strides=(2, 3), padding=padding, activation="relu", name="odd")(inputs)
    model = k.Model(inputs, k.layers.Dense(2)(k.layers.Flatten()(states)))
    expected = asked(k.Model(inputs, k.layers.Flatten()(states)), images(size=size))
    torch.testing.assert_close(KerasBody(parted(model))(images(size=size)), expected)


def test_a_gradient_through_such_a_convolution_leaves_the_process_alive() -> None:
    """8 channels, 60 x 60 places: without leaving out first, oneDNN writes past its memory (torch 2.13, AVX-512)."""
    k = keras()
    inputs = k.Input((60, 60, 3))
    states = k.layers.Conv2D(16, 1, strides=2)(k.layers.Conv2D(8, 1)(inputs))
    body = KerasBody(parted(k.Model(inputs, k.layers.Dense(2)(k.layers.GlobalAveragePooling2D()(states)))))
    for _ in range(20):
        body(images(8, 60)).square().sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in body.parameters() if p.grad is not None)


@torch.no_grad()
def test_models_inside_models_are_laid_open() -> None:
    k = keras()
    layers = k.layers
    block = k.Sequential([k.Input((8, 8, 6)), layers.Conv2D(6, 3, name="deep"), layers.ReLU()], name="block")
    first = k.Input((8, 8, 3))
    base = k.Model(first, block(layers.Conv2D(6, 1, name="low")(first)), name="base")
    inputs = k.Input((8, 8, 3))
    answer = layers.Dense(2, name="answer")(layers.GlobalAveragePooling2D()(base(inputs, training=False)))
    model = k.Model(inputs, answer)
    graph = parted(model)
    body = KerasBody(graph)
    assert {name.split(".")[1]: body.depth_of(name) for name, _ in body.named_parameters()} == {"low": 1, "deep": 2}
    dense = model.get_layer("answer")
    expected = asked(model, images(size=8))
    torch.testing.assert_close(body(images(size=8)) @ dense.kernel.value + dense.bias.value, expected)
    assert any("laid open: base" in said for said in graph.said)


@torch.no_grad()
def test_parts_of_one_name_stay_in_one_layer() -> None:
    k = keras()
    base = k.Sequential([k.Input((8, 8, 3)), k.layers.Conv2D(6, 3, name="same"), k.layers.Conv2D(6, 3)], name="base")
    inputs = k.Input((8, 8, 3))
    states = k.layers.Conv2D(4, 1, name="same")(base(inputs))
    model = k.Model(inputs, k.layers.Dense(2, name="answer")(k.layers.Flatten()(states)))
    body = KerasBody(parted(model))
    assert body.num_layers == 2
    dense = model.get_layer("answer")
    logits = body(images(size=8)) @ dense.kernel.value + dense.bias.value
    torch.testing.assert_close(logits, asked(model, images(size=8)))


@torch.no_grad()
def test_a_convolution_with_a_mean_is_a_classifier_too() -> None:
    k = keras()
    inputs = k.Input((8, 8, 3))
    below = k.layers.Conv2D(6, 3, name="below")(inputs)
    states = k.layers.GlobalAveragePooling2D()(k.layers.Conv2D(4, 1, name="answer")(below))
    model = k.Model(inputs, k.layers.Activation("softmax")(states))
    graph = parted(model)
    answer = model.get_layer("answer")
    logits = KerasBody(graph)(images(size=8)) @ answer.kernel.value[0, 0] + answer.bias.value
    torch.testing.assert_close(torch.softmax(logits, -1), asked(model, images(size=8)))
    assert graph.activation == "softmax"


@torch.no_grad()
def test_a_new_classifier_on_trained_values() -> None:
    graph = parted(conv_net())
    body = KerasBody(graph)
    values = {name: value.detach() + 0.01 for name, value in body.named_parameters()}
    weight, bias = torch.randn(3, 10), torch.randn(3)
    model, name = with_classifier(graph, weight, bias, "softmax", values)
    assert name == "classes"
    expected = torch.softmax(body(images()) @ weight.T + bias, -1)
    torch.testing.assert_close(asked(model, images()), expected)


def _two_inputs(k: Any) -> Any:
    one, two = k.Input((4,)), k.Input((4,))
    return k.Model([one, two], k.layers.Dense(2)(k.layers.Add()([one, two])))


def _two_outputs(k: Any) -> Any:
    one = k.Input((4,))
    return k.Model(one, [k.layers.Dense(2)(one), k.layers.Dense(3)(one)])


def _no_classifier(k: Any) -> Any:
    one = k.Input((4,))
    return k.Model(one, k.layers.LayerNormalization()(k.layers.Dense(2)(one)))


def _of_tokens(k: Any) -> Any:
    one = k.Input((4,), dtype="int32")
    return k.Model(one, k.layers.Dense(2)(k.layers.Flatten()(k.layers.Embedding(10, 3)(one))))


def _a_mask(k: Any) -> Any:
    one = k.Input((8, 8, 3))
    return k.Model(one, k.layers.Conv2D(2, 1)(one))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (_two_inputs, "2 inputs and 1 outputs"),
        (_two_outputs, "1 inputs and 2 outputs"),
        (_no_classifier, "does not come from a Dense classifier"),
        (_of_tokens, "reads int32"),
        (_a_mask, "does not come from a Dense classifier"),
    ],
)
def test_models_that_are_no_classifiers_are_refused(made: Any, said: str) -> None:
    with pytest.raises(ModelError) as refused:
        parted(made(keras()))
    assert said in str(refused.value)
    assert refused.value.faults[0].remedy
