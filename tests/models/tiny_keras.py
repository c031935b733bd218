"""Tiny Keras models for tests, written as .keras files. Knows no test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from feinschliff.models import keras_files


def keras() -> Any:
    """Keras on torch, its random numbers the same every time."""
    found = keras_files.library()
    found.utils.set_random_seed(0)
    return found


def saved(model: Any, file: Path) -> Path:
    """The file it was written to."""
    model.save(file)
    return file


def conv_net(size: int = 16, channels: int = 3, activation: str | None = "softmax", scaled: bool = False) -> Any:
    """Three convolutions, one of them beside a shortcut that leaves out places; norms, dropout, a Dense of 5 classes.

    The norms' statistics are not those of new norms.
    """
    k = keras()
    layers = k.layers
    inputs = k.Input((size, size, channels), name="pixels")
    states = layers.Rescaling(1 / 255)(inputs) if scaled else inputs
    states = layers.Conv2D(8, 3, padding="same", name="first")(states)
    states = layers.BatchNormalization(name="norm_1")(states)
    states = layers.Activation("relu")(states)
    other = layers.Conv2D(12, 1, strides=2, use_bias=False, name="shortcut")(states)
    states = layers.Conv2D(12, 3, strides=2, padding="same", name="second")(states)
    states = layers.BatchNormalization(name="norm_2")(states)
    states = layers.Add()([states, other])
    states = layers.Activation("relu")(states)
    states = layers.Conv2D(10, 3, padding="same", activation="relu", name="third")(states)
    states = layers.GlobalAveragePooling2D()(states)
    states = layers.Dropout(0.5)(states)
    model = k.Model(inputs, layers.Dense(5, activation=activation, name="answer")(states))
    for name in ("norm_1", "norm_2"):
        norm = model.get_layer(name)
        norm.moving_mean.assign(k.random.normal(norm.moving_mean.shape, stddev=0.2, seed=1))
        norm.moving_variance.assign(k.random.uniform(norm.moving_variance.shape, 0.5, 2.0, seed=2))
    return model


def table_net(width: int = 4, normalised: bool = False) -> Any:
    """Two Dense layers of 16 and a Dense of 3 classes on rows of numbers."""
    k = keras()
    inputs = k.Input((width,), name="numbers")
    states = inputs
    if normalised:
        states = k.layers.Normalization(mean=[5.0] * width, variance=[4.0] * width)(states)
    for name in ("lower", "upper"):
        states = k.layers.Dense(16, activation="relu", name=name)(states)
    return k.Model(inputs, k.layers.Dense(3, activation="softmax", name="answer")(states))
