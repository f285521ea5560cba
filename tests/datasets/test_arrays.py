"""Arrays of images: the shapes and types that are taken, labels, and how one array is divided."""

import re
import tracemalloc

import numpy as np
import pytest

from npdraw.datasets.arrays import (
    Arrays,
    checked,
    checked_labels,
    divided,
    misfit,
)
from npdraw.errors import DataError

BYTE = np.dtype(np.uint8)


def images(count, *copies):
    """Return `count` images [N, 6, 5] that differ, and copies of some of them."""
    made = np.arange(count, dtype=np.uint8)[:, None, None] + np.zeros((6, 5), np.uint8)
    return np.concatenate([made, made[list(copies)]])


def split_of(array, labels=None):
    """Return the training and the test split of one array."""
    whole = Arrays(array, labels, ())
    return tuple(divided(whole, split, "x") for split in ("train", "test"))


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        ((7, 28, 28), (7, 28, 28)),
        ((7, 20, 28), (7, 20, 28)),
        ((7, 3, 3), (7, 3, 3)),
        ((7, 28, 28, 1), (7, 28, 28)),
        ((7, 1, 28, 28), (7, 28, 28)),
        ((7, 28, 3, 1), (7, 28, 3)),
        ((7, 28, 28, 3), (7, 28, 28, 3)),
        ((7, 3, 28, 28), (7, 28, 28, 3)),
    ],
)
def test_shapes_of_images(shape, kept):
    array = (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape)
    assert misfit(shape, BYTE) == ""
    result = checked(array, "x")
    assert result.shape == kept
    moved = np.moveaxis(array, 1, 3) if shape[1] in (1, 3) and len(shape) == 4 else array
    assert np.array_equal(result.ravel(), moved.ravel())


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((), "Images are"),
        ((28,), "Images are"),
        ((28, 28), "Images are"),
        ((20, 784), r"array\.reshape\(-1, 28, 28\)"),
        ((20, 700), "Images are"),
        ((20, 28, 3), r"3 looks like a number of channels.*array\[\.\.\., None\]"),
        ((20, 3, 28), "3 looks like a number of channels"),
        ((20, 28, 1), "1 looks like a number of channels"),
        ((28, 28, 1000), r"\[H, W, N\]: then use np\.moveaxis\(array, -1, 0\)"),
        ((20, 28, 28, 4), r"the transparency: array\[\.\.\., :3\]"),
        ((20, 28, 28, 2), r"the transparency: array\[\.\.\., :1\]"),
        ((32, 32, 3, 100), r"\[H, W, C, N\]: then use np\.moveaxis\(array, -1, 0\)"),
        ((20, 3, 28, 3), "not clear which axis"),
        ((20, 1, 28, 3), "not clear which axis"),
        ((20, 28, 28, 5), "Images are"),
        ((20, 1, 28, 28, 1), "Images are"),
        ((0, 28, 28), "Images are"),
        ((20, 0, 28), "Images are"),
    ],
)
def test_other_shapes_have_a_hint(shape, hint):
    assert re.search(hint, misfit(shape, BYTE))


@pytest.mark.parametrize(
    "kind", ["?", "u1", "i1", "<u2", ">u2", "i4", "u4", "i8", "u8", "f2", "f4", ">f8"]
)
def test_numbers_keep_their_type(kind):
    array = images(5).astype(kind)
    assert misfit(array.shape, array.dtype) == ""
    result = checked(array, "x")
    assert result.dtype == array.dtype and np.array_equal(result, array)


@pytest.mark.parametrize("kind", ["c8", "U3", "S3", "M8[s]", "m8[s]", "V4", "u1,u1"])
def test_what_is_not_a_number_is_not_an_image(kind):
    assert "whole numbers, floats or bool" in misfit((20, 28, 28), np.dtype(kind))


def test_images_of_several_sizes_are_for_a_folder():
    assert "pictures in a folder" in misfit((20,), np.dtype("O"))


def test_values_that_are_not_finite_are_counted(monkeypatch):
    monkeypatch.setattr("npdraw.datasets.arrays._CHUNK", 60)  # two images at a time
    array = images(9).astype(np.float16)
    array[[0, 4, 8], 1, 1] = np.nan
    with pytest.raises(DataError, match=r"(?m)^array 'a' in f has 3 NaN of 270 values$"):
        checked(array, "array 'a' in f")
    array[8, 2] = [np.inf, -np.inf, 0, 0, 0]
    with pytest.raises(DataError, match=r"has 3 NaN and 2 infinite of 270 values"):
        checked(array, "x")
    array[np.isnan(array)] = 0
    with pytest.raises(DataError, match=r"has 2 infinite of 270 values"):
        checked(array, "x")


@pytest.mark.parametrize(
    "labels",
    [
        np.array([3, 0, 32_767]),
        np.array([[3], [0], [32_767]], np.uint16),
        np.array([3.0, 0.0, 32_767.0], np.float32),
    ],
)
def test_labels_are_small_whole_numbers(labels):
    result, classes = checked_labels(labels, 3)
    assert result.dtype == np.int16 and result.tolist() == [3, 0, 32_767]
    assert classes == tuple(str(number) for number in range(32_768))


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["öwl", "cat", "öwl", "öwl"]),
        np.array([["öwl"], ["cat"], ["öwl"], ["öwl"]]),
        np.array([name.encode() for name in ("öwl", "cat", "öwl", "öwl")]),
    ],
)
def test_names_are_labels(labels):
    result, classes = checked_labels(labels, 4)
    assert result.dtype == np.int16 and result.tolist() == [1, 0, 1, 1]
    assert classes == ("cat", "öwl")


@pytest.mark.parametrize(
    "names",
    [
        ["a", "b", "c"],  # of two images on average
        ["a" * 101] * 3,
        ["", "", ""],
        [b"\xe9"] * 3,
    ],
)
def test_names_that_cannot_be_classes_are_not_used(names):
    assert checked_labels(np.array(names), 3) is None
    assert checked_labels(np.array(["tab\t"] * 3), 3)[1] == ("tab\\t",)


@pytest.mark.parametrize(
    "labels",
    [
        np.array([3, -1, 0]),
        np.array([3, 32_768, 0]),
        np.array([0.5, 1, 0]),
        np.array([np.nan, 1, 0]),
        np.array(["a", "b"]),
        np.array([["a", "b", "c"]] * 3),
        np.array([1, 2]),
        np.array([[1, 0], [1, 1], [0, 1]]),
        np.array([[1, 0], [0.5, 0.5], [0, 1]]),
        np.zeros((3, 0)),
        np.zeros((3, 1, 1)),
        np.array(0),
    ],
)
def test_other_labels_are_not_used(labels):
    assert checked_labels(labels, 3) is None


@pytest.mark.parametrize("kind", [np.float32, np.uint8, np.bool_])
def test_one_hot_labels_become_classes(kind):
    labels, _ = checked_labels(np.eye(4)[[2, 0, 3, 2]].astype(kind), 4)
    assert labels.dtype == np.int16 and labels.tolist() == [2, 0, 3, 2]


def test_one_array_is_divided_by_tens():
    array = images(40)
    train, test = split_of(array, np.arange(40, dtype=np.int16))
    assert test.images[:, 0, 0].tolist() == [9, 19, 29, 39] == test.labels.tolist()
    assert sorted(train.images[:, 0, 0]) == [n for n in range(40) if n % 10 != 9]
    assert train.images[:, 0, 0].tolist() == train.labels.tolist() != sorted(train.labels)
    assert train.notes == ("x: every 10th image is a test image",)
    again, _ = split_of(array)
    assert np.array_equal(train.images, again.images) and again.labels is None


def test_of_few_images_the_last_is_the_test_image():
    train, test = split_of(images(5))
    assert test.images[:, 0, 0].tolist() == [4] and len(train.images) == 4
    assert test.notes == ("x: the last image is the test image",)


def test_equal_images_are_in_one_split():
    train, test = split_of(images(20, 9, 9, 3, 19, 19))
    assert sorted(test.images[:, 0, 0]) == [9, 9, 9, 19, 19, 19]
    assert len(train.images) == 19
    assert train.notes[1] == "5 exact copies of images are in the same split as the first"


def test_too_few_or_equal_images_are_refused():
    with pytest.raises(DataError, match="x has 3 images; at least 4 are needed"):
        split_of(images(3))
    with pytest.raises(DataError, match="all 9 images of x are equal"):
        split_of(images(9)[[4] * 9])
    with pytest.raises(DataError, match="the 5 images of x are copies of 3"):
        split_of(images(3, 0, 1))
    assert len(split_of(images(4))[0].images) == 3


def test_checking_needs_little_memory():
    array = np.zeros((400, 256, 256), np.float32)  # 105 MB
    tracemalloc.start()
    checked(array, "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # a few chunks
