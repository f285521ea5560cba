"""Picture files of any size, mode and format, decoded within limits of time and memory."""

import logging
import stat
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, features

logging.getLogger("PIL").addHandler(logging.NullHandler())  # its exceptions say enough

FORMATS = (
    *("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"),
    *(("JPEG2000",) if features.check("jpg_2000") else ()),
    *(("AVIF",) if features.check("avif") else ()),
)
"""The formats that are read, known by their content: not EPS, for which Pillow runs Ghostscript."""

_SMALLEST = 3  # pixels of a side; smaller pictures show nothing
_MAX_SCANS = 100  # progressive scans of a JPEG; encoders write 10
_MAX_SCANNED_BYTES = 64 << 20
_COPIED = ("WEBP", "AVIF", "JPEG2000")  # decoded in several copies
_LONGEST_START = 16  # bytes of a file by which Pillow knows its format
_TURNED = (5, 6, 7, 8)  # orientations that exchange width and height
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


class UnusableError(ValueError):
    """A picture is intact, but nothing can be made of it; the message is short."""


def is_picture(path: Path) -> bool:
    """Return whether the content of a file begins like a picture of a format that is read."""
    try:
        if not _is_regular(path):
            return False
        with path.open("rb") as file:
            start = file.read(_LONGEST_START)
        if not any(accepts(start) for accepts in _accepting()):  # what takes no time
            return False
        with warnings.catch_warnings(action="ignore"), _opened(path):
            return True
    except Exception:  # Pillow's readers raise almost anything for a damaged file
        return False


@cache
def _accepting() -> tuple[Callable[[bytes], bool | str], ...]:
    """Return what says, for each format, whether a file may be of it, from its first bytes."""
    Image.init()
    return tuple(accepts for name in FORMATS if (accepts := Image.OPEN[name][1]) is not None)


class Header(NamedTuple):
    """What the header of a picture states."""

    size: tuple[int, int]
    """Width and height upright."""
    several_frames: bool
    """Whether it has more than one frame or page."""


def header_of(path: Path) -> Header:
    """Return what is known of a picture before it is decoded; errors as `decode`."""
    with warnings.catch_warnings(action="ignore"), _opened(path) as picture:
        _check_size(picture)
        several = False
        if picture.format != "MPO":  # the second picture in a photo is a preview, or depth
            with suppress(Exception):  # the first frame may be intact where the second is not
                several = getattr(picture, "is_animated", False)
        # Pillow turns the size of a TIFF itself, and would decode a PNG to look for more.
        if picture.format == "TIFF" or (picture.format == "PNG" and "exif" not in picture.info):
            return Header(picture.size, several)
        turned = picture.getexif().get(ExifTags.Base.Orientation) in _TURNED
        width, height = picture.size
        return Header((height, width) if turned else (width, height), several)


def decode(source: Path | bytes, *, rough: int = 0) -> Image.Image:
    """Return the first frame upright: mode L, RGB or RGBA, or I or F for values beyond 8 bits.

    With `rough`, a JPEG may come smaller, with sides of at least that many pixels: that is fast.

    Raises:
        ValueError: it is refused because decoding could take too long or too much memory, or it
            has fewer than 3 pixels on a side, or values that are not finite.
        Exception: almost anything else, from Pillow, if it cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with _opened(source) as picture:
            _check_size(picture)
            most = (Image.MAX_IMAGE_PIXELS or 0) // 2
            if picture.format in _COPIED and picture.width * picture.height > most:
                kind = "WebP" if picture.format == "WEBP" else picture.format
                raise ValueError(f"it has more than {most:,} pixels, the limit for {kind}")
            if picture.format in ("JPEG", "MPO") and _count_scans(source) > _MAX_SCANS:
                raise ValueError(f"it has more than {_MAX_SCANS} progressive scans")
            if rough:
                picture.draft(picture.mode, (rough, rough))
            ImageOps.exif_transpose(picture, in_place=True)
            picture.load()
        picture = _in_known_mode(picture)
        if picture.mode == "F" and not np.isfinite(np.asarray(picture)).all():
            raise UnusableError("its pixels are not finite numbers")
        return picture


def _check_size(picture: Image.Image) -> None:
    if min(picture.size) < _SMALLEST:
        raise UnusableError(f"it has only {picture.width} x {picture.height} pixels")


def _opened(source: Path | bytes) -> Image.Image:
    if isinstance(source, Path) and not _is_regular(source):
        raise ValueError("it is not a regular file, or it is a folder that cannot be listed")
    file = BytesIO(source) if isinstance(source, bytes) else source
    return Image.open(file, formats=FORMATS)


def _is_regular(path: Path) -> bool:
    """Return whether a path is that of a regular file: reading a pipe would wait."""
    return stat.S_ISREG(path.stat().st_mode)


def _in_known_mode(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits per pixel, also where Pillow says 32
        return picture if picture.mode == "I" else picture.convert("I")
    if picture.mode in _ALPHA or "transparency" in picture.info:
        return picture if picture.mode == "RGBA" else picture.convert("RGBA")
    if picture.mode in ("L", "RGB", "F"):
        return picture
    return picture.convert("L" if picture.mode == "1" else "RGB")


def _count_scans(source: Path | bytes) -> int:
    """Return the number of scans of a JPEG, beyond one for every 8 KiB.

    The marker of a scan also appears by chance, once in 64 KiB, in data that cameras append.
    """
    if isinstance(source, bytes):
        content = source
    else:
        with source.open("rb") as file:
            content = file.read(_MAX_SCANNED_BYTES)
    return content.count(b"\xff\xda") - (len(content) >> 13)
