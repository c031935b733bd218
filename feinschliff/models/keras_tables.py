"""Keras files as models of rows of numbers. Knows no data and no loop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from feinschliff.errors import ModelError
from feinschliff.models import keras_files, keras_folder
from feinschliff.models.keras_images import KerasModel, load_keras


def load_table_model(folder: Path, names: Sequence[str]) -> tuple[KerasModel, list[str]]:
    """The model of a folder for rows of the numbers ``names``, and what is assumed of it.

    Raises:
        ModelError: it is no Keras file, reads no numbers, or another count of them.
    """
    if not keras_files.is_keras(folder):
        raise ModelError(
            "rows of numbers need a model that reads numbers",
            where="model.source",
            why=f"{folder.name} holds no Keras file, and models of transformers read texts or images",
            remedy="name a Keras file with a vector as its input: --model path/model.keras",
        )
    model = load_keras(folder)
    shape = model.graph.input_shape
    if len(shape) != 1:
        raise ModelError(
            f"the model reads rows of shape {' x '.join(str(n or 'any') for n in shape)}, not {len(names)} numbers",
            where=model.facts.source,
            remedy="images: --task image_classification; else choose a model with a vector as its input",
        )
    if shape[0] != len(names):
        raise ModelError(
            f"the model reads {shape[0]} numbers, the rows have {len(names)}",
            where=model.facts.source,
            why=f"columns of numbers, in order: {', '.join(names)}",
            remedy="name the columns that the model was made for, in its order: --data.text A,B,C",
        )
    scaling = [op.name for op in model.graph.first_operations() if type(op).__name__ == "Normalization"]
    scaled = f"the model standardises them itself ({scaling[0]})" if scaling else "as the model has no Normalization"
    how = f"numbers come as they are in the data: {scaled}"
    said = model.graph.said if model.facts.labels is None else []
    return model, [*said, how, f"{model.body.num_layers} layers below the classifier"]


def plain_table_probabilities(folder: Path, rows: Any) -> Tensor:
    """[N, C] of rows [N, n] by Keras's own ``predict``."""
    keras = keras_files.library()
    with keras.device("cpu"):
        return torch.from_numpy(keras_folder.outputs(folder, rows)).float()
