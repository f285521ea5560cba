"""Subsets and values of a data set: shuffling, --limit, validation split, binarisation."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from npdraw.datasets import Pixels, Source
from npdraw.datasets.division import MIN_TRAINING
from npdraw.datasets.facts import SETS
from npdraw.errors import UsageError

VALIDATION = {"mnist": 5_000, "mnist-static": 10_000}
"""Validation images when all of a data set is used: as is customary, and as published."""

T = TypeVar("T", bound=np.generic)

SORTED = ("omniglot", "folder")
"""Kinds of data sets whose training images are sorted by class."""


def parse_limit(text: str) -> int | float:
    """Return the number of images ("600") or the fraction of them ("0.01", "1.0") in `text`."""
    try:
        limit: int | float = int(text)
    except ValueError:
        try:
            limit = float(text)
        except ValueError:
            raise _bad_limit(text) from None
    _check_limit(limit)
    return limit


def shuffled_if_sorted(source: Source, images: NDArray[T]) -> NDArray[T]:
    """Return training images, or their labels, in the order in which they are kept and split.

    Images that are sorted by class come in a fixed random order, so that the first and the last of
    them represent all; others stay in their order.
    """
    if source.name not in SORTED:
        return images
    return images[np.random.default_rng(0).permutation(len(images))]


def keep(images: Pixels, limit: int | float | None) -> Pixels:
    """Return the first images: all (None), a count (int) or a fraction (float, at least one image).

    Raises:
        UsageError: the count is not in 1..N or the fraction not in (0, 1].
    """
    if limit is None:
        return images
    _check_limit(limit)
    count = limit if isinstance(limit, int) else max(1, round(limit * len(images)))
    if count > len(images):
        raise UsageError(
            f"--limit {count}, but there are {len(images)} images",
            hint="Leave out --limit to use all of them.",
        )
    return images[:count]


def _check_limit(limit: int | float) -> None:
    if not (limit >= 1 if isinstance(limit, int) else 0 < limit <= 1):
        raise _bad_limit(limit)


def _bad_limit(limit: object) -> UsageError:
    return UsageError(
        f"--limit {limit} is neither a count nor a fraction",
        hint="Use a whole number of at least 1, or a fraction above 0.0 and up to 1.0.",
    )


def validation_size(source: Source, kept: int, total: int) -> int:
    """Return how many of the kept training images, the last ones, form the validation split.

    That is 1 %, but at least 20 and at most half; `VALIDATION` if all of such a data set is kept.

    Raises:
        UsageError: fewer than 3 images are kept.
    """
    if kept < MIN_TRAINING:
        hint = f"Use a --limit of at least {MIN_TRAINING}."
        raise UsageError(f"only {kept} training images", hint=hint)
    if source.name in VALIDATION and kept == total == SETS[source.name].train:
        return VALIDATION[source.name]
    return min(max(-(-kept // 100), 20), kept // 2)


def evenly_spaced(total: int, n: int) -> NDArray[np.int64]:
    """Return n evenly spaced indices in 0..total-1, int64 [n].

    Raises:
        UsageError: n is not in 1..total.
    """
    if not 1 <= n <= total:
        raise UsageError(
            f"--images {n}, but there are {total}", hint=f"Use a number from 1 to {total}."
        )
    return np.arange(n, dtype=np.int64) * total // n


def binarize(images: Pixels, seed: int) -> Pixels:
    """Return uint8 0/1 of the same shape, where a pixel is 1 with probability value/255.

    The first n images come out the same however many follow.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    return (generator.integers(0, 255, images.shape, dtype=np.uint8) < images).astype(np.uint8)
