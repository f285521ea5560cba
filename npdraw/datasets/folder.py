"""Folders of pictures as square uint8 images: `folder:PATH`, and single pictures, as uploads."""

from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from npdraw.datasets.decode import FORMATS, decode
from npdraw.datasets.listing import Listing, listed
from npdraw.datasets.prepare import DEEP, Pixels, prepared
from npdraw.errors import DataError
from npdraw.reading import Reading

UNRECORDED = Reading(white=float(DEEP[-1]))
"""The reading of artifacts from before readings were stored."""

_MIN_PICTURES = 4
_MAX_NAMES = 3  # skipped files that a note lists


class Pictures(NamedTuple):
    """One split of a folder: images [N, C, H, W], and what is known about them."""

    images: Pixels
    notes: tuple[str, ...]
    labels: NDArray[np.int16] | None
    """The class of each image, int16 [N], or None if the folder has no classes."""
    classes: tuple[str, ...]


def read_folder(
    folder: Path,
    split: str,
    *,
    image_size: int,
    channels: int,
    strict: bool,
    reading: Reading = UNRECORDED,
) -> Pictures:
    """Read the pictures in `folder` and below as images [N, channels, image_size, image_size].

    They are in the order of their relative paths. Folders called train and test are the splits.
    Without them, every 10th different picture that can be read (the last one if there are fewer
    than 10) belongs to the test split, with its exact copies, and the rest to the training split.
    Files that cannot be read are skipped and named in a note.

    Raises:
        DataError: `folder` does not exist, or has fewer than 4 readable pictures, or they are all
            equal; or `strict`, and a picture cannot be read.
    """
    listing = list_pictures(folder)
    images, rows, skipped = [], [], []
    first: dict[bytes, int] = {}
    original = []
    for row, path in enumerate(listing.paths):
        try:
            picture = decode(path)
            images.append(prepared(picture, reading, image_size, channels))
        except Exception as error:  # Pillow's readers raise almost anything for a damaged file
            if strict:
                raise DataError(
                    f"cannot read {path}: {error}", hint="Without --strict it is skipped."
                ) from error
            skipped.append(repr(path.relative_to(folder).as_posix()))
            continue
        rows.append(row)
        original.append(first.setdefault(_content(picture), len(first)))
    if len(images) < _MIN_PICTURES:
        raise too_few(folder, len(images), len(skipped), listing)
    if len(first) == 1:
        raise DataError(
            f"all {len(images):,} pictures in {folder} are equal",
            hint="A model needs pictures that differ.",
        )
    test = _test_rows(listing, rows, np.array(original))
    chosen = test if split == "test" else ~test
    labels, classes = _labels(listing, rows)
    return Pictures(
        np.stack(images)[chosen],
        _notes(len(listing.paths), skipped) + _copies(listing, rows, original),
        None if labels is None else labels[chosen],
        classes,
    )


def list_pictures(folder: Path) -> Listing:
    """List the pictures of `folder:PATH`; `DataError` if there is no such folder."""
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {folder}", hint="folder:PATH expects a folder of images."
        )
    return listed(folder)


def too_few(folder: Path, readable: int, skipped: int, listing: Listing) -> DataError:
    """Return the error for a folder with fewer than 4 pictures."""
    others = ", ".join(f"{count:,} {ending}" for ending, count in listing.left_out[:_MAX_NAMES])
    return DataError(
        f"{readable} readable images in {folder} ({skipped} not readable); "
        f"at least {_MIN_PICTURES} are needed",
        hint=f"It and all folders below are searched for {', '.join(FORMATS)} files"
        + (f"; it also holds other files: {others}." if others else "."),
    )


def _content(picture: Image.Image) -> bytes:
    """Return a digest of the pixels of a picture."""
    head = f"{picture.mode} {picture.size}".encode()
    return blake2b(head + picture.tobytes(), digest_size=16).digest()


def _test_rows(listing: Listing, rows: list[int], original: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of the readable pictures are test images."""
    if listing.splits:
        return np.array([listing.splits[row] == "test" for row in rows])
    different = int(original.max()) + 1
    test: NDArray[np.bool_] = original % 10 == 9 if different >= 10 else original == different - 1
    return test


def _notes(files: int, skipped: list[str]) -> tuple[str, ...]:
    if not skipped:
        return ()
    names = ", ".join(skipped[:_MAX_NAMES] + ["..."] * (len(skipped) > _MAX_NAMES))
    return (f"skipped {len(skipped)} of {files} files that cannot be read: {names}",)


def _copies(listing: Listing, rows: list[int], original: list[int]) -> tuple[str, ...]:
    """Return a note about exact copies."""
    copies = len(original) - len(set(original))
    if not copies:
        return ()
    if not listing.splits:
        return (f"{copies:,} exact copies of pictures are in the same split as the first",)
    split = {"train": set[int](), "test": set[int]()}
    for row, number in zip(rows, original, strict=True):
        split[listing.splits[row]].add(number)
    both = len(split["train"] & split["test"])
    return (
        f"{copies:,} exact copies of pictures"
        + (f"; {both:,} pictures are in both train and test" if both else ""),
    )


def _labels(listing: Listing, rows: list[int]) -> tuple[NDArray[np.int16] | None, tuple[str, ...]]:
    if not listing.classes:
        return None, ()
    classes = sorted(set(listing.classes))
    number = {name: n for n, name in enumerate(classes)}
    labels = [number[listing.classes[row]] for row in rows]
    return np.array(labels, np.int16), tuple(classes)


def read_picture(
    source: Path | bytes, image_size: int, channels: int, reading: Reading = UNRECORDED
) -> Pixels:
    """Read one picture from a file or from its bytes: uint8 [C, image_size, image_size].

    Raises:
        DataError: the file does not exist, or it cannot be read.
    """
    name = "the picture" if isinstance(source, bytes) else str(source)
    try:
        return prepared(decode(source), reading, image_size, channels)
    except FileNotFoundError as error:
        raise DataError(f"there is no picture {name}") from error
    except MemoryError:
        raise
    except UnidentifiedImageError as error:  # its text names the object that held the bytes
        formats = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise DataError(f"cannot read {name}: it is not a {formats} file") from error
    except Exception as error:  # Pillow's readers raise almost anything for a damaged file
        raise DataError(f"cannot read {name}: {error}") from error
