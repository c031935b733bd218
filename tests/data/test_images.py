"""Odd images become what a person sees; broken ones are refused with a reason."""

from __future__ import annotations

import io
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from feinschliff.data.images import LARGE_PIXELS, MAX_PIXELS, UnreadableImage, fingerprint, looked_at, read_rgb


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)  # type: ignore[arg-type]
    return out.getvalue()


def corner(image: Image.Image) -> tuple[int, ...]:
    return tuple(np.asarray(image)[0, 0].tolist())


def halves(left: object, right: object, mode: str = "RGB") -> Image.Image:
    """16 x 8 pixels, the left half of one colour."""
    image = Image.new(mode, (16, 8), right)  # type: ignore[arg-type]
    image.paste(left, (0, 0, 8, 8))  # type: ignore[arg-type]
    return image


def test_alpha_is_laid_on_white() -> None:
    image, odd = read_rgb(saved(halves((255, 0, 0, 0), (255, 0, 0, 255), "RGBA"), "PNG"))
    assert corner(image) == (255, 255, 255)
    assert image.getpixel((15, 7)) == (255, 0, 0)
    assert odd == ("alpha on white",)


def test_palette_with_a_transparent_colour_is_laid_on_white() -> None:
    image, odd = read_rgb(saved(halves(0, 1, "P"), "PNG", transparency=0))
    assert corner(image) == (255, 255, 255)
    assert odd == ("alpha on white",)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    values = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    image, odd = read_rgb(saved(Image.fromarray(values), "PNG"))
    assert np.abs(np.asarray(image)[..., 0] - values / 257).max() <= 1
    assert odd == ("16 bit or more to 8",)


@pytest.mark.parametrize(("values", "expected"), [([[0.0, 1.0]], [[0, 255]]), ([[0.0, 510.0]], [[0, 2]])])
def test_fractions_are_scaled_by_their_range(values: list[list[float]], expected: list[list[int]]) -> None:
    image, _ = read_rgb(saved(Image.fromarray(np.array(values, dtype=np.float32)), "TIFF"))
    assert np.asarray(image)[..., 0].tolist() == expected


def test_exif_turns_the_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the left edge is up
    image, odd = read_rgb(saved(halves((255, 255, 255), (0, 0, 0)), "JPEG", exif=exif, quality=95))
    assert image.size == (8, 16)
    assert corner(image)[0] > 250
    assert image.getpixel((7, 15))[0] < 5  # type: ignore[index]
    assert odd == ("turned as EXIF says",)


def test_cmyk_becomes_the_colours_it_prints() -> None:
    image, odd = read_rgb(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))
    red, green, blue = corner(image)
    assert red > 200 > 60 > max(green, blue)
    assert odd == ("CMYK to RGB",)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "LA", "RGBA", "YCbCr", "CMYK", "LAB", "I", "F", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (300, 2)])
def test_every_mode_and_size_becomes_rgb(tmp_path: Path, mode: str, size: tuple[int, int]) -> None:
    image, _ = read_rgb(saved(Image.new(mode, size), "TIFF"))
    assert image.mode == "RGB"
    assert image.size == size
    assert 0 <= fingerprint(image) < 2**128


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@settings(max_examples=15, deadline=None)
@given(share=st.floats(0.0, 0.9))
def test_an_image_that_is_cut_off_is_refused_not_filled_up(format: str, share: float) -> None:
    whole = saved(NOISE, format)
    with pytest.raises(UnreadableImage, match=r"cut off|damaged|recognised"):
        read_rgb(whole[: int(share * len(whole))])


def _mode_or_reason(content: bytes) -> bool:
    """Anything else than an RGB image, or an error of ours with words in it, fails."""
    try:
        return read_rgb(content)[0].mode == "RGB"
    except UnreadableImage as error:
        return bool(str(error))


@settings(max_examples=60, deadline=None)
@given(
    content=st.binary(max_size=200),
    head=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"II*\0"]),
)
def test_any_bytes_give_an_image_or_a_reason(content: bytes, head: bytes) -> None:
    assert _mode_or_reason(head + content)


@settings(max_examples=80, deadline=None)
@given(
    place=st.integers(0, 10**6),
    value=st.integers(0, 255),
    format=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF"]),
)
def test_a_changed_byte_gives_an_image_or_a_reason(place: int, value: int, format: str) -> None:
    content = bytearray(saved(NOISE, format))
    content[place % len(content)] = value
    assert _mode_or_reason(bytes(content))


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    side = int((2 * MAX_PIXELS) ** 0.5)
    bomb = saved(Image.new("1", (side, side)), "PNG", compress_level=9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnreadableImage, match="more than 150,000,000"):
        read_rgb(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


def test_a_hundred_megapixels_of_jpeg_are_decoded_small() -> None:
    content = saved(Image.new("L", (12000, 8400), 77), "JPEG")
    assert LARGE_PIXELS < 12000 * 8400
    image, odd = read_rgb(content)
    assert image.size == (1500, 1050)
    assert corner(image) == (77, 77, 77)
    assert odd == ("reduced while decoding (101 megapixels)",)


def test_other_large_images_are_brought_down_at_once() -> None:
    image, _ = read_rgb(saved(Image.new("L", (6000, 3000), 77), "PNG"))
    assert image.size == (2048, 1024)


def test_hashes_tell_pixels_apart_and_pictures_together(tmp_path: Path) -> None:
    smooth = NOISE.resize((8, 8)).resize((64, 64), Image.Resampling.BICUBIC)
    changes: dict[str, Callable[[], bytes]] = {
        "a.png": lambda: saved(smooth, "PNG"),
        "same.bmp": lambda: saved(smooth, "BMP"),
        "again.jpg": lambda: saved(smooth, "JPEG", quality=80),
        "small.png": lambda: saved(smooth.resize((40, 40)), "PNG"),
        "other.png": lambda: saved(smooth.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "PNG"),
    }
    refs = {}
    for name, content in changes.items():
        (tmp_path / name).write_bytes(content())
        refs[name] = looked_at(tmp_path / name).ref
    first = refs["a.png"]
    assert refs["same.bmp"].digest == first.digest
    assert len({ref.digest for ref in refs.values()}) == 4
    far = {name: (ref.fingerprint ^ first.fingerprint).bit_count() for name, ref in refs.items()}
    assert max(far["same.bmp"], far["again.jpg"], far["small.png"]) <= 8
    assert far["other.png"] > 30
