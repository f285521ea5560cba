"""Subsets and values of a data set: limits, validation split, even spacing, binarisation."""

import math

import numpy as np
import pytest

from npdraw.datasets import Source
from npdraw.datasets.embedded import glyphs
from npdraw.datasets.splits import (
    binarize,
    evenly_spaced,
    keep,
    parse_limit,
    shuffled_if_sorted,
    validation_size,
)
from npdraw.errors import UsageError

GLYPHS, MNIST = Source("glyphs"), Source("mnist")


@pytest.mark.parametrize(
    ("text", "limit"),
    [("600", 600), ("1", 1), ("0.01", 0.01), ("1.0", 1.0), ("1e-2", 0.01)],
)
def test_a_limit_is_a_count_or_a_fraction(text, limit):
    parsed = parse_limit(text)
    assert parsed == limit and type(parsed) is type(limit)


@pytest.mark.parametrize("text", ["0", "-3", "0.0", "1.5", "nan", "inf", "-0.5", "all", ""])
def test_other_limits_are_refused(text):
    with pytest.raises(UsageError, match="neither a count nor a fraction"):
        parse_limit(text)


def test_keep_takes_the_first_images():
    images = np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1)
    cases = [(None, 100), (7, 7), (100, 100), (1.0, 100), (0.29, 29), (0.001, 1), (1, 1)]
    for limit, count in cases:
        assert keep(images, limit).ravel().tolist() == list(range(count))


def test_images_sorted_by_class_are_shuffled_before_some_are_kept():
    images = np.arange(200, dtype=np.uint8).reshape(-1, 1, 1, 1)
    for name in ("mnist", "glyphs", "npz"):
        assert np.array_equal(shuffled_if_sorted(Source(name), images), images)
    for name in ("omniglot", "folder"):
        shuffled = shuffled_if_sorted(Source(name), images).ravel()
        assert np.array_equal(np.sort(shuffled), images.ravel())
        assert np.array_equal(shuffled_if_sorted(Source(name), images).ravel(), shuffled)
        for part in (shuffled[:20], shuffled[-20:]):  # a tenth, from everywhere
            assert 60 < part.mean() < 140 and np.ptp(part) > 150
        # Models and their digests depend on this order: NumPy may not change it.
        assert shuffled[:8].tolist() == [105, 6, 168, 90, 65, 159, 71, 165]


@pytest.mark.parametrize("limit", [101, 0, -1, 0.0, 1.01, math.nan])
def test_keep_refuses_too_many_and_none(limit):
    with pytest.raises(UsageError):
        keep(np.zeros((100, 1, 1, 1), np.uint8), limit)


@pytest.mark.parametrize(
    ("source", "kept", "total", "size"),
    [
        (MNIST, 60_000, 60_000, 5_000),
        (MNIST, 59_999, 60_000, 600),
        (MNIST, 600, 60_000, 20),
        (MNIST, 1_000, 1_000, 20),
        (GLYPHS, 60_000, 60_000, 600),
        (GLYPHS, 20_000, 20_000, 200),
        (GLYPHS, 2_001, 20_000, 21),
        (GLYPHS, 30, 20_000, 15),
        (GLYPHS, 5, 20_000, 2),
        (GLYPHS, 4, 4, 2),
    ],
)
def test_validation_is_a_hundredth_but_neither_tiny_nor_the_majority(source, kept, total, size):
    assert validation_size(source, kept, total) == size


def test_validation_needs_three_images():
    assert validation_size(GLYPHS, 3, 20_000) == 1
    with pytest.raises(UsageError, match="only 2 training images") as raised:
        validation_size(GLYPHS, 2, 20_000)
    assert raised.value.hint == "Use a --limit of at least 3."


def test_evenly_spaced_covers_the_split():
    assert evenly_spaced(10, 10).tolist() == list(range(10))
    assert evenly_spaced(10, 4).tolist() == [0, 2, 5, 7]
    gaps = np.diff(evenly_spaced(10_000, 384))
    assert gaps.min() == 26 and gaps.max() == 27
    for n in (0, 11):
        with pytest.raises(UsageError, match=f"--images {n}, but there are 10"):
            evenly_spaced(10, n)


def test_a_pixel_is_one_with_probability_value_over_255():
    draws = 20_000
    images = np.repeat(np.array([[0, 1, 100, 254, 255]], np.uint8), draws, axis=0)
    means = binarize(images, 3).mean(0)
    assert means[0] == 0 and means[4] == 1
    for mean, value in zip(means, images[0], strict=True):
        p = value / 255
        assert abs(mean - p) <= 4 * math.sqrt(p * (1 - p) / draws)


def test_255_is_always_one_and_254_is_one_in_254_of_255_cases():
    """Comparing with 256 levels would be wrong by 1/256, which this many draws reveal."""
    ones = binarize(np.full(1_000_000, 254, np.uint8), 0).mean()
    assert abs(ones - 254 / 255) < 4 * math.sqrt(1 / 255 / 1_000_000)


def test_binarization_depends_on_the_seed_and_not_on_what_follows():
    images = glyphs("test")
    binary = binarize(images, 1)
    assert binary.dtype == np.uint8 and set(np.unique(binary)) == {0, 1}
    assert np.array_equal(binary, binarize(images, 1))
    assert not np.array_equal(binary, binarize(images, 2))
    for n in (1, 7, 33):
        assert np.array_equal(binary[:n], binarize(images[:n], 1))
