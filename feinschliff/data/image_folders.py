"""Images in folders, one folder a class, or a folder of images alone. Decodes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from feinschliff.data.examples import Place
from feinschliff.data.images import SUFFIXES
from feinschliff.data.tables import Row, Table
from feinschliff.errors import DataError

IMAGE, LABEL = "image", "label"
_SIDES = frozenset(("train", "training", "test", "testing", "val", "valid", "validation", "dev"))


def holds_images(folder: Path) -> bool:
    """Whether images lie in a folder or below it, more than .txt files in subfolders: those are texts."""
    num_images = num_texts = 0
    for current, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        num_images += sum(_is_image(Path(file)) for file in files)
        num_texts += sum(file.lower().endswith(".txt") for file in files) if Path(current) != folder else 0
    return num_images > num_texts


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


def _images(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*")) if _is_image(file) and file.is_file())


def open_image_folder(path: Path, name: str) -> Table:
    """A folder whose subfolders are classes with one image a row; without subfolders, images to predict.

    Raises:
        DataError: the subfolders are the sides of a split.
    """
    folders = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
    filled = {folder.name: count for folder in folders if (count := sum(1 for _ in _images(folder)))}
    beside = [file for file in sorted(path.iterdir()) if file.is_file()]
    if not filled:
        own = [file for file in beside if _is_image(file)]
        return Table(name, [IMAGE], lambda: _flat_rows(own, path, name), [f"{name}: {len(own):,} images"])
    if set(map(str.casefold, filled)) <= _SIDES:
        sides = {side.casefold(): str(Path(name) / side) for side in filled}
        train, test = sides.get("train"), sides.get("test")
        hint = f"name them: feinschliff tune {train} --test {test}" if train and test else "name them one by one"
        raise DataError(
            f"the subfolders are the sides of a split ({', '.join(filled)}), not classes", where=name, remedy=hint
        )
    said = [f"{name}: {len(filled)} folders are the classes, {sum(filled.values()):,} images"]
    said += [f"{name}: no image in {folder.name}" for folder in folders if folder.name not in filled]
    said += _left_out(path, name, list(filled), beside)
    return Table(name, [IMAGE, LABEL], lambda: _class_rows(path, name, list(filled)), said)


def _left_out(path: Path, name: str, classes: list[str], beside: list[Path]) -> Iterator[str]:
    files = [file for label in classes for file in sorted((path / label).rglob("*")) if file.is_file()]
    others = [file for file in files if not _is_image(file)]
    for found, why in ((others, "not named as images are"), (beside, "a file beside the class folders has no class")):
        if found:
            example = found[0].relative_to(path).as_posix()
            yield f"{name}: {len(found):,} files left out (such as {example}): {why}"


def _flat_rows(files: list[Path], path: Path, name: str) -> Iterator[Row]:
    for file in files:
        shown = str(Path(name) / file.relative_to(path))
        yield Row({IMAGE: str(file)}, Place(shown, 1))


def _class_rows(path: Path, name: str, classes: list[str]) -> Iterator[Row]:
    """One of each class in turn, so that the first rows hold all of them."""
    for files in zip_longest(*(_images(path / label) for label in classes)):
        for label, file in zip(classes, files, strict=True):
            if file is not None:
                yield Row({IMAGE: str(file), LABEL: label}, Place(str(Path(name) / file.relative_to(path)), 1))
