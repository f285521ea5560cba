"""NumPy files of people: names, shapes and types of the arrays, keys, and what an error lists."""

import re

import numpy as np
import pytest

from npdraw.datasets import npz
from npdraw.datasets.npz import read_native
from npdraw.errors import DataError
from tests.datasets.archives import GOOD, npy, pack, ramp


def numbered(count, start=0):
    """Return images [count, 6, 5] of which each has its own number in every pixel."""
    return np.arange(start, start + count, dtype=np.uint8)[:, None, None] + ramp(6, 5) * 0


@pytest.mark.parametrize(
    ("train", "test", "labels"),
    [
        ("train", "test", ("train_labels", "test_labels")),
        ("x_train", "x_test", ("y_train", "y_test")),
        ("X_train", "X_test", ("Y_train", "Y_test")),
        ("train_images", "test_images", ("train_labels", "test_labels")),
        ("images_train", "images_test", ("labels_train", "labels_test")),
        ("training_data", "testing_data", ("training_targets", "testing_targets")),
        ("trainX", "testX", ("trainY", "testY")),
    ],
)
def test_the_usual_names_are_known(tmp_path, train, test, labels):
    content = {train: numbered(12), test: numbered(5, 50)}
    content |= {labels[0]: np.arange(12), labels[1]: np.arange(5)[:, None]}
    np.savez(tmp_path / "x.npz", **content, mask=numbered(12))
    for split, count, start in (("train", 12, 0), ("test", 5, 50)):
        result = read_native(tmp_path / "x.npz", "", split)
        assert np.array_equal(result.images, numbered(count, start))
        assert result.labels.tolist() == list(range(count))
        assert result.notes == ()


def test_train_and_test_come_before_other_names(tmp_path):
    np.savez(tmp_path / "x.npz", train=numbered(6), test=numbered(2), x_train=numbered(9))
    assert len(read_native(tmp_path / "x.npz", "", "train").images) == 6


def test_a_validation_array_is_not_used_and_noted(tmp_path):
    content = {f"{split}_images": numbered(6) for split in ("train", "val", "test")}
    np.savez(tmp_path / "x.npz", **content)
    (note,) = read_native(tmp_path / "x.npz", "", "train").notes
    assert re.fullmatch(r"array 'val_images' in .*x\.npz is not used", note)


@pytest.mark.parametrize(
    ("content", "labelled"),
    [
        ({"arr_0": numbered(20)}, False),
        ({"anything": numbered(20)}, False),
        ({"x_train": numbered(20), "y_train": np.arange(20)}, True),
        ({"arr_0": numbered(20), "arr_1": np.arange(20)}, True),
        ({"images": numbered(20), "labels": np.arange(20), "mean": ramp(6, 5)}, True),
        ({"images": numbered(20)[:, None], "target": np.arange(20)}, True),
    ],
)
def test_a_single_array_is_divided(tmp_path, content, labelled):
    np.savez(tmp_path / "x.npz", **content)
    train, test = (read_native(tmp_path / "x.npz", "", split) for split in ("train", "test"))
    assert test.images[:, 0, 0].tolist() == [9, 19]
    assert len(train.images) == 18 and train.images.shape[1:] == (6, 5)
    for result in (train, test):
        numbers = result.images[:, 0, 0].tolist()
        assert result.labels is None or result.labels.tolist() == numbers
        assert (result.labels is not None) == labelled


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])  # by content, not by the name
def test_a_bare_array_is_read(tmp_path, name):
    with (tmp_path / name).open("wb") as file:
        np.save(file, np.asfortranarray(numbered(20).astype(np.float32)))
    result = read_native(tmp_path / name, "", "test")
    assert result.images[:, 0, 0].tolist() == [9, 19] and result.images.dtype == np.float32
    assert re.fullmatch(rf".*{name}: every 10th image is a test image", result.notes[0])


def test_a_bare_array_is_as_long_as_it_says(tmp_path):
    np.save(tmp_path / "x.npy", numbered(20))
    whole = (tmp_path / "x.npy").read_bytes()
    for content in (whole[:-1], whole + b"\0", whole[:90], whole[:7]):
        (tmp_path / "x.npy").write_bytes(content)
        with pytest.raises(DataError, match=r"x\.npy is damaged or not an \.npy file"):
            read_native(tmp_path / "x.npy", "", "train")


def test_a_key_names_arrays(tmp_path):
    path = tmp_path / "x.npz"
    labels = {"y_train": np.arange(20)}
    np.savez(path, x_train=numbered(20), x_test=numbered(4), other=numbered(9, 30), **labels)
    assert len(read_native(path, "other", "train").images) == 8
    assert len(read_native(path, "other,x_test", "train").images) == 9
    assert len(read_native(path, "other,x_test", "test").images) == 4
    assert len(read_native(path, "x_train", "test").labels) == 2
    with pytest.raises(DataError, match=r"there is no array 'x_tain' in .*x\.npz") as error:
        read_native(path, "x_tain", "train")
    assert error.value.hint.startswith("Did you mean 'x_train'?")
    with pytest.raises(DataError, match="3 arrays are named") as error:
        read_native(path, "other,x_test,x_train", "train")
    assert error.value.hint == "Write npz:FILE#NAME, or npz:FILE#TRAIN,TEST."


def test_unclear_arrays_are_listed(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, masks=numbered(5), pictures=numbered(5) > 2, ids=np.arange(5))
    with pytest.raises(DataError, match="which of the 2 arrays of images") as error:
        read_native(path, "", "train")
    assert error.value.hint == (
        "It holds masks uint8 [5, 6, 5], pictures bool [5, 6, 5], ids int64 [5]. Write "
        "npz:FILE#masks for one of them, or npz:FILE#masks,pictures for training and test images."
    )
    np.savez(path, digits_test=numbered(5), digits_train=numbered(5))
    with pytest.raises(DataError) as error:
        read_native(path, "", "train")
    assert "npz:FILE#digits_train,digits_test for training and test" in error.value.hint


def test_a_file_without_images_lists_what_it_holds(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=ramp(28, 28), b=ramp(28, 28), c=np.array([{}]))
    with pytest.raises(DataError, match="holds no array of images") as error:
        read_native(path, "", "train")
    assert error.value.hint == (
        "It holds a uint8 [28, 28], b uint8 [28, 28], c object [1]. "
        "Save all images in one array: np.stack(images)."
    )
    np.savez(path, **{f"{n:02}": ramp(28, 28) for n in range(12)})
    with pytest.raises(DataError) as error:
        read_native(path, "", "train")
    assert "07 uint8 [28, 28], and 4 more. Save all images in one array" in error.value.hint
    np.savez(path, X=ramp(32, 32, 3, 9), y=np.eye(9))
    with pytest.raises(DataError, match=r"array 'X' in .* is uint8 \[32, 32, 3, 9\]") as error:
        read_native(path, "", "train")
    assert "np.moveaxis(array, -1, 0)" in error.value.hint
    np.savez(path)
    with pytest.raises(DataError, match="holds no array of images") as error:
        read_native(path, "", "train")
    assert error.value.hint.startswith("It holds no arrays. Images are [N, H, W]")
    pack(path, *[(f"{n}.npy", GOOD) for n in range(1001)])
    with pytest.raises(DataError, match="holds 1,001 arrays") as error:
        read_native(path, "", "train")
    assert "np.stack(images)" in error.value.hint


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (ramp(20, 28, 3), r"array 'train' in .* is uint8 \[20, 28, 3\]"),
        (ramp(20, 28, 28, 4), r"uint8 \[20, 28, 28, 4\]"),
        (ramp(20, 784), r"uint8 \[20, 784\]"),
        (np.array([{}]), r"object \[1\]"),  # would need pickle
        (np.array(["a"]), r"<U1 \[1\]"),
        (ramp(0, 8, 8), r"uint8 \[0, 8, 8\]"),
    ],
)
def test_arrays_that_are_not_images_are_refused(tmp_path, train, words):
    for name in ("train", "arr_0"):
        np.savez(
            tmp_path / "x.npz", **{name: train}, **({"test": train} if name != "arr_0" else {})
        )
        with pytest.raises(DataError, match=words.replace("train", name)) as error:
            read_native(tmp_path / "x.npz", "", "train")
        assert error.value.hint


def test_values_that_are_not_finite_are_refused(tmp_path):
    array = numbered(9).astype(np.float64)
    array[3, 1, 2] = np.nan
    np.savez(tmp_path / "x.npz", x_train=array, x_test=numbered(2))
    with pytest.raises(DataError, match=r"array 'x_train' in .* has 1 NaN of 270 values"):
        read_native(tmp_path / "x.npz", "", "train")


@pytest.mark.parametrize(
    "labels",
    [np.arange(7), np.ones((6, 2)), np.array([""] * 6), np.full(6, -1), np.array([{}] * 6)],
)
def test_labels_that_are_not_classes_are_noted(tmp_path, labels):
    np.savez(tmp_path / "x.npz", train=numbered(6), test=numbered(2), train_labels=labels)
    result = read_native(tmp_path / "x.npz", "", "train")
    assert result.labels is None
    assert re.search(r"array 'train_labels' in .* is not used: .* are not classes", *result.notes)


def test_names_of_classes_stay_with_their_images(tmp_path):
    names = np.array(["owl", "cat"] * 10)
    np.savez(tmp_path / "x.npz", images=numbered(20), labels=names)
    for split in ("train", "test"):
        result = read_native(tmp_path / "x.npz", "", split)
        assert result.classes == ("cat", "owl")
        found = [result.classes[label] for label in result.labels]
        assert found == names[result.images[:, 0, 0]].tolist()


def test_an_array_with_a_key_that_unpacks_to_far_more_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "_ALWAYS_UNPACKED", 100_000)
    pack(tmp_path / "x.npz", ("a.npy", npy(np.zeros((200, 32, 32), np.uint8))))
    with pytest.raises(DataError, match=r"array 'a' in .* would unpack [0-9,]+ bytes to 204,928"):
        read_native(tmp_path / "x.npz", "", "train")
