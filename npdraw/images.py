"""Pictures of any size, kind and file format as square uint8 arrays; only `datasets` uses it."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from npdraw.errors import DataError

Pixels = NDArray[np.uint8]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
"""Files of a folder that are taken for pictures, whatever the case of the letters."""

_MODES = {1: "L", 3: "RGB"}
_FEWEST = 4
_NAMED = 3


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
    found = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]
    paths = sorted(
        (p for p in found if p.is_file()), key=lambda p: p.relative_to(folder).as_posix()
    )
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


def _read_picture(path: Path) -> Image.Image:
    """Return the first frame upright, with 8 bits a channel and without transparency."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            picture.load()
        if picture.mode == "F":
            raise ValueError("its pixels are floating-point numbers")
        if picture.mode.startswith("I"):  # 16 bits a pixel, also where Pillow says 32
            deep = np.asarray(picture).astype(np.int64).clip(0, 65535)
            return Image.fromarray(((deep + 128) // 257).astype(np.uint8))
        if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
            black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
            return Image.alpha_composite(black, picture.convert("RGBA")).convert("RGB")
        return picture if picture.mode == "L" else picture.convert("RGB")


def read_npz(path: Path, split: str) -> Pixels:
    """Read array `split` of a file with uint8 arrays `train` and `test`.

    Returns images [N, H, W] or [N, H, W, 3].

    Raises:
        DataError: the file is missing or damaged, or an array is missing, empty or of another kind.
    """
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            arrays = sorted(archive.files)
            images = np.asarray(archive[split]) if {"train", "test"} <= set(arrays) else None
    except FileNotFoundError as error:
        raise DataError(
            f"there is no file {path}", hint="npz:FILE takes a NumPy archive"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise almost anything for a damaged file
        raise DataError(f"{path} is damaged or no .npz file: {error}") from error
    if images is None:
        raise DataError(
            f"{path} holds the arrays {arrays}, not train and test",
            hint="save it with np.savez_compressed(FILE, train=..., test=...)",
        )
    colour_or_grey = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    if images.dtype != np.uint8 or not colour_or_grey or 0 in images.shape:
        raise DataError(
            f"array {split!r} in {path} is {images.dtype} {list(images.shape)}",
            hint="expected uint8 [N, H, W] or [N, H, W, 3]",
        )
    return images
