"""Images that are given from Python: saved as a file, which is then read like any other."""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from npdraw.datasets import Pixels
from npdraw.datasets.arrays import EXPECTED, SHAPES, checked, checked_labels, misfit
from npdraw.errors import DataError, UsageError
from npdraw.files import write_atomic
from npdraw.runtime.progress import Progress

_THE_IMAGES = "the array of images"
_ALLOWED = f"{SHAPES}, of uint8, bool, or floats from 0 to 1."


def pixels_of(images: object, progress: Progress) -> Pixels:
    """Return an array or tensor of images as uint8 [N, H, W] or [N, H, W, 3].

    Axes may be [N, H, W], or with 1 or 3 channels last or first. Floats in [0, 1] are rounded to
    256 levels, and False and True become 0 and 255; a note says so.

    Raises:
        DataError: it is not an array, or another shape, type or range of values.
    """
    if isinstance(images, Tensor):
        values = images.detach().cpu()
        array = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    elif isinstance(images, np.ndarray):
        array = images
    else:
        raise DataError(
            f"images of type {type(images).__name__} are neither an array nor a path nor a source",
            hint="Give an array such as np.stack(images), a pathlib.Path, or 'folder:PATH'.",
        )
    if hint := misfit(array.shape, array.dtype):
        raise DataError(
            f"{_THE_IMAGES} is {array.dtype} {list(array.shape)}",
            hint=_ALLOWED if hint == EXPECTED else hint,
        )
    array = checked(array, _THE_IMAGES)
    if array.dtype == np.bool_:
        progress.note("images of bool: False becomes 0, True 255")
        array = array.astype(np.uint8) * 255
    elif array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1:
        progress.note("images of floats from 0 to 1: rounded to 256 levels")
        array = (array.astype(np.float32) * 255 + 0.5).astype(np.uint8)
    elif array.dtype != np.uint8:
        low, high = array.min(), array.max()
        raise DataError(
            f"{_THE_IMAGES} is {array.dtype} with values from {low:g} to {high:g}", hint=_ALLOWED
        )
    return np.ascontiguousarray(array)


def labels_of(labels: object, images: int) -> NDArray[Any]:
    """Return the labels of `images` images as an array [N] of int64 or of text.

    They may be whole numbers or names, [N] or [N, 1], or one-hot [N, classes].

    Raises:
        DataError: they are neither, or not one for each image, or names that are too many or long.
    """
    given = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else labels
    try:
        array = np.asarray(given)
    except ValueError:  # a list of lists of several lengths
        array = np.asarray(None)
    if array.dtype.kind in "US" and not isinstance(given, np.ndarray):
        items = list(cast(Iterable[object], given))
        if not all(isinstance(item, str) for item in items):  # numbers among them became text
            array = np.array(items, object)
    if array.dtype.kind == "O" and all(isinstance(item, str) for item in array.flat):
        array = array.astype(np.str_)  # as pandas has text
    read = None if array.dtype.kind == "O" else checked_labels(array, images)
    if read is None:
        raise DataError(
            f"labels for {images:,} images are {array.dtype} {list(array.shape)}",
            hint="Give one name or whole number from 0 for each image, in the same order; names of "
            "two images or more on average.",
        )
    numbers, names = read
    return np.array(names)[numbers] if array.dtype.kind in "US" else numbers.astype(np.int64)


@contextmanager
def saved(
    images: Pixels, labels: NDArray[Any] | None, path: Path, artifact: Path, *, force: bool
) -> Iterator[str]:
    """Save images as a file, unless it holds them already, and yield their source.

    It is a `.npy` file, or with `labels` a `.npz` file of both. If the block fails before it has
    made `artifact` from the images, which may exist from others, a new file is removed again, and
    the one that it replaced is put back.

    Raises:
        UsageError: the file exists with other images or labels, and `force` is not set.
    """
    new = not _holds(path, images, labels)
    if new and path.exists() and not force:
        raise UsageError(
            f"{path} holds other images" + ("" if labels is None else " or labels"),
            hint="Use --force to start again, or --out to write elsewhere.",
        )
    replaced, before = path.with_name(f"{path.name}.replaced"), _written(artifact)
    try:
        if new and path.exists():
            path.replace(replaced)
        if new and labels is None:
            header = io.BytesIO()
            npy.write_array_header_1_0(header, npy.header_data_from_array_1_0(images))
            write_atomic(path, [header.getvalue(), images.data.cast("B")])
        elif new and labels is not None:
            archive = io.BytesIO()
            np.savez(archive, images=images, labels=labels)
            write_atomic(path, [archive.getbuffer()])
        yield f"npz:{path}"
    except BaseException:
        if new and _written(artifact) == before:
            path.unlink(missing_ok=True)
            if replaced.exists():
                replaced.replace(path)
        raise
    finally:
        replaced.unlink(missing_ok=True)


def _written(path: Path) -> int | None:
    """Return when a file was written, None if it does not exist."""
    return path.stat().st_mtime_ns if path.exists() else None


def _holds(path: Path, images: Pixels, labels: NDArray[Any] | None) -> bool:
    """Return whether a file holds these images and labels."""
    if not path.is_file():
        return False
    try:
        if labels is None:
            return _equal(np.load(path, mmap_mode="r", allow_pickle=False), images)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            return _equal(held["images"], images) and _equal(held["labels"], labels)
    except Exception:  # a damaged archive raises almost anything
        return False


def _equal(held: object, given: NDArray[Any]) -> bool:
    same = isinstance(held, np.ndarray) and held.dtype == given.dtype
    return same and np.array_equal(cast(NDArray[Any], held), given)
