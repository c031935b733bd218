"""Whether a model folder can be trusted and loaded: every fault at once, found without loading weights.

Knows no source and no task. Safetensors only: pickles can run code, so they are refused, and so is code in the folder.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from feinschliff.errors import Fault, ModelError
from feinschliff.models import keras_files
from feinschliff.models.factories import is_factory, read
from feinschliff.models.keras_folder import FILE as KERAS_FILE
from feinschliff.models.size import WEIGHTS, WEIGHTS_INDEX, TensorInfo, read_header, read_json_object, weight_files
from feinschliff.models.vocabulary import SpecialTokens, read_special_tokens, read_vocabulary, vocabulary_file

_EMBEDDING_NAMES = (
    "word_embeddings.weight",
    "embed_tokens.weight",
    "tok_embeddings.weight",
    "word_embedding.weight",
    "wte.weight",
    "shared.weight",
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_UNUSED_ROWS_FRACTION = 0.04
"""Published models pad embedding matrices by up to 2%; BERT's cased vocabulary is 5% smaller than its uncased one."""
_UNUSED_ROWS_ALLOWED = 128
_ADAPTER = "adapter_config.json"
T = TypeVar("T")


def verify_folder(path: str | Path) -> list[Fault]:
    """All faults of the model folder ``path``; an empty list where it can be used."""
    folder = Path(path)
    if not folder.is_dir():
        return [Fault("no such model folder", where=str(folder), remedy="check the path")]
    faults: list[Fault] = []
    if keras_files.is_keras(folder):
        _collect(faults, lambda: keras_files.read(folder))
        return [*faults, *keras_files.file_faults(folder / KERAS_FILE)]
    if foreign := keras_files.foreign_faults(folder):
        return foreign
    if is_factory(folder):
        _collect(faults, lambda: read(folder))
        _collect(faults, lambda: _tensors(folder, faults))
        return faults
    if _collect(faults, lambda: _holds_nothing(folder)):
        _collect(faults, lambda: faults.append(_no_config(folder)))
        return faults
    config = _collect(faults, lambda: _config(folder, faults)) or {}
    tensors = _collect(faults, lambda: _tensors(folder, faults)) or {}
    if _reads_images(config):
        faults.extend(_processor_faults(folder))
        return faults
    _collect(faults, lambda: faults.extend(_tokenizer_faults(folder, config, tensors)))
    faults.extend(_embedding_faults(folder, config, tensors))
    return faults


def _collect(faults: list[Fault], check: Callable[[], T]) -> T | None:
    """Run one check; what it raises joins the faults and the others still run."""
    try:
        return check()
    except ModelError as error:
        faults.extend(fault for fault in error.faults if fault not in faults)
        return None


def _holds_nothing(folder: Path) -> bool:
    """No part of a model is there (``config.json`` can be that of a run, above its model): one fault says enough."""
    config = (folder / "config.json").exists() and not _inner_models(folder)
    return not config and not weight_files(folder) and vocabulary_file(folder) is None


def _inner_models(folder: Path) -> list[Path]:
    """Model folders directly inside this one."""
    return sorted(file.parent for file in folder.glob("*/config.json") if weight_files(file.parent))


def _config(folder: Path, faults: list[Fault]) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.exists():
        faults.append(_no_config(folder))
        return {}
    config = read_json_object(file)
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        faults.append(
            Fault("config.json names no model_type", where=str(file), remedy="take the model's own config.json")
        )
    elif model_type not in _known_model_types():
        faults.append(
            Fault(
                f"model_type {model_type!r} is not known to the installed transformers",
                where=str(file),
                remedy="choose a model whose architecture is part of transformers",
            )
        )
    faults.extend(_remote_code(folder))
    return config


def _no_config(folder: Path) -> Fault:
    if (folder / _ADAPTER).exists():
        base = read_json_object(folder / _ADAPTER).get("base_model_name_or_path", "its base model")
        why, remedy = (
            "it is an adapter, which needs a base model",
            f"give {base} as the model, or merge the adapter first",
        )
    else:
        inner = _inner_models(folder)
        why = f"it holds: {_listing(folder)}"
        remedy = f"did you mean {inner[0]}?" if inner else "give a folder as transformers saves it"
    return Fault("no model's config.json in the model folder", where=str(folder), why=why, remedy=remedy)


def _listing(folder: Path) -> str:
    names = sorted(os.listdir(folder))
    return ", ".join(names[:10]) + (" ..." if len(names) > 10 else "") if names else "nothing"


@functools.cache
def _known_model_types() -> frozenset[str]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return frozenset(CONFIG_MAPPING_NAMES)


def _remote_code(folder: Path) -> list[Fault]:
    faults = []
    for name in ("config.json", "tokenizer_config.json"):
        file = folder / name
        if file.exists() and "auto_map" in read_json_object(file):
            faults.append(
                Fault(
                    f"{name} asks for Python code of its own (auto_map)",
                    where=str(file),
                    why="remote code runs with your rights and is refused",
                    remedy="choose a model whose architecture is part of transformers",
                )
            )
    return faults


def _tensors(folder: Path, faults: list[Fault]) -> dict[str, TensorInfo]:
    """Headers of all weight files; missing and broken files join the faults."""
    files = weight_files(folder)
    if not files:
        faults.append(_no_weights(folder))
        return {}
    missing = [file.name for file in files if not file.exists()]
    if missing:
        why = f"missing: {', '.join(missing)}"
        what = f"{len(missing)} of {len(files)} weight files are not there"
        faults.append(Fault(what, where=str(folder / WEIGHTS_INDEX), why=why, remedy="download the model again"))
    headers = [_collect(faults, functools.partial(read_header, file)) for file in files if file.exists()]
    broken = any(header is None for header in headers)
    tensors = {name: tensor for header in headers for name, tensor in (header or {}).items()}
    if not missing and files[0].name != WEIGHTS:
        promised = read_json_object(folder / WEIGHTS_INDEX)["weight_map"]
        absent = sorted(set(promised) - set(tensors))
        if absent and not broken:
            what = f"{len(absent)} tensors of the index are in no shard"
            faults.append(Fault(what, where=str(folder / WEIGHTS_INDEX), why=f"the first is {absent[0]}"))
    return tensors


def _no_weights(folder: Path) -> Fault:
    convert = '"from transformers import AutoModel; AutoModel.from_pretrained({0!r}{1}).save_pretrained({0!r})"'
    pickles = sorted(file.name for pattern in _PICKLES for file in folder.glob(pattern))
    other = sorted(file.name for file in folder.glob("*.safetensors") if not file.name.startswith("adapter"))
    if (folder / "tf_model.h5").exists() or (folder / "flax_model.msgpack").exists():
        tensorflow = (folder / "tf_model.h5").exists()
        name, flag = ("tf_model.h5", "from_tf") if tensorflow else ("flax_model.msgpack", "from_flax")
        code = convert.format(str(folder), f", {flag}=True")
        why = "transformers 5 reads neither TensorFlow nor Flax weights"
        return Fault(
            f"the model folder has only {name}",
            where=str(folder),
            why=why,
            remedy=f"convert it once in an environment with transformers 4.x: python -c {code}",
        )
    if pickles:
        return Fault(
            f"the model folder has its weights only as a pickle: {', '.join(pickles)}",
            where=str(folder),
            why="opening a pickle can run any code it carries; only safetensors are read",
            remedy=f"if you trust its author, convert it once: python -c {convert.format(str(folder), '')}",
        )
    why = f"it holds: {_listing(folder)}"
    remedy = f"rename {other[0]} to {WEIGHTS}" if len(other) == 1 else f"add {WEIGHTS}; give a complete model folder"
    return Fault(f"no weights in the model folder: no {WEIGHTS}", where=str(folder), why=why, remedy=remedy)


def _embedding_rows(tensors: dict[str, TensorInfo]) -> int | None:
    for name, tensor in tensors.items():
        if name.endswith(_EMBEDDING_NAMES) and len(tensor.shape) == 2:
            return tensor.shape[0]
    return None


def _vocab_size(config: dict[str, Any]) -> int | None:
    inner = config.get("text_config")
    size = config.get("vocab_size", inner.get("vocab_size") if isinstance(inner, dict) else None)
    return size if isinstance(size, int) else None


def _embedding_faults(folder: Path, config: dict[str, Any], tensors: dict[str, TensorInfo]) -> list[Fault]:
    rows, said = _embedding_rows(tensors), _vocab_size(config)
    if rows is None or said is None or rows == said:
        return []
    what = f"config.json and the weights are of different models: vocab_size {said:,}, embedding matrix {rows:,} rows"
    return [Fault(what, where=str(folder / "config.json"), remedy="take both from the same model")]


def _reads_images(config: dict[str, Any]) -> bool:
    """Whether transformers knows an image classifier of this type, and no text model of it."""
    from transformers.models.auto import modeling_auto as auto

    model_type = config.get("model_type")
    return model_type in auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES and "vocab_size" not in config


def _processor_faults(folder: Path) -> list[Fault]:
    file = folder / "preprocessor_config.json"
    if file.exists():
        return []
    remedy = "take preprocessor_config.json from the model that the weights come from"
    return [Fault("nothing says how images are brought to this model", where=str(file), remedy=remedy)]


def _tokenizer_faults(folder: Path, config: dict[str, Any], tensors: dict[str, TensorInfo]) -> list[Fault]:
    file = vocabulary_file(folder)
    remedy = "take all tokenizer files from the model that the weights come from"
    if file is None:
        nothing = "neither tokenizer.json nor vocab.txt, vocab.json or a SentencePiece .model file is there"
        return [Fault("no tokenizer in the model folder", where=str(folder), why=nothing, remedy=remedy)]
    vocabulary = read_vocabulary(folder)
    if vocabulary is None:  # SentencePiece: its ids are only known once it is loaded
        return []
    if not vocabulary:
        return [Fault("the tokenizer's vocabulary is empty", where=str(file), remedy=remedy)]
    faults = []
    rows = _embedding_rows(tensors) or _vocab_size(config)
    why = _foreign(max(vocabulary.values()) + 1, rows) if rows else None
    if why:
        faults.append(Fault("the tokenizer does not belong to this model", where=str(file), why=why, remedy=remedy))
    special = read_special_tokens(folder, str(config.get("model_type")))
    faults.extend(_special_token_faults(special, vocabulary, file, remedy))
    return faults


def _foreign(num_ids: int, rows: int) -> str | None:
    """Why a tokenizer with ids below ``num_ids`` cannot be the one of ``rows`` embeddings; None where it can."""
    if num_ids > rows:
        return f"its ids go up to {num_ids - 1:,}, the embedding matrix has {rows:,} rows: ids would be out of range"
    if rows - num_ids > max(_UNUSED_ROWS_ALLOWED, _UNUSED_ROWS_FRACTION * rows):
        return f"it has {num_ids:,} ids, the embedding matrix {rows:,} rows: words would meet the vectors of others"
    return None


def _special_token_faults(special: SpecialTokens, vocabulary: dict[str, int], file: Path, remedy: str) -> list[Fault]:
    missing = sorted(f"{name} {token!r}" for name, token in special.items() if token not in vocabulary)
    if not missing:
        return []
    what = f"special tokens are missing from the tokenizer's vocabulary: {', '.join(missing)}"
    why = "they would get new ids that the embedding matrix has no trained vectors for"
    return [Fault(what, where=str(file), why=why, remedy=remedy)]
