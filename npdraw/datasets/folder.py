"""Picture files of any size, mode and format as square uint8 arrays: `folder:PATH`, uploads."""

import logging
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from npdraw.errors import DataError

Pixels = NDArray[np.uint8]

logging.getLogger("PIL").addHandler(logging.NullHandler())  # its exceptions say enough

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
"""Suffixes of the files that are taken for pictures, in upper or lower case."""

_MODES = {1: "L", 3: "RGB"}
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # not EPS: Pillow runs Ghostscript for it
_MIN_PICTURES = 4
_MAX_NAMES = 3  # skipped files that a note lists
_COLOUR_SAMPLE = 20  # pictures of a folder that are checked for colour
_FAINT_COLOUR = 4  # of 255: scanned paper and ink have this much
_MAX_SCANS = 100  # progressive scans of a JPEG; encoders write 10
_MAX_SCANNED_BYTES = 64 << 20


def fit(images: Pixels, image_size: int, channels: int) -> Pixels:
    """Return images [N, H, W] or [N, H, W, 3] as [N, C, image_size, image_size].

    Images of that size and channels keep every pixel. Others are converted (Pillow's weights for
    grey), their shorter side is resized (bilinear, antialiased) and the centre is cropped.
    """
    native = 1 if images.ndim == 3 else 3
    if images.shape[1:3] != (image_size, image_size) or native != channels:
        pictures = [_fit(Image.fromarray(image), image_size, channels) for image in images]
        return np.stack(pictures)
    channels_last = images[..., None] if native == 1 else images
    return np.ascontiguousarray(channels_last.transpose(0, 3, 1, 2))


def _fit(picture: Image.Image, image_size: int, channels: int) -> Pixels:
    # torchvision's resize and crop round the crop to whole pixels: that would be other images.
    picture = picture.convert(_MODES[channels])
    square = ImageOps.fit(picture, (image_size, image_size), method=Image.Resampling.BILINEAR)
    return np.asarray(square).reshape(image_size, image_size, channels).transpose(2, 0, 1)


def read_folder(
    folder: Path, split: str, *, image_size: int, channels: int, strict: bool
) -> tuple[Pixels, tuple[str, ...]]:
    """Read the pictures in `folder` and below: images [N, C, image_size, image_size] and notes.

    They are in the order of their relative paths. Every 10th readable one (the last one if there
    are fewer than 10) belongs to the test split, the rest to the training split. Files that cannot
    be read are skipped and named in a note.

    Raises:
        DataError: `folder` does not exist or has fewer than 4 readable pictures; or `strict`, and
            a picture cannot be read.
    """
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder}", hint="folder:PATH expects a folder of images."
        )
    paths = _sorted_paths(folder)
    pictures, skipped = [], []
    for path in paths:
        try:
            pictures.append(_fit(_decode(path), image_size, channels))
        except Exception as error:  # Pillow's readers raise almost anything for a damaged file
            if strict:
                raise DataError(
                    f"cannot read {path}: {error}", hint="Without --strict it is skipped."
                ) from error
            skipped.append(repr(path.relative_to(folder).as_posix()))
    if len(pictures) < _MIN_PICTURES:
        raise DataError(
            f"{len(pictures)} readable images in {folder} ({len(skipped)} not readable); "
            f"at least {_MIN_PICTURES} are needed",
            hint=f"It and all folders below are searched for {', '.join(sorted(SUFFIXES))}.",
        )
    notes = []
    if skipped:
        names = ", ".join(skipped[:_MAX_NAMES] + ["..."] * (len(skipped) > _MAX_NAMES))
        notes.append(f"skipped {len(skipped)} of {len(paths)} files that cannot be read: {names}")
    rows = np.arange(len(pictures))
    test = rows % 10 == 9 if len(rows) >= 10 else rows == len(rows) - 1
    return np.stack(pictures)[test if split == "test" else ~test], tuple(notes)


def read_picture(source: Path | bytes, image_size: int, channels: int) -> Pixels:
    """Read one picture from a file or from its bytes: uint8 [C, image_size, image_size].

    Raises:
        DataError: the file does not exist, or it cannot be read.
    """
    name = "the picture" if isinstance(source, bytes) else str(source)
    try:
        return _fit(_decode(source), image_size, channels)
    except FileNotFoundError as error:
        raise DataError(f"there is no picture {name}") from error
    except MemoryError:
        raise
    except UnidentifiedImageError as error:  # its text names the object that held the bytes
        formats = f"{', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}"
        raise DataError(f"cannot read {name}: it is not a {formats} file") from error
    except Exception as error:  # Pillow's readers raise almost anything for a damaged file
        raise DataError(f"cannot read {name}: {error}") from error


def has_colour(folder: Path) -> bool:
    """Return whether most of a sample of the pictures in `folder` and below are in colour.

    False if none can be read.
    """
    paths = _sorted_paths(folder)
    coloured = []
    for path in paths[:: max(1, len(paths) // _COLOUR_SAMPLE)]:
        with suppress(Exception):  # `read_folder` reports files that cannot be read
            small = _fit(_decode(path), 32, 3).astype(int)
            coloured.append(np.ptp(small, axis=0).mean() > _FAINT_COLOUR)
    return bool(coloured) and 2 * sum(coloured) > len(coloured)


def _sorted_paths(folder: Path) -> list[Path]:
    return sorted(_walk(folder), key=lambda path: path.relative_to(folder).as_posix())


def _walk(folder: Path) -> Iterator[Path]:
    """Yield files named as pictures in `folder` and below, and folders that cannot be listed.

    Links to folders are not followed: they may form a cycle.
    """
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(current / entry.name)
                    elif Path(entry.name).suffix.lower() in SUFFIXES:
                        yield current / entry.name
        except OSError:
            yield current


def _decode(source: Path | bytes) -> Image.Image:
    """Return the first frame upright, in mode L or RGB, with transparent pixels black.

    Raises:
        ValueError: it is refused because decoding could take too long or too much memory.
        Exception: almost anything else, from Pillow, if it cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        if isinstance(source, Path) and not stat.S_ISREG(source.stat().st_mode):
            # Reading a pipe would wait.
            raise ValueError("it is not a regular file, or it is a folder that cannot be listed")
        file = BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=_FORMATS) as picture:
            most = (Image.MAX_IMAGE_PIXELS or 0) // 2  # WebP is decoded in several copies
            if picture.format == "WEBP" and picture.width * picture.height > most:
                raise ValueError(f"it has more than {most:,} pixels, the limit for WebP")
            if picture.format in ("JPEG", "MPO") and _count_scans(source) > _MAX_SCANS:
                raise ValueError(f"it has more than {_MAX_SCANS} progressive scans")
            ImageOps.exif_transpose(picture, in_place=True)
            picture.load()
        if picture.mode == "F":
            raise ValueError("its pixels are floating-point numbers")
        if picture.mode.startswith("I"):  # 16 bits per pixel, also where Pillow says 32
            deep = picture if picture.mode == "I" else picture.convert("I")
            return deep.point(lambda value: value / 257 + 0.5).convert("L")  # truncates and clips
        if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
            light = picture if picture.mode == "RGBA" else picture.convert("RGBA")
            black = Image.new("RGB", picture.size)
            black.paste(light, mask=light)
            return black
        return picture if picture.mode == "L" else picture.convert("RGB")


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
