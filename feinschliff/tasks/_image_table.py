"""Images of examples decoded into a table of pixels, by worker threads, once. Knows no task and no model's inside."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image

from feinschliff.data.examples import Example
from feinschliff.data.images import UnreadableImage, read_rgb
from feinschliff.engine.images import ImageTable, empty_pixels
from feinschliff.errors import DataError
from feinschliff.models.vision import Form

WORKERS = min(8, os.cpu_count() or 1)
KEPT_SETS = 3
"""Tables kept for the next who asks: recipes are compared on the same rows."""
_kept: OrderedDict[str, ImageTable] = OrderedDict()


def image_table(examples: Sequence[Example], form: Form) -> ImageTable:
    """All images at the size the model wants.

    Raises:
        DataError: an image was there when the rows were read, and cannot be read any more.
    """
    key = _key(examples, form)
    if key is not None and key in _kept:
        _kept.move_to_end(key)
        return _kept[key]
    pixels = empty_pixels(len(examples), form.height, form.width, len(form.mean))

    def fill(row: int) -> None:
        pixels[row] = torch.from_numpy(form.pixels(image_of(examples[row])))

    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in pool.map(fill, range(len(examples))):
            pass
    table = ImageTable(pixels)
    if key is not None:
        _kept[key] = table
        while len(_kept) > KEPT_SETS:
            _kept.popitem(last=False)
    return table


def image_of(example: Example) -> Image.Image:
    """The image of a row in RGB.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    if example.image is None:
        raise DataError("a row without an image", where=f"{example.place.file}:{example.place.line}")
    try:
        return read_rgb(Path(example.image.path))[0]
    except UnreadableImage as error:
        raise DataError("an image cannot be read", where=example.image.path, why=str(error)) from error


def _key(examples: Sequence[Example], form: Form) -> str | None:
    """What a table follows from; None where images were not looked at."""
    digest = hashlib.sha256(f"{type(form).__name__} {form.height} {form.width} {len(form.mean)}".encode())
    for example in examples:
        if example.image is None or not example.image.digest:
            return None
        digest.update(f"{example.image.path} {example.image.digest}\n".encode())
    return digest.hexdigest()
