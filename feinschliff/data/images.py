"""Image files and bytes to RGB pixels, whatever they are: turned as EXIF says, alpha on white, 16 bit scaled down.

What cannot be read is refused with a reason. Also what tells images apart: a hash of all pixels, and a perceptual one.
Needs Pillow; knows no row, no class and no model.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

Pixels = NDArray[np.uint8]
"""[height, width, 3]."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif")
MAX_PIXELS = 150_000_000
"""Images of more are refused: a file of some kilobytes can promise gigabytes (decompression bombs)."""
LARGE_PIXELS = 16_000_000
"""JPEGs of more are decoded at a half, a quarter or an eighth; other formats one at a time, whatever the threads."""
REDUCED_SIDE = 1024
"""Pixels a side that are left at least when a large JPEG is reduced."""
SHRUNK_SIDE = 2048
"""Other large images are brought down to this many pixels a side as soon as they are decoded."""
_UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    NotImplementedError,
    struct.error,
    zlib.error,
    MemoryError,
)
"""What Pillow's decoders raise for damaged files."""
_one_large = threading.Lock()
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow raises at twice as many, before anything is decoded
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # of files that we then refuse, or read


class UnreadableImage(Exception):
    """Why an image cannot be used, in words that follow "image dropped:"."""


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image of a row: where it lies, and what it looks like."""

    path: str
    """Absolute."""
    digest: str = ""
    """Of its pixels; empty: not looked at."""
    fingerprint: int = 0
    """128 bits that hardly change when it is scaled or compressed anew (see :func:`fingerprint`)."""


@dataclass(frozen=True, slots=True)
class Looked:
    """An image that was decoded once, to see whether it can be."""

    ref: ImageRef
    width: int
    height: int
    odd: tuple[str, ...]
    """What was done to make RGB of it: ``CMYK to RGB``, ``turned as EXIF says`` ..."""


def read_rgb(source: Path | bytes) -> tuple[Image.Image, tuple[str, ...]]:
    """The image as RGB, and what had to be done for it.

    Raises:
        UnreadableImage: it is no image, damaged, cut off, or larger than ``MAX_PIXELS``.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return _decoded(image)
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"more than {MAX_PIXELS:,} pixels") from error
    except UnidentifiedImageError as error:
        raise UnreadableImage("no image that can be recognised") from error
    except _UNREADABLE as error:
        cut = "truncated" in str(error).lower() or isinstance(error, EOFError)
        said = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
        raise UnreadableImage("the file is cut off" if cut else f"damaged ({said})") from error


def _decoded(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise UnreadableImage(f"{pixels:,} pixels, more than {MAX_PIXELS:,}")
    if pixels <= LARGE_PIXELS:
        return _as_rgb(image)
    with _one_large:
        width = image.width
        image.draft("RGB" if image.mode != "CMYK" else None, _reduced(image))
        reduced = (f"reduced while decoding ({pixels / 1e6:.0f} megapixels)",) if image.width < width else ()
        rgb, odd = _as_rgb(image)
        rgb.thumbnail((SHRUNK_SIDE, SHRUNK_SIDE), reducing_gap=2.0)
        return rgb, (*odd, *reduced)


def _reduced(image: Image.Image) -> tuple[int, int]:
    """The size to ask of a decoder that can leave out detail; its shorter side stays above ``REDUCED_SIDE``."""
    scale = max(1.0, min(image.size) / REDUCED_SIDE)
    return int(image.width / scale), int(image.height / scale)


def _as_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    odd = []
    image.load()
    if image.getexif().get(0x0112, 1) not in (0, 1):
        odd.append("turned as EXIF says")
        image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        odd.append("16 bit or more to 8")
        image = _from_deep(image)
    elif image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        odd.append("alpha on white")
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    elif image.mode not in ("RGB", "L", "1", "P"):
        odd.append(f"{image.mode} to RGB")
    return image.convert("RGB"), tuple(odd)


def _from_deep(image: Image.Image) -> Image.Image:
    """Grey values of 16 or 32 bit, or fractions, to 8 bit: by the range of their type, or by their own."""
    values = np.asarray(image, dtype=np.float64)
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    highest = float(values.max(initial=0.0))
    full = 1.0 if image.mode == "F" and highest <= 1.0 else 255.0 if highest <= 255 else 65535.0
    scaled = values.clip(0) * (255.0 / max(full, highest))
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def looked_at(path: Path) -> Looked:
    """Decode an image once: its size, what is odd about it, and its hashes.

    Raises:
        UnreadableImage: see :func:`read_rgb`.
    """
    rgb, odd = read_rgb(path)
    digest = blake2b(f"{rgb.width}x{rgb.height}".encode() + rgb.tobytes(), digest_size=16).hexdigest()
    return Looked(ImageRef(str(path.absolute()), digest, fingerprint(rgb)), rgb.width, rgb.height, odd)


def fingerprint(image: Image.Image) -> int:
    """128 bits: whether each of 8 x 8 places is brighter than its neighbour to the right, and than the one below.

    The difference hash (Krawetz 2013) in both directions.
    """
    grey = np.asarray(image.convert("L").resize((9, 9), Image.Resampling.BOX), dtype=np.int16)
    bits = np.concatenate([grey[:8, 1:] > grey[:8, :-1], grey[1:, :8] > grey[:-1, :8]])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
