"""Files in the format of MNIST from anybody: `idx:FOLDER`, with labels, packed by gzip or not.

A file has two zero bytes, a type, the number of axes, their lengths and then the values, all of
them big-endian. Sizes are checked before anything is unpacked.
"""

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from npdraw.datasets import arrays
from npdraw.datasets.arrays import Arrays
from npdraw.errors import DataError

_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_MAX_AXES = 4
_NAMED = re.compile("idx[1-9]|ubyte", re.IGNORECASE)
_SPLITS = {"train": re.compile("train", re.IGNORECASE), "test": re.compile("t10k|test", re.I)}
_ALWAYS_UNPACKED = 256 << 20  # bytes of an array that is read however well it is compressed
_MAX_COMPRESSION = 100  # above that size
_MAX_NAMES = 8  # files that an error lists
_EXPECTED = "idx:FOLDER expects files like train-images-idx3-ubyte.gz and t10k-images-idx3-ubyte.gz"


@dataclass(frozen=True)
class _File:
    """An idx file, after its header was read."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def labels(self) -> bool:
        """Whether it holds labels, by its name, else by its axes."""
        name = self.path.name.lower()
        return "label" in name or ("image" not in name and len(self.shape) == 1)

    @property
    def prefix(self) -> str:
        """The name up to the split: `a` of `a-train-images-idx3-ubyte`."""
        match = re.search("train|t10k|test|images|labels|idx", self.path.name, re.IGNORECASE)
        return self.path.name[: match.start()].rstrip("-_. ") if match else ""

    def of(self, split: str) -> bool:
        """Return whether the name says that it belongs to a split."""
        return _SPLITS[split].search(self.path.name) is not None


def read_native(folder: Path, key: str, split: str) -> Arrays:
    """Read a split of the idx files in `folder`, or in `folder/raw`, as torchvision lays them out.

    Files with `train` and `t10k` or `test` in their names are the splits; a single file of images
    is divided like a folder. `key` is the beginning of the names, where a folder has several sets.

    Raises:
        DataError: there are no such files, it is not clear which to read, or one is damaged.
    """
    files = _files(folder, key)
    chosen = _chosen(folder, files)
    file = chosen[-1] if split == "test" else chosen[0]
    images = arrays.checked(_as_images(file), str(file.path))
    notes: tuple[str, ...] = ()
    if file.path.name.lower().startswith("emnist"):
        images = images.swapaxes(1, 2)
        notes = ("EMNIST stores its images transposed: they are turned upright",)
    labels, classes, more = _labels(file, files, len(images))
    result = Arrays(images, labels, notes + more, classes)
    if len(chosen) == 2:
        train, test = (file.shape[0] for file in chosen)
        return result.with_splits(train=train, test=test)
    return arrays.divided(result, split, str(file.path))


def _files(folder: Path, key: str) -> list[_File]:
    """Return the idx files whose names begin with `key`, in order; the packed one of two equal."""
    if not folder.is_dir():
        if folder.exists():
            raise DataError(f"{folder} is not a folder", hint=f"Write idx:{folder.parent}.")
        raise DataError(f"there is no folder {folder}", hint=f"{_EXPECTED}.")
    for place in (folder, folder / "raw"):
        found = {file.path.name.removesuffix(".gz"): file for file in _listed(place)}
        if found:
            break
    else:
        raise DataError(f"there are no idx files in {folder}", hint=f"{_EXPECTED}.")
    files = [file for file in found.values() if file.path.name.startswith(key)]
    if not files:
        raise DataError(
            f"no idx file in {folder} begins with {key!r}",
            hint=f"It holds {_names(found.values())}.",
        )
    return files


def _listed(place: Path) -> Iterator[_File]:
    """Yield the idx files in a folder, each with the packed copy of it, if any, after it."""
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        if path.is_file():  # not a pipe, where reading would wait
            try:
                with _open(path) as file:
                    yield _File(path, *_read_header(file))
            except (OSError, EOFError, ValueError, zlib.error) as error:
                if _NAMED.search(path.name):
                    raise _damaged(path, error) from error


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type; `ValueError` if this is not the header of an idx file."""
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES:
        raise ValueError("it does not begin like an idx file")
    if not 1 <= start[3] <= _MAX_AXES:
        raise ValueError(f"it states {start[3]} axes")
    lengths = file.read(4 * start[3])
    if len(lengths) < 4 * start[3]:
        raise ValueError("it ends within its header")
    shape = tuple(int(length) for length in np.frombuffer(lengths, ">u4"))
    return shape, np.dtype(_TYPES[start[2]])


def _read(file: _File) -> NDArray[Any]:
    """Read the array of a file, whose size must be the one that its header states."""
    size = math.prod(file.shape) * file.dtype.itemsize
    packed = file.path.stat().st_size
    try:
        with _open(file.path) as opened:
            _read_header(opened)
            if isinstance(opened, gzip.GzipFile):
                if size > max(_ALWAYS_UNPACKED, _MAX_COMPRESSION * packed):
                    raise DataError(
                        f"{file.path} would unpack {packed:,} bytes to {size:,}",
                        hint="If that is right, unpack it.",
                    )
            elif size != packed - opened.tell():
                raise ValueError(f"it does not have the {size:,} bytes that it states")
            content = opened.read(size)
            if len(content) < size or opened.read(1):  # reads up to the checksum of gzip
                raise ValueError(f"it does not have the {size:,} bytes that it states")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise _damaged(file.path, error) from error
    native = np.frombuffer(content, file.dtype).reshape(file.shape)
    return native.astype(file.dtype.newbyteorder("="), copy=False)


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is damaged or not an idx file: {error}", hint="Copy it again.")


def _as_images(file: _File) -> NDArray[Any]:
    """Read a file of images; rows [N, side * side] become square."""
    shape = file.shape
    if len(shape) == 2 and math.isqrt(shape[1]) ** 2 == shape[1]:
        shape = (shape[0], math.isqrt(shape[1]), math.isqrt(shape[1]))
    if hint := arrays.misfit(shape, file.dtype):
        raise DataError(f"{file.path} is {file.dtype.name} {list(file.shape)}", hint=hint)
    return _read(file).reshape(shape)


def _chosen(folder: Path, files: list[_File]) -> tuple[_File, ...]:
    """Return the file of all images, or that of training and that of test images."""
    images = [file for file in files if not file.labels]
    pair = [[file for file in images if file.of(split)] for split in ("train", "test")]
    if len(images) == 1:
        return (images[0],)
    if len(images) == 2 and len(pair[0]) == len(pair[1]) == 1:
        return pair[0][0], pair[1][0]
    if not images:
        raise DataError(
            f"there are no idx files of images in {folder}", hint=f"It holds {_names(files)}."
        )
    prefixes = sorted({file.prefix for file in images})
    how = f" Write idx:FOLDER#{prefixes[-1]} for one of the sets." if len(prefixes) > 1 else ""
    raise DataError(
        f"it is not clear which of the {len(images)} files of images in {folder} to read",
        hint=f"It holds {_names(images)}.{how or f' {_EXPECTED}.'}",
    )


def _names(files: Any) -> str:
    listed = [f"{file.path.name} {file.dtype.name} {list(file.shape)}" for file in files]
    return ", ".join(listed[:_MAX_NAMES] + ["..."] * (len(listed) > _MAX_NAMES))


def _labels(
    images: _File, files: list[_File], count: int
) -> tuple[NDArray[np.int16] | None, tuple[str, ...], tuple[str, ...]]:
    """Read the labels that belong to a file of images: labels or None, their names, and notes.

    Raises:
        DataError: the file is damaged, or has another number of labels than there are images.
    """
    splits = {split: images.of(split) for split in _SPLITS}
    able = [f for f in files if f.labels and {split: f.of(split) for split in _SPLITS} == splits]
    if len(able) != 1:
        return None, (), ()
    if able[0].shape[0] != count:
        raise DataError(
            f"{able[0].path} has {able[0].shape[0]:,} labels for the {count:,} images of "
            f"{images.path.name}",
            hint="One of the two files is of another set.",
        )
    read = arrays.checked_labels(_read(able[0]), count)
    if read is None:
        described = f"{able[0].dtype.name} {list(able[0].shape)}"
        return None, (), (f"{able[0].path} is not used: {described} are not classes",)
    return *read, ()
