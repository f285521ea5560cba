"""Folders of pictures as square uint8 images: `folder:PATH`, and single pictures, as uploads."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from npdraw.datasets import division
from npdraw.datasets.decode import FORMATS, UnusableError, decode, is_picture
from npdraw.datasets.listing import ARCHIVES, UNREAD, Listing, listed
from npdraw.datasets.prepare import DEEP, Pixels, prepared
from npdraw.errors import DataError
from npdraw.reading import Reading

UNRECORDED = Reading(white=float(DEEP[-1]))
"""The reading of artifacts from before readings were stored."""

_MAX_NAMES = 3  # skipped files that a note lists
_EXPECTED = "folder:PATH expects a folder of pictures."


class Pictures(NamedTuple):
    """One split of a folder: images [N, C, H, W], and what is known about them."""

    images: Pixels
    notes: tuple[str, ...]
    labels: NDArray[np.int16] | None
    """The class of each image, int16 [N], or None if some are in none."""
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

    They are in the order of their relative paths. Folders with names such as train and test are the
    splits. Without both of them, every 10th different picture that can be read (the last one if
    there are fewer than 10) belongs to the test split, with its exact copies, and the rest to the
    training split. Files that cannot be read are skipped and named in a note.

    Raises:
        DataError: `folder` does not exist, or has fewer than 4 different readable pictures, or
            fewer than 3 for training; or `strict`, and a picture cannot be read.
    """
    listing = list_pictures(folder)
    images, rows, skipped = [], [], []
    contents = []
    for row, path in enumerate(listing.paths):
        try:
            picture = decode(path)
            images.append(prepared(picture, reading, image_size, channels))
        except Exception as error:  # Pillow's readers raise almost anything for a damaged file
            if strict:
                raise DataError(
                    f"cannot read {path}: {error}", hint="Without --strict it is skipped."
                ) from error
            name = repr(path.relative_to(folder).as_posix())
            skipped.append(f"{name}: {error}" if isinstance(error, UnusableError) else name)
            continue
        rows.append(row)
        contents.append(_content(picture))
    splits = np.array([listing.splits[row] for row in rows] if listing.splits else [])
    training = int((splits == "train").sum()) if listing.splits else len(rows)
    check_number(folder, listing, readable=len(rows), training=training, skipped=len(skipped))

    number = division.numbered(contents)
    _check_difference(folder, number)
    test = splits == "test" if listing.splits else division.is_test(number)
    chosen = test if split == "test" else ~test
    names = [listing.classes[row] for row in rows] if listing.classes else []
    labels, classes = _labels(names, listing, chosen)
    notes = [*_skipped(len(listing.paths), skipped), *_division(listing, number, test)]
    notes += _conflicts(number, names)
    if unknown := sum(not name for name in names):
        notes.append(f"{unknown:,} test pictures are in no class")
    return Pictures(np.stack(images)[chosen], tuple(notes), labels, classes)


def list_pictures(folder: Path) -> Listing:
    """List the pictures of `folder:PATH`; `DataError` if there is no such folder."""
    if folder.is_dir():
        return listed(folder)
    if folder.is_file():
        raise DataError(f"{folder} is a file, not a folder", hint=_what_to_write(folder))
    raise DataError(f"there is no folder {folder}", hint=_EXPECTED)


def _what_to_write(file: Path) -> str:
    """Return a hint for a file that was named in place of a folder."""
    suffix = file.suffix.lower()
    if suffix in (".npz", ".npy"):
        return f"Write npz:{file}."
    if "ubyte" in file.name:
        return f"Write idx:{file.parent}."
    if suffix in ARCHIVES:
        return "Unpack it, and name the folder with the pictures."
    if suffix in UNREAD or is_picture(file):
        return f"Write folder:{file.parent} for all pictures next to it."
    return _EXPECTED


def check_number(
    folder: Path, listing: Listing, *, readable: int, training: int, skipped: int
) -> None:
    """Check that a folder has enough pictures that can be read.

    Raises:
        DataError: there are fewer than 4, or fewer than 3 in the training split.
    """
    if readable < division.MIN_IMAGES:
        count = f"only {readable} picture{'s' * (readable > 1)}" if readable else "no picture"
        not_read = f", and {skipped} cannot be read" if skipped else ""
        raise DataError(
            f"there {'are' if readable > 1 else 'is'} {count} in {folder}{not_read}; "
            f"at least {division.MIN_IMAGES} are needed",
            hint=" ".join(_what_it_holds(listing)) if listing.left_out else division.NEEDED,
        )
    if training < division.MIN_TRAINING:
        raise DataError(
            f"only {training} readable training images in {folder}", hint=division.NEEDED
        )


def _what_it_holds(listing: Listing) -> Iterator[str]:
    """Yield sentences about a folder with few pictures that can be read."""
    searched = f"It and all folders below are searched for {', '.join(FORMATS)} files"
    others = ", ".join(f"{count:,} {ending}" for ending, count in listing.left_out[:_MAX_NAMES])
    yield f"{searched}; it also holds other files: {others}."
    endings = {ending for ending, _ in listing.left_out}
    if unread := sorted(endings & UNREAD):
        yield f"Convert {' and '.join(unread)} files to PNG or JPEG."
    if packed := sorted(endings & ARCHIVES):
        yield f"If the pictures are in a {packed[0]} file, unpack it."
    if endings & {".npz", ".npy"}:
        yield "Write npz:FILE for arrays."


def _content(picture: Image.Image) -> bytes:
    """Return a digest of the pixels of a picture."""
    return division.fingerprint(f"{picture.mode} {picture.size}".encode() + picture.tobytes())


def _check_difference(folder: Path, number: NDArray[np.int64]) -> None:
    different = int(number.max()) + 1
    if different == 1:
        raise DataError(
            f"all {len(number):,} pictures in {folder} are equal",
            hint="A model needs pictures that differ.",
        )
    if different < division.MIN_IMAGES:
        raise DataError(
            f"the {len(number):,} pictures in {folder} are copies of {different}",
            hint=division.NEEDED,
        )


def _skipped(files: int, skipped: list[str]) -> Iterator[str]:
    if skipped:
        names = ", ".join(skipped[:_MAX_NAMES] + ["..."] * (len(skipped) > _MAX_NAMES))
        yield f"skipped {len(skipped)} of {files} files that cannot be read: {names}"


def _division(
    listing: Listing, number: NDArray[np.int64], test: NDArray[np.bool_]
) -> Iterator[str]:
    """Yield notes about splits, exact copies and folders that are not classes."""
    if not listing.splits:
        yield division.rule(number, "picture")
        yield from division.copies(number, "picture")
    elif copies := len(number) - int(number.max()) - 1:
        both = len(np.intersect1d(number[test], number[~test]))
        yield (
            (f"{copies:,} exact copies of pictures" if copies > 1 else "1 exact copy of a picture")
            + (f"; {both:,} pictures are in both train and test" if both > 1 else "")
            + ("; 1 picture is in both train and test" if both == 1 else "")
        )
    if listing.no_classes:
        yield listing.no_classes


def _conflicts(number: NDArray[np.int64], names: list[str]) -> Iterator[str]:
    """Yield how many different pictures have copies in several classes."""
    several: dict[int, set[str]] = {}
    for content, name in zip(number.tolist(), names, strict=False):  # there may be no classes
        several.setdefault(content, set()).add(name)
    if count := sum(len(found - {""}) > 1 for found in several.values()):
        what = "1 picture has" if count == 1 else f"{count:,} pictures have"
        yield f"{what} exact copies in more than one class"


def _labels(
    names: list[str], listing: Listing, chosen: NDArray[np.bool_]
) -> tuple[NDArray[np.int16] | None, tuple[str, ...]]:
    """Return the classes of the chosen pictures, if all are in one, and the names of all classes.

    The names are the same for both splits.
    """
    classes = tuple(sorted(set(listing.classes) - {""}))
    here = (
        [name for name, is_chosen in zip(names, chosen, strict=True) if is_chosen] if names else []
    )
    if not here or "" in here:
        return None, classes
    order = {name: n for n, name in enumerate(classes)}
    return np.array([order[name] for name in here], np.int16), classes


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
