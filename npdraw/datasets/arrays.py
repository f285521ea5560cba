"""Arrays of images as people save them: which shapes and types are taken, and how they are split.

`npz` and `idx` read the files; both return `Arrays`, with the values as they were saved.
"""

import math
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from npdraw.datasets import division
from npdraw.datasets.class_names import printable, why_not_classes
from npdraw.errors import DataError

SHAPES = "Images are [N, H, W], [N, H, W, 1], [N, 1, H, W], [N, H, W, 3] or [N, 3, H, W]"
EXPECTED = f"{SHAPES}, of whole numbers, floats or bool."

_KINDS = "buif"  # NumPy's letters of bool, unsigned, signed and floating-point numbers
_LARGEST_ITEM = 8  # bytes
_CHANNELS = (1, 3)
_NARROW = 4  # pixels; more often the channels of one picture than its width
_SMALLEST_SIDE = 8  # pixels; fewer are more likely a number of images
_MOST_LABELS = 2**15  # labels are kept as int16
_CHUNK = 1 << 20  # values that are checked at a time


class Arrays(NamedTuple):
    """One split of a file of arrays."""

    images: NDArray[Any]
    """[N, H, W] or [N, H, W, 3] of bool, whole numbers or finite floats, as they were saved."""
    labels: NDArray[np.int16] | None
    """The class of each image, int16 [N], or None if there are no usable labels."""
    notes: tuple[str, ...]
    """What to show to the user."""
    classes: tuple[str, ...] = ()
    """The name of each label; that of a number is its digits."""
    total: int = 0
    """Images of both splits."""
    splits: tuple[tuple[str, int], ...] = ()
    """The splits and their images, if each has an array of its own."""

    def with_splits(self, *, train: int, test: int) -> "Arrays":
        """Return it with the numbers of images in its two arrays."""
        return self._replace(total=train + test, splits=(("test", test), ("train", train)))


def misfit(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    """Return why an array does not hold images, as a hint; empty if it does.

    A shape that is more likely to be something else does not: [28, 28, N], or [N, 28, 3].
    """
    if dtype.kind == "O":
        return "Images of several sizes do not fit in one array: save them as pictures in a folder."
    if dtype.kind not in _KINDS or dtype.itemsize > _LARGEST_ITEM or 0 in shape:
        return EXPECTED
    if len(shape) == 2:
        return _misfit_of_rows(*shape)
    if len(shape) == 3:
        return _misfit_of_grey(*shape)
    return _misfit_of_channels(*shape) if len(shape) == 4 else EXPECTED


def _misfit_of_rows(count: int, values: int) -> str:
    side = math.isqrt(values)
    if side <= _NARROW or side**2 != values or count == values:
        return EXPECTED
    return f"If each row is an image, reshape: array.reshape(-1, {side}, {side})."


def _misfit_of_grey(count: int, height: int, width: int) -> str:
    if min(height, width) <= _NARROW < max(height, width):
        return (
            f"{min(height, width)} looks like a number of channels: they need their own axis, "
            "[N, H, W, 3] for colour. If the images are that narrow, add one: array[..., None]."
        )
    if count == height != width and count >= _SMALLEST_SIDE:
        return (
            "This looks like [H, W, N]: then use np.moveaxis(array, -1, 0). If it is [N, H, W], "
            "use array[..., None]."
        )
    return ""


def _misfit_of_channels(_count: int, first: int, middle: int, last: int) -> str:
    if first in _CHANNELS and last in _CHANNELS:
        return "It is not clear which axis has the channels. Grey images may be [N, H, W]."
    if first in _CHANNELS or last in _CHANNELS:
        return ""
    if middle in _CHANNELS:
        return "This looks like [H, W, C, N]: then use np.moveaxis(array, -1, 0)."
    return f"Leave out the transparency: array[..., :{last - 1}]." if last in (2, 4) else EXPECTED


def checked(array: NDArray[Any], what: str) -> NDArray[Any]:
    """Return an array that `misfit` accepts as images [N, H, W] or [N, H, W, 3].

    Raises:
        DataError: it has NaN or infinite values; `what` names it.
    """
    if array.dtype.kind == "f":
        rows = max(1, _CHUNK // max(1, array[0].size))
        nan = infinite = 0
        for start in range(0, len(array), rows):
            nan += int(np.count_nonzero(np.isnan(array[start : start + rows])))
            infinite += int(np.count_nonzero(np.isinf(array[start : start + rows])))
        if nan or infinite:
            counts = [f"{nan:,} NaN"] * (nan > 0) + [f"{infinite:,} infinite"] * (infinite > 0)
            raise DataError(
                f"{what} has {' and '.join(counts)} of {array.size:,} values",
                hint="Replace them, or leave out the images that have them.",
            )
    if array.ndim == 4 and array.shape[3] not in _CHANNELS:
        array = np.moveaxis(array, 1, 3)
    return array[..., 0] if array.ndim == 4 and array.shape[3] == 1 else array


def checked_labels(
    labels: NDArray[Any], images: int
) -> tuple[NDArray[np.int16], tuple[str, ...]] | None:
    """Return labels [N], [N, 1], or one-hot [N, classes], as int16 [N], and the classes' names.

    Names, arrays of text, are numbered in their order as text. None if labels are of another shape,
    neither names nor whole numbers from 0 to 32,767, or names that folders of classes could not
    have either (`class_names.why_not_classes`).
    """
    if labels.dtype.kind in "US" and labels.shape in ((images,), (images, 1)):
        return _named(labels.reshape(-1))
    numbers = _numbers(labels, images)
    if numbers is None:
        return None
    return numbers, tuple(str(label) for label in range(int(numbers.max()) + 1))


def _named(names: NDArray[Any]) -> tuple[NDArray[np.int16], tuple[str, ...]] | None:
    try:
        text = np.char.decode(names, "utf-8") if names.dtype.kind == "S" else names
    except UnicodeDecodeError:
        return None
    classes, numbers, counts = np.unique(text, return_inverse=True, return_counts=True)
    found = tuple(printable(name) for name in classes.tolist())
    if not all(name.strip() for name in found):
        return None
    if why_not_classes(Counter(dict(zip(found, counts.tolist(), strict=True)))):
        return None
    return numbers.astype(np.int16), found


def _numbers(labels: NDArray[Any], images: int) -> NDArray[np.int16] | None:
    if labels.dtype.kind not in _KINDS or labels.ndim not in (1, 2) or len(labels) != images:
        return None
    if labels.ndim == 2 and labels.shape[1] > 1:
        one_hot = np.all((labels == 0) | (labels == 1)) and np.all(labels.sum(axis=1) == 1)
        return labels.argmax(axis=1).astype(np.int16) if one_hot else None
    flat = labels.reshape(-1)
    if len(flat) != images or not np.all((flat >= 0) & (flat < _MOST_LABELS)):  # NaN is neither
        return None
    whole = flat.astype(np.int16)
    return whole if np.array_equal(whole, flat) else None


def divided(whole: Arrays, split: str, what: str) -> Arrays:
    """Return a split of images that come without one, by the rule of `division`.

    Training images come in a fixed random order, because they may be sorted by class.

    Raises:
        DataError: there are fewer than 4 different images; `what` names them.
    """
    images, labels, notes = whole.images, whole.labels, whole.notes
    if len(images) < division.MIN_IMAGES:
        raise DataError(
            f"{what} has {len(images)} images; at least {division.MIN_IMAGES} are needed",
            hint="Add images, or name another array or folder.",
        )
    number = division.numbered([division.fingerprint(row.tobytes()) for row in images])
    different = int(number.max()) + 1
    if different == 1:
        raise DataError(
            f"all {len(images)} images of {what} are equal", hint="Check how it was saved."
        )
    if different < division.MIN_IMAGES:
        raise DataError(
            f"the {len(images):,} images of {what} are copies of {different}",
            hint=division.NEEDED,
        )
    test = division.is_test(number)
    rows = np.flatnonzero(test if split == "test" else ~test)
    if split == "train":
        rows = np.random.default_rng(0).permutation(rows)
    notes += (f"{what}: {division.rule(number)}", *division.copies(number))
    labels = None if labels is None else labels[rows]
    return Arrays(images[rows], labels, notes, whole.classes, total=len(images))
