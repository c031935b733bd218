"""Adapter folders as PEFT writes and reads them: ``adapter_config.json`` beside ``adapter_model.safetensors``.

Names of layers are those of the plain transformers model, so ``PeftModel.from_pretrained(AutoModel..., folder)`` loads
them. Knows the format, no method's formula.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feinschliff.errors import ConfigError
from feinschliff.methods._names import kinds
from feinschliff.methods._peft_layers import ADAPTER, BODY, MODEL, linear_layers

if TYPE_CHECKING:
    from torch import Tensor

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PREFIX = "base_model.model."
FIELD = "method.init_from"


@dataclass(frozen=True, slots=True)
class PeftFolder:
    """An adapter that was read: PEFT's configuration, and tensors by the body's layer and their name there."""

    path: str
    config: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]
    """``{"model.encoder.layer.0.attention.self.query": {"lora_A.weight": ..., "lora_B.weight": ...}}``."""
    own_names: dict[str, str]
    """The same layers by the name that PEFT gave them when the adapter was made."""


def write(folder: Path, config: Any, tensors: dict[str, Tensor], base_model: str) -> None:
    """Write an adapter of the body's layers; ``tensors`` by network name, ``config`` with the transformers model's."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config.base_model_name_or_path = base_model
    config.inference_mode = True
    values = {key: sorted(value) if isinstance(value, set) else value for key, value in config.to_dict().items()}
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
    named = {_peft_name(name): value.detach().float().contiguous() for name, value in tensors.items()}
    save_file(named, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def _peft_name(name: str) -> str:
    name = name.removeprefix(BODY + MODEL).replace(f".{ADAPTER}", "")
    return PREFIX + re.sub(r"(\.lora_magnitude_vector)\.weight$", r"\1", name)


def read(folder: str, peft_type: str, prefix: str, body: Any) -> PeftFolder:
    """Read an adapter made for this base model.

    A head saved along is left out: a run's head starts as ``model.head_init`` says.

    Raises:
        ConfigError: the folder holds no adapter, one of another type, or one for other layers than the body's.
    """
    config = _read_config(Path(folder), peft_type)
    linear = linear_layers(body)
    tensors: dict[str, dict[str, Tensor]] = {}
    own_names: dict[str, str] = {}
    for key, value in _read_tensors(Path(folder)).items():
        own_name, mark, part = key.removeprefix(PREFIX).partition(f".{prefix}")
        if not mark:
            continue
        layer = MODEL + own_name
        if layer not in linear:  # the adapter may have been made on the same model under a task's head
            layer = MODEL + own_name.removeprefix(f"{body.model.base_model_prefix}.")
        if layer not in linear:
            raise ConfigError(
                f"the adapter in {folder} is for a layer that this base model does not have: {own_name}",
                where=FIELD,
                why=f"linear layers here: {', '.join(kinds(name.removeprefix(MODEL) for name in linear))}",
                remedy=f"give the base model it was made for (it says: {config.get('base_model_name_or_path')})",
            )
        tensors.setdefault(layer, {})[prefix + part] = value.float()
        own_names[layer] = own_name
    if not tensors:
        raise ConfigError(
            f"{folder} holds no {peft_type} weights", where=FIELD, remedy="name the folder that `save_pretrained` wrote"
        )
    ordered = [name for name in linear if name in tensors]
    return PeftFolder(folder, config, {name: tensors[name] for name in ordered}, own_names)


def _read_config(folder: Path, peft_type: str) -> dict[str, Any]:
    remedy = "name the folder that PEFT's `save_pretrained` wrote"
    file = folder / CONFIG_FILE
    if not file.is_file():
        raise ConfigError(
            f"{folder} holds no PEFT adapter", where=FIELD, why=f"there is no {CONFIG_FILE} in it", remedy=remedy
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read", where=FIELD, why=str(error), remedy=remedy) from error
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != peft_type:
        raise ConfigError(
            f"{folder} holds an adapter of type {kind}, not {peft_type}",
            where=FIELD,
            remedy=f"name an adapter of type {peft_type}, or give the method that goes with it",
        )
    found: dict[str, Any] = config
    return found


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / WEIGHTS_FILE
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        why = str(error) if file.exists() else f"there is no {WEIGHTS_FILE}; pickled weights are not read"
        raise ConfigError(
            f"the adapter weights in {folder} cannot be read",
            where=FIELD,
            why=why,
            remedy="write them again with PEFT's `save_pretrained(folder, safe_serialization=True)`",
        ) from error


def fill(network: Any, start: PeftFolder, prefix: str) -> None:
    """Put the tensors that were read into the network's adapters.

    Raises:
        ConfigError: a tensor is missing, unknown, or has another shape than the base model asks for.
    """
    import torch

    places = {_peft_name(name): p for name, p in network.named_parameters() if f".{prefix}" in name}
    given = {
        f"{PREFIX}{layer.removeprefix(MODEL)}.{part}": value
        for layer, parts in start.tensors.items()
        for part, value in parts.items()
    }
    wrong = [
        f"{name}: {'not there' if name in places else 'not known'}" for name in sorted(places.keys() ^ given.keys())
    ]
    wrong += [
        f"{name}: {list(given[name].shape)} there, {list(p.shape)} here"
        for name, p in places.items()
        if name in given and given[name].shape != p.shape
    ]
    if wrong:
        raise ConfigError(
            f"the adapter in {start.path} does not fit this base model",
            where=FIELD,
            why=f"{'; '.join(wrong[:4])}{' ...' if len(wrong) > 4 else ''}",
            remedy=f"give the base model it was made for (it says: {start.config.get('base_model_name_or_path')})",
        )
    with torch.no_grad():
        for name, parameter in places.items():
            parameter.copy_(given[name])
