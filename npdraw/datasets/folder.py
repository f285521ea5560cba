"""Pictures of any size, kind and file format as square uint8 arrays; only `datasets` uses it."""

import logging
import math
import os
import stat
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from npdraw.errors import DataError

Pixels = NDArray[np.uint8]

logging.getLogger("PIL").addHandler(logging.NullHandler())  # its exceptions say enough

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
"""Files of a folder that are taken for pictures, whatever the case of the letters."""

_MODES = {1: "L", 3: "RGB"}
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # of others, one starts Ghostscript
_FEWEST = 4
_NAMED = 3
_LOOKED_AT = 20  # pictures of a folder, for whether they have colours
_FAINT_COLOUR = 4  # of 255: paper and ink, scanned
_MOST_SCANS = 100  # of a JPEG; encoders make 10
_MOST_READ = 64 << 20

_SMALL = 256 << 20  # bytes of an array, however well it is packed
_DENSEST = 100  # unpacked bytes for each packed one: Omniglot at 105x105 has 63, zeros 1,030
_SHOWN = 8
_HOW_TO_SAVE = "save it with np.savez_compressed(FILE, train=..., test=...)"


def fit(images: Pixels, image_size: int, channels: int) -> Pixels:
    """Return images [N, H, W] or [N, H, W, 3] as [N, C, image_size, image_size].

    Images of that size and those channels keep every pixel. Others are converted (Pillow's weights
    for grey), their shorter side is resized (bilinear, antialiased) and the middle cut out.
    """
    native = 1 if images.ndim == 3 else 3
    if images.shape[1:3] != (image_size, image_size) or native != channels:
        pictures = [_fit(Image.fromarray(image), image_size, channels) for image in images]
        return np.stack(pictures)
    grey_last = images[..., None] if native == 1 else images
    return np.ascontiguousarray(grey_last.transpose(0, 3, 1, 2))


def _fit(picture: Image.Image, image_size: int, channels: int) -> Pixels:
    picture = picture.convert(_MODES[channels])
    square = ImageOps.fit(picture, (image_size, image_size), method=Image.Resampling.BILINEAR)
    return np.asarray(square).reshape(image_size, image_size, channels).transpose(2, 0, 1)


def read_folder(
    folder: Path, split: str, *, image_size: int, channels: int, strict: bool
) -> tuple[Pixels, tuple[str, ...]]:
    """Read the pictures in `folder` and below: images [N, C, image_size, image_size] and notes.

    They are in the order of their relative paths; every 10th readable one (the last if there are
    fewer than 10) is the test split, the rest is the training split. Of a moving picture the first
    frame is taken; transparent pixels are black. Files that cannot be read are skipped and named in
    a note.

    Raises:
        DataError: no such folder, fewer than 4 readable pictures, or `strict` and one is not.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}", hint="folder:PATH takes a folder of images")
    paths = sorted(_walk(folder), key=lambda path: path.relative_to(folder).as_posix())
    pictures, skipped = [], []
    for path in paths:
        try:
            pictures.append(_fit(_read_picture(path), image_size, channels))
        except Exception as error:  # Pillow's readers raise almost anything for a damaged file
            if strict:
                raise DataError(
                    f"cannot read {path}: {error}", hint="without --strict it is skipped"
                ) from error
            skipped.append(repr(path.relative_to(folder).as_posix()))
    if len(pictures) < _FEWEST:
        raise DataError(
            f"{len(pictures)} readable images in {folder} ({len(skipped)} not readable); "
            f"at least {_FEWEST} are needed",
            hint=f"it is searched with all folders below for {', '.join(sorted(SUFFIXES))}",
        )
    notes = []
    if skipped:
        names = ", ".join(skipped[:_NAMED] + ["..."] * (len(skipped) > _NAMED))
        notes.append(f"skipped {len(skipped)} of {len(paths)} files that cannot be read: {names}")
    rows = np.arange(len(pictures))
    test = rows % 10 == 9 if len(rows) >= 10 else rows == len(rows) - 1
    return np.stack(pictures)[test if split == "test" else ~test], tuple(notes)


def read_picture(source: Path | bytes, image_size: int, channels: int) -> Pixels:
    """Read one picture from a file or from its bytes: uint8 [C, image_size, image_size].

    Raises:
        DataError: there is none, or it cannot be read.
    """
    name = "the picture" if isinstance(source, bytes) else str(source)
    try:
        return _fit(_read_picture(source), image_size, channels)
    except FileNotFoundError as error:
        raise DataError(f"there is no picture {name}") from error
    except MemoryError:
        raise
    except UnidentifiedImageError as error:  # names the object that held the bytes
        raise DataError(f"cannot read {name}: it is none of {', '.join(_FORMATS)}") from error
    except Exception as error:  # Pillow's readers raise almost anything for a damaged file
        raise DataError(f"cannot read {name}: {error}") from error


def folder_has_colour(folder: Path) -> bool:
    """Return whether most of some pictures in `folder` and below have colours; False if none is."""
    paths = sorted(_walk(folder), key=lambda path: path.relative_to(folder).as_posix())
    found = []
    for path in paths[:: max(1, len(paths) // _LOOKED_AT)]:
        with suppress(Exception):  # of files that cannot be read `read_folder` tells
            small = _fit(_read_picture(path), 32, 3).astype(int)
            found.append(np.ptp(small, axis=0).mean() > _FAINT_COLOUR)
    return bool(found) and 2 * sum(found) > len(found)


def npz_has_colour(path: Path) -> bool:
    """Return whether the array `train` of a file is in colour; False if there is none."""
    if not path.is_file():  # a pipe would be waited for
        return False
    with suppress(Exception), zipfile.ZipFile(path) as archive, archive.open("train.npy") as file:
        return len(_read_header(file)[0]) == 4
    return False


def _walk(folder: Path) -> Iterator[Path]:
    """Yield what is named as a picture in `folder` and below, and folders that cannot be listed.

    Links to folders are not followed: they may lead in circles.
    """
    waiting = [folder]
    while waiting:
        at = waiting.pop()
        try:
            with os.scandir(at) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(at / entry.name)
                    elif Path(entry.name).suffix.lower() in SUFFIXES:
                        yield at / entry.name
        except OSError:
            yield at


def _read_picture(source: Path | bytes) -> Image.Image:
    """Return the first frame upright, with 8 bits a channel and without transparency."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        if isinstance(source, Path) and not stat.S_ISREG(source.stat().st_mode):
            # A pipe would be waited for.
            raise ValueError("it is no regular file, or a folder that cannot be listed")
        file = BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=_FORMATS) as picture:
            most = (Image.MAX_IMAGE_PIXELS or 0) // 2  # it is decoded in several copies
            if picture.format == "WEBP" and picture.width * picture.height > most:
                raise ValueError(f"it has more than {most:,} pixels, the most of WebP")
            if picture.format in ("JPEG", "MPO") and _scans(source) > _MOST_SCANS:
                raise ValueError(f"it is built up in more than {_MOST_SCANS} steps")
            ImageOps.exif_transpose(picture, in_place=True)
            picture.load()
        if picture.mode == "F":
            raise ValueError("its pixels are floating-point numbers")
        if picture.mode.startswith("I"):  # 16 bits a pixel, also where Pillow says 32
            deep = picture if picture.mode == "I" else picture.convert("I")
            return deep.point(lambda value: value / 257 + 0.5).convert("L")  # cuts, and clips
        if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
            light = picture if picture.mode == "RGBA" else picture.convert("RGBA")
            black = Image.new("RGB", picture.size)
            black.paste(light, mask=light)
            return black
        return picture if picture.mode == "L" else picture.convert("RGB")


def _scans(source: Path | bytes) -> int:
    """Return how often a JPEG goes over its pixels, beyond once for every 8 KiB.

    The mark of it is there by chance too, in what cameras append: once in 64 KiB.
    """
    if isinstance(source, bytes):
        content = source
    else:
        with source.open("rb") as file:
            content = file.read(_MOST_READ)
    return content.count(b"\xff\xda") - (len(content) >> 13)


def read_npz(path: Path, split: str) -> Pixels:
    """Read array `split` of a file with uint8 arrays `train` and `test`.

    Returns images [N, H, W] or [N, H, W, 3].

    Raises:
        DataError: the file is missing or damaged, or an array is missing, empty or of another kind.
    """
    if not path.is_file():  # a pipe would be waited for
        problem = f"{path} is no regular file" if path.exists() else f"there is no file {path}"
        raise DataError(problem, hint="npz:FILE takes a NumPy archive")
    try:
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path) as archive:
            return _read_array(path, archive, split)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise almost anything for a damaged file
        raise DataError(f"{path} is damaged or no .npz file: {error}", hint=_HOW_TO_SAVE) from error


def _read_array(path: Path, archive: zipfile.ZipFile, split: str) -> Pixels:
    """Read an array after a look at its header: little must not become much, nor be waited for."""
    names = sorted(archive.namelist())
    if [name for name in names if name in ("test.npy", "train.npy")] != ["test.npy", "train.npy"]:
        shown = [name.removesuffix(".npy") for name in names[:_SHOWN]]
        shown += ["..."] * (len(names) > _SHOWN)
        raise DataError(
            f"{path} holds the arrays {shown}, not train and test",
            hint=_HOW_TO_SAVE,
        )
    member = archive.getinfo(f"{split}.npy")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("it is packed in another way than NumPy does")  # without limits to memory
    packed = min(member.compress_size, path.stat().st_size)
    if member.file_size > max(_SMALL, _DENSEST * packed):
        raise DataError(
            f"array {split!r} in {path} would unpack {packed:,} bytes to {member.file_size:,}",
            hint="if that is right, save it with np.savez(FILE, train=..., test=...): not packed",
        )
    with archive.open(member.filename) as file:
        shape, dtype = _read_header(file)
        colour_or_grey = len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)
        if dtype != np.uint8 or not colour_or_grey or 0 in shape:
            raise DataError(
                f"array {split!r} in {path} is {dtype} {list(shape)}",
                hint="expected uint8 [N, H, W] or [N, H, W, 3]",
            )
        if math.prod(shape) != member.file_size - file.tell():
            raise ValueError(
                f"array {split!r} has other than the {math.prod(shape):,} bytes it states"
            )
        file.seek(0)
        images: Pixels = npy.read_array(file, allow_pickle=False)
        return images


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of the array that begins here."""
    first = npy.read_magic(file) == (1, 0)  # the later ones differ in letters that uint8 has not
    try:
        read = npy.read_array_header_1_0 if first else npy.read_array_header_2_0
        shape, _, dtype = read(file)
    except MemoryError as error:  # Python's parser, of the header
        raise ValueError("the header of an array is damaged") from error
    return shape, dtype
