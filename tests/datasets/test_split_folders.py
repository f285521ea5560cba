"""Which folders are splits and classes, and what is said about them."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from npdraw.datasets import folder_notes
from npdraw.datasets.listing import listed
from npdraw.datasets.split_folders import split_named
from tests.datasets.own_pictures import drawing, drawings, read, surveyed


def contents(images: object) -> set[bytes]:
    return {image.tobytes() for image in images}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Training", "TESTING"),
        ("data/train", "data/test"),
        ("TRAIN", "Test"),
        ("data/v1/train", "data/v1/test"),
        ("train_images", "test_images"),
        ("images_train", "images_test"),
        ("train-set", "test-set"),
        ("trainset", "testset"),
        ("Train Data", "Test Data"),
        ("train2017", "test2017"),
        ("trainA", "testB"),
    ],
)
def test_folders_of_train_and_test_are_the_splits(train: str, test: str, tmp_path: Path) -> None:
    drawings(tmp_path / train, 30)
    (tmp_path / test).mkdir()
    for number in range(30, 34):
        drawing(number).save(tmp_path / test / f"{number}.png")
    assert len(read(tmp_path).images) == 30
    assert contents(read(tmp_path, "test").images) == {
        np.asarray(drawing(number)).tobytes() for number in range(30, 34)
    }
    assert "30 in train and 4 in test, as their folders say" in surveyed(tmp_path).lines()


def test_validation_folders_count_as_training(tmp_path: Path) -> None:
    drawings(tmp_path / "train", 10)
    drawings(tmp_path / "val", 5, ink=200)
    drawings(tmp_path / "test", 5, ink=250)
    assert len(read(tmp_path).images) == 15
    seen = surveyed(tmp_path)
    assert seen.splits == (("test", 5), ("train", 15))
    assert seen.lines()[-1] == (
        "10 in train and 5 in test, as their folders say; "
        "5 in a validation folder, used for training"
    )


def test_a_folder_called_train_among_others_is_a_class(tmp_path: Path) -> None:
    for name in ("bus", "car", "train"):
        drawings(tmp_path / name, 10)
    seen = surveyed(tmp_path)
    assert (seen.splits, seen.classes) == ((), (("bus", 10), ("car", 10), ("train", 10)))


@pytest.mark.parametrize("name", ["trains", "testament", "latest", "train station", "trés"])
def test_other_names_are_not_splits(name: str) -> None:
    assert split_named(name) == ""


@pytest.mark.parametrize(
    ("layout", "splits", "classes", "said"),
    [
        ("train test .", "train test train", "", "2 in neither folder, used for training"),
        ("train test more", "train test train", "", "2 in neither folder, used for training"),
        ("train val test .", "train train test train", "", "2 in none of these folders"),
        ("test .", "test train", "", "2 in other folders or none, used for training"),
        ("test cat dog", "test train train", " cat dog", "4 in other folders or none"),
        ("train val", "", "", "2 in a validation folder; without a test folder, they are used"),
        ("test val", "test train", "", "2 in a validation folder, used for training"),
        ("train", "", "", ""),
        ("test", "", "", ""),
        ("a/val", "", "", ""),
        ("train .", "", "", ""),
        ("train/cat train/dog", "", "cat dog", ""),
        ("cat/train dog/train", "", "cat dog", ""),
        ("cat/train cat/test dog/train", "train test train", "cat cat dog", ""),
        ("cat/train dog/test", "train test", "cat dog", ""),
        ("train/cat train/train test/cat", "train train test", "cat train cat", ""),
        ("train/bus train/train test/train", "train train test", "bus train train", ""),
        ("train/all/cat train/all/dog test", "train train test", "cat dog ", ""),
        ("cat/train cat/test train/train", "train test train", "cat cat train", ""),
        ("images/train images/val labels", "", "images images labels", "2 in a validation folder"),
        ("a/train a/test b/c/train b/c/test", "train test train test", "a a b/c b/c", ""),
    ],
)
def test_folders_of_splits(
    layout: str, splits: str, classes: str, said: str, tmp_path: Path
) -> None:
    """`layout` has the folders, and for each of them, `splits` and `classes` what it means."""
    expected = {}
    for n, place in enumerate(layout.split()):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        for name in ("x", "y"):  # two pictures, so that folders may be classes
            path = tmp_path / place / f"{name}.png"
            drawing(n, ink=200 + n).save(path)
            expected[path] = (
                splits.split()[n] if splits else "",
                classes.split(" ")[n] if classes else "",
            )
    listing = listed(tmp_path)
    assert listing.splits == tuple(expected[path][0] for path in listing.paths if splits)
    assert listing.classes == tuple(expected[path][1] for path in listing.paths if classes)
    counts = dict(Counter(listing.splits))
    notes = [*folder_notes.splits(counts, listing.validation, listing.elsewhere)]
    if splits:
        alone = counts["train"] == listing.elsewhere + listing.validation
        assert notes[0].endswith("as their folder says" if alone else "as their folders say")
        del notes[0]
    assert said in "; ".join(notes) and bool(said) == bool(notes)


def test_without_a_test_folder_every_10th_picture_is_a_test_picture(tmp_path: Path) -> None:
    drawings(tmp_path / "train", 14)
    drawings(tmp_path / "val", 6, ink=200)
    assert (len(read(tmp_path).images), len(read(tmp_path, "test").images)) == (18, 2)
    assert read(tmp_path).notes == ("every 10th picture is a test picture",)
    assert surveyed(tmp_path).lines()[-1] == (
        "6 in a validation folder; without a test folder, they are used like the others"
    )


def test_folders_of_classes_are_labels(tmp_path: Path) -> None:
    drawings(tmp_path / "cat", 15)
    drawings(tmp_path / "dog", 15, ink=120)
    loaded = read(tmp_path, pixels="levels")
    assert loaded.classes == ("cat", "dog")
    assert loaded.labels is not None and loaded.labels.dtype == np.int16
    brightest = loaded.images.max((1, 2, 3))
    assert (loaded.labels == (brightest == 120)).all()
    test = read(tmp_path, "test", pixels="levels")
    assert (test.labels == (test.images.max((1, 2, 3)) == 120)).all()
    assert "2 classes (cat, dog), stored as labels" in surveyed(tmp_path).lines()


def test_classes_are_below_the_splits_or_above_them(tmp_path: Path) -> None:
    for split, count in (("train", 10), ("test", 2)):
        for name in ("cat", "dog"):
            drawings(tmp_path / "below" / split / name, count)
            drawings(tmp_path / "above" / name / split, count)
    for place in ("below", "above"):
        loaded = read(tmp_path / place)
        assert loaded.classes == ("cat", "dog")
        assert loaded.labels is not None
        assert Counter(loaded.labels.tolist()) == {0: 10, 1: 10}


@pytest.mark.parametrize(
    ("layout", "why"),
    [
        ({"all": 20}, ""),
        ({"": 20, "more": 20}, ""),
        ({"a/one": 20}, ""),
        ({"": 1, "cat": 20, "dog": 20}, "1 picture is in none of them"),
        ({"": 2, "cat": 20, "dog": 20}, "2 pictures are in none of them"),
        ({str(n): 1 for n in range(20)}, "they hold fewer than two pictures on average"),
        ({"a" * 101: 5, "b": 5}, "a name has more than 100 characters"),
    ],
)
def test_folders_that_are_not_classes(layout: dict[str, int], why: str, tmp_path: Path) -> None:
    for name, count in layout.items():
        drawings(tmp_path / name, count)
    listing = listed(tmp_path)
    assert listing.classes == ()
    folders = len(layout) - ("" in layout)
    assert listing.no_classes == (
        f"{folders} folders are not used as classes: {why}" if why else ""
    )
    if why and len(layout) < 20:
        assert listing.no_classes in read(tmp_path).notes


def test_more_than_a_thousand_folders_are_not_classes(tmp_path: Path) -> None:
    for number in range(1_001):
        (tmp_path / str(number)).mkdir()
        for name in "ab":
            (tmp_path / str(number) / f"{name}.png").touch()
    assert listed(tmp_path).no_classes == (
        "1,001 folders are not used as classes: there are more than 1,000"
    )
    (tmp_path / "0" / "a.png").unlink()
    (tmp_path / "0" / "b.png").unlink()
    assert len(set(listed(tmp_path).classes)) == 1_000


def test_classes_in_folders_of_classes_have_the_names_of_both(tmp_path: Path) -> None:
    for name in ("animals/cat", "animals/dog", "plants/rose"):
        drawings(tmp_path / "all" / name, 10)
    assert read(tmp_path).classes == ("animals/cat", "animals/dog", "plants/rose")


def test_classes_have_the_same_order_in_both_splits(tmp_path: Path) -> None:
    inks = {"ant": 100, "bee": 150, "cow": 200, "dog": 250}
    for place in ("train/bee", "train/cow", "train/dog", "test/ant", "test/cow"):
        drawings(tmp_path / place, 10, ink=inks[place.split("/")[1]])
    train, test = read(tmp_path, pixels="levels"), read(tmp_path, "test", pixels="levels")
    assert train.classes == test.classes == ("ant", "bee", "cow", "dog")
    for loaded in (train, test):
        assert loaded.labels is not None
        brightest = loaded.images.max((1, 2, 3)).tolist()
        assert [inks[loaded.classes[label]] for label in loaded.labels] == brightest


def test_test_pictures_may_be_in_no_class(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        drawings(tmp_path / "train" / "images" / name, 10)
    drawings(tmp_path / "test" / "images", 5, ink=200)
    train, test = read(tmp_path), read(tmp_path, "test")
    assert train.classes == test.classes == ("cat", "dog")
    assert train.labels is not None and test.labels is None
    assert "5 test pictures are in no class" in train.notes
    assert surveyed(tmp_path).classes == (("cat", 10), ("dog", 10))
