"""Keras 3 files as models: ``path/model.keras?range=-1..1&size=64&license=MIT``. Knows no head and no data.

The file is copied into the cache with what was said of it (``keras.json``): a model folder like others from there on.
It is loaded in Keras's safe mode, on Keras's torch backend; TensorFlow is not needed. Keras is an extra and imported
here only.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from feinschliff import settings
from feinschliff.errors import Fault, InputError, ModelError, ResourceError
from feinschliff.models.keras_folder import FACTS, FILE
from feinschliff.store.run_directory import write_bytes, write_json

SUFFIX = ".keras"
OLD_SUFFIXES = (".h5", ".hdf5")
OPTIONS = ("range", "size", "license")
PARTS = ("metadata.json", "config.json", "model.weights.h5")
_SAME = "load it where it was made, with the Keras that made it, and save it anew: keras.saving.save_model(model, "
_FAILS = (ValueError, TypeError, KeyError, OSError, AttributeError, RuntimeError, ImportError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class KerasFacts:
    """What is known of a file beside what it says itself."""

    source: str
    """As it was named."""
    range: tuple[float, float] | None = None
    """Of the values of black and white; None: by whether the model scales them itself."""
    size: int | None = None
    """Pixels a side, where the model takes any."""
    license: str | None = None
    height: int = 0
    width: int = 0
    channels: int = 0
    channels_first: bool = False
    shape: tuple[int, ...] = ()
    """Of a row; of a trained model."""
    labels: list[str] | None = None
    multi_label: bool = False
    activation: str = "softmax"
    classifier: str | None = None
    columns: tuple[str, ...] = ()
    """Of numbers, in the order of the model's input."""


def is_keras_source(source: str) -> bool:
    """Whether a source names a Keras file, or what somebody may take for one."""
    path = path_of(source)
    return path.suffix.lower() in (SUFFIX, *OLD_SUFFIXES) and not path.is_dir()


def path_of(source: str) -> Path:
    """The file, without options."""
    return Path(source.partition("?")[0]).expanduser()


def parse(source: str) -> KerasFacts:
    """Read the options of a source.

    Raises:
        InputError: an option is unknown, or not a number.
    """
    asked = source.partition("?")[2]
    pairs = [part.partition("=") for part in asked.split("&") if part]
    said = {name: value for name, _, value in pairs}
    if unknown := [name for name in said if name not in OPTIONS]:
        remedy = "write FILE.keras?range=-1..1&size=224&license=MIT, each of them only where it is needed"
        raise InputError(f"unknown options: {', '.join(unknown)}", where=source, remedy=remedy)
    try:
        low, high = (float(part) for part in said["range"].split("..")) if "range" in said else (0.0, 0.0)
        size = int(said["size"]) if "size" in said else None
    except ValueError as error:
        raise InputError(
            "range or size is no number",
            where=source,
            remedy="write range=0..255, range=0..1 or range=-1..1 (black..white), and size=224",
        ) from error
    if low > high or (size is not None and size < 1) or ("range" in said and low == high):
        raise InputError("range goes from black to white, size is at least 1", where=source)
    return KerasFacts(source, (low, high) if "range" in said else None, size, said.get("license"))


def fetch(source: str) -> Path:
    """The folder in the cache with the file and what was said of it.

    Raises:
        InputError: see :func:`parse`.
        ModelError: it is not there, or no Keras 3 file; what to do is said.
    """
    facts, file = parse(source), path_of(source)
    if faults := file_faults(file):
        raise ModelError(faults)
    digest = hashlib.sha256(file.read_bytes())
    digest.update(json.dumps([facts.range, facts.size, facts.license]).encode())
    folder = settings.read().cache_dir / "keras" / digest.hexdigest()[:24]
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / FILE).exists():
        building = folder / f".{FILE}.tmp"
        shutil.copyfile(file, building)
        building.replace(folder / FILE)
    if facts.license:
        write_bytes(folder / "README.md", f"---\nlicense: {json.dumps(facts.license)}\n---\n".encode())
    write_json(folder / FACTS, asdict(replace(facts, source=str(file))))
    return folder


def is_keras(folder: Path) -> bool:
    """Whether a model folder holds a Keras file and its facts."""
    return (folder / FACTS).exists()


def read(folder: Path) -> KerasFacts:
    """What is known of the model of a folder.

    Raises:
        ModelError: it is damaged.
    """
    try:
        values = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        lists = {name: tuple(values[name]) for name in ("range", "shape", "columns") if values.get(name) is not None}
        return KerasFacts(**{**values, **lists})
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{FACTS} is not readable", where=str(folder / FACTS), why=str(error)) from error


def foreign_faults(folder: Path) -> list[Fault]:
    """What to do with a folder that TensorFlow wrote, or that holds a file of Keras; empty where it is neither."""
    where = str(folder)
    if (folder / "saved_model.pb").exists():
        why = "a SavedModel is a program for TensorFlow, which is not used here; its layers cannot be told apart"
        what = "the folder is a TensorFlow SavedModel"
        return [Fault(what, where, why, f"{_SAME}'model.keras')")]
    files = sorted(file for file in folder.glob("*") if file.suffix.lower() == SUFFIX)
    if files and not is_keras(folder) and not (folder / "config.json").exists():
        return [Fault("the folder holds a Keras file", where, None, f"name the file itself: {files[0]}")]
    old = sorted(file for file in folder.glob("*") if file.suffix.lower() in OLD_SUFFIXES)
    if old and old[0].name != "tf_model.h5" and not (folder / "config.json").exists():
        return file_faults(old[0])
    return []


def file_faults(file: Path) -> list[Fault]:
    """What is wrong with a file, found without loading it."""
    where = str(file)
    if file.name == "tf_model.h5":
        why = "it holds weights for transformers' TensorFlow classes, which transformers 5 does not have any more"
        remedy = "convert its folder once with transformers 4.x: from_pretrained(FOLDER, from_tf=True).save_pretrained"
        return [Fault("tf_model.h5 is no Keras model", where, why, remedy)]
    if file.name.endswith(".weights.h5"):
        why = "it holds weights and not the layers they belong to"
        remedy = "build the model in Keras, model.load_weights(FILE), then model.save('model.keras')"
        return [Fault(f"{file.name} holds only weights", where, why, remedy)]
    if file.suffix.lower() in OLD_SUFFIXES:
        why = "the old format can carry code, and its layers are those of Keras 2"
        return [Fault(f"{file.name} is in Keras's old HDF5 format", where, why, f"{_SAME}'model.keras')")]
    if not file.is_file():
        return [Fault(f"there is no file {file}", "model.source", None, "check the path")]
    try:
        with zipfile.ZipFile(file) as content:
            missing = [name for name in PARTS if name not in content.namelist()]
            damaged = None if missing else content.testzip()
            config = b"{}" if missing or damaged else content.read("config.json")
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        why = f"a .keras file is a zip file; {error}"
        return [Fault(f"{file.name} is damaged or cut off", where, why, "copy or save it again")]
    if missing or damaged:
        why = f"missing inside: {', '.join(missing)}" if missing else f"damaged inside: {damaged}"
        return [Fault(f"{file.name} is no Keras 3 file", where, why, "save it again: model.save('model.keras')")]
    return _layer_faults(config, where)


def _layer_faults(config: bytes, where: str) -> list[Fault]:
    """Layers that carry or need code."""
    try:
        objects = list(_objects(json.loads(config)))
    except (ValueError, RecursionError) as error:
        return [Fault("config.json inside is not valid JSON", where, str(error)[:200], "save it again")]
    of_code = sorted({one["config"].get("name", "?") for one in objects if one["class_name"] == "Lambda"})
    tensorflow = sorted({one["class_name"] for one in objects if one["class_name"] in _OF_TENSORFLOW})
    faults = []
    if of_code:
        why = "a Lambda layer is Python code inside the file, and loading it would run that code with your rights"
        remedy = "build the model with Keras's own layers in its place (Rescaling, Reshape, keras.ops), save it again"
        faults.append(Fault(f"the model has Lambda layers: {', '.join(of_code)}", where, why, remedy))
    if tensorflow:
        why = "tf.* functions between layers run in TensorFlow only, which is not used here"
        remedy = "use keras.ops or layers in their place, and save the model again"
        faults.append(Fault(f"the model calls TensorFlow: {', '.join(tensorflow)}", where, why, remedy))
    return faults


_OF_TENSORFLOW = ("TFOpLambda", "SlicingOpLambda", "TFSMLayer", "TensorFlowOpLayer")


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Everything in a configuration that Keras makes an object of."""
    if isinstance(value, dict):
        if isinstance(value.get("class_name"), str) and isinstance(value.get("config"), dict):
            yield value
        for inner in value.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)


def reads_numbers(source: str) -> bool:
    """Whether a source names a Keras file whose input is a row of numbers, as far as the file says it."""
    file = path_of(source)
    if file.suffix.lower() != SUFFIX or file_faults(file):
        return False
    with zipfile.ZipFile(file) as content:
        objects = list(_objects(json.loads(content.read(PARTS[1]))))
    shapes = [
        one["config"].get("batch_shape") or one["config"].get("batch_input_shape") or []
        for one in objects
        if one["class_name"] == "InputLayer"
    ]
    return bool(shapes) and len(shapes[0]) == 2


def num_parameters(file: Path) -> int:
    """Numbers in all weights of layers, statistics of norms included; loads none of them.

    Raises:
        ResourceError: Keras, and with it h5py, is not installed.
    """
    try:
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        raise _not_installed(error) from error
    found = 0

    def count(name: str, value: Any) -> None:
        nonlocal found
        if isinstance(value, h5py.Dataset) and value.dtype.kind == "f" and not name.startswith("optimizer"):
            found += int(value.size)

    with zipfile.ZipFile(file) as content, content.open(PARTS[2]) as weights, h5py.File(weights, "r") as values:
        values.visititems(count)
    return found


def _not_installed(error: ImportError) -> ResourceError:
    return ResourceError(
        "Keras files need Keras 3",
        why=str(error),
        remedy="pip install 'feinschliff[keras]' (TensorFlow is not needed)",
    )


def library() -> Any:
    """Keras on torch.

    Raises:
        ResourceError: it is not installed, or computes with something else in this process already.
    """
    settings.use_torch_for_keras()
    try:
        keras = importlib.import_module("keras")
    except ImportError as error:
        raise _not_installed(error) from error
    if keras.backend.backend() != "torch":
        raise ResourceError(
            f"Keras computes with {keras.backend.backend()} in this process",
            why="it was imported before, and cannot change",
            remedy="set KERAS_BACKEND=torch before keras is imported",
        )
    return keras


def loaded(folder: Path) -> tuple[Any, Any]:
    """Keras, and the model of a folder in its safe mode.

    Raises:
        ModelError: Keras cannot make it; what to do is said.
    """
    keras = library()
    try:
        with keras.device("cpu"):
            model = keras.saving.load_model(folder / FILE, compile=False, safe_mode=True)
    except _FAILS as error:
        raise _unloadable(keras, folder, error) from error
    if not isinstance(model, keras.Model):
        raise ModelError(f"the file holds a {type(model).__name__}, not a model", where=read(folder).source)
    return keras, model


def _unloadable(keras: Any, folder: Path, error: BaseException) -> ModelError:
    source = read(folder).source
    with zipfile.ZipFile(folder / FILE) as content:
        objects = list(_objects(json.loads(content.read("config.json"))))
    known = ("keras", "builtins")
    own = {one["class_name"]: one for one in objects if not str(one.get("module") or "-").startswith(known)}
    unknown = sorted(
        name
        for name, one in own.items()
        if not name.startswith("__") and not keras.saving.get_registered_object(one.get("registered_name"))
    )
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if unknown:
        return ModelError(
            f"the model has layers of its own: {', '.join(unknown)}",
            where=source,
            why="their code is not in the file",
            remedy="build it with Keras's own layers; or, from Python, import the module that registers them "
            "(@keras.saving.register_keras_serializable) before feinschliff.api is called",
        )
    return ModelError(
        "Keras cannot load the model",
        where=source,
        why=first[:300],
        remedy=f"it was made by another Keras? {_SAME}'model.keras'); here is Keras {keras.__version__}",
    )


def save(facts: KerasFacts, model: Any, label_names: Sequence[str], changes: Mapping[str, Any], folder: Path) -> None:
    """Write a whole model, its facts and the code that asks it.

    Raises:
        OSError: the folder cannot be written.
    """
    from feinschliff.models import keras_folder

    model.save(folder / FILE)
    write_json(folder / FACTS, asdict(replace(facts, labels=list(label_names), **changes)))
    shutil.copyfile(keras_folder.__file__, folder / "load_model.py")
