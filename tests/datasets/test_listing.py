"""Folders: which files are pictures, which folders are splits and classes, and exact copies."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import features

from npdraw.datasets.listing import listed
from npdraw.errors import DataError
from tests.datasets.own_pictures import drawing, drawings, read, surveyed


def contents(images: object) -> set[bytes]:
    return {image.tobytes() for image in images}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        *[("jfif", "JPEG"), ("", "PNG"), ("ppm", "PPM"), ("pgm", "PPM"), ("data", "GIF")],
        *[(ending, "JPEG2000") for ending in ("jp2", "j2k") if features.check("jpg_2000")],
        *[("avif", "AVIF") for _ in range(1) if features.check("avif")],
    ],
)
def test_pictures_are_known_by_their_content(ending: str, kind: str, tmp_path: Path) -> None:
    for number in range(10):
        drawing(number).save(tmp_path / f"{number}.{ending}".rstrip("."), kind)
    (tmp_path / "notes.heic").write_bytes(b"a format that Pillow does not read")
    images, notes = read(tmp_path).images, read(tmp_path).notes
    assert (len(images), notes) == (9, ())
    assert images.max() > 200
    assert surveyed(tmp_path).left_out == ((".heic", 1),)


def test_other_files_are_counted_by_ending(tmp_path: Path) -> None:
    drawings(tmp_path / "a")
    for name in ("x.txt", "y.TXT", "b.json", "README", ".DS_Store", "._000.png", "c.heic"):
        (tmp_path / "a" / name).write_bytes(b"text")
    for name in (".git", "__MACOSX"):
        drawings(tmp_path / "a" / name)
    seen = surveyed(tmp_path / "a")
    assert seen.pictures == 20
    others = {".txt": 2, "hidden": 2, ".heic": 1, ".json": 1, "without an ending": 1}
    assert dict(seen.left_out) == others
    assert "7 files that are not pictures left out (2 .txt, 2 hidden, 1 .heic, 1 .json, ...)" in (
        seen.lines()
    )


@pytest.mark.parametrize(
    ("train", "test"),
    [("train", "test"), ("Training", "TESTING"), ("data/train", "data/test"), ("TRAIN", "Test")],
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
    assert "4 in test and 30 in train, as their folders say" in surveyed(tmp_path).lines()


def test_validation_folders_count_as_training(tmp_path: Path) -> None:
    drawings(tmp_path / "train", 10)
    drawings(tmp_path / "val", 5, ink=200)
    drawings(tmp_path / "test", 5, ink=250)
    assert len(read(tmp_path).images) == 15
    seen = surveyed(tmp_path)
    assert seen.splits == (("test", 5), ("train", 15))
    assert "5 in a validation folder, used for training" in seen.lines()[-1]


def test_a_folder_called_train_among_others_is_a_class(tmp_path: Path) -> None:
    for name in ("bus", "car", "train"):
        drawings(tmp_path / name, 10)
    seen = surveyed(tmp_path)
    assert (seen.splits, seen.classes) == ((), (("bus", 10), ("car", 10), ("train", 10)))


def test_folders_of_classes_are_labels(tmp_path: Path) -> None:
    drawings(tmp_path / "cat", 15)
    drawings(tmp_path / "dog", 15, ink=120)
    loaded = read(tmp_path)
    assert loaded.classes == ("cat", "dog")
    assert loaded.labels is not None and loaded.labels.dtype == np.int16
    brightest = loaded.images.max((1, 2, 3))
    assert (loaded.labels == (brightest == 120)).all()
    test = read(tmp_path, "test")
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


def test_folders_that_are_not_classes(tmp_path: Path) -> None:
    drawings(tmp_path / "one" / "all")
    drawings(tmp_path / "loose")
    drawings(tmp_path / "loose" / "more")
    for number in range(20):
        (tmp_path / "each" / str(number)).mkdir(parents=True)
        drawing(number).save(tmp_path / "each" / str(number) / "x.png")
    for place in ("one", "loose", "each"):
        assert listed(tmp_path / place).classes == (), place


def test_exact_copies_are_in_one_split_and_counted(tmp_path: Path) -> None:
    for number in range(40):
        drawing(number // 4).save(tmp_path / f"{number:02}.png")
    drawing(0, "RGB", 0, (255, 0, 0)).convert("L").save(tmp_path / "z.bmp")
    train, test = read(tmp_path), read(tmp_path, "test")
    assert not contents(train.images) & contents(test.images)
    assert (len(train.images), len(test.images)) == (37, 4)
    assert train.notes == ("30 exact copies of pictures are in the same split as the first",)


def test_copies_between_folders_of_splits_are_counted(tmp_path: Path) -> None:
    drawings(tmp_path / "train", 20)
    drawings(tmp_path / "test", 3)
    assert read(tmp_path).notes == (
        "3 exact copies of pictures; 3 pictures are in both train and test",
    )


def test_copies_of_one_picture_are_a_data_error(tmp_path: Path) -> None:
    for number in range(40):
        drawing(0).save(tmp_path / f"{number}.png")
    with pytest.raises(DataError, match=r"all 40 pictures in .* are equal"):
        read(tmp_path)


def test_names_that_cannot_be_stored_are_escaped(tmp_path: Path) -> None:
    drawings(tmp_path / "a\nb")
    drawings(tmp_path / "ünï")
    assert {name for name, _ in surveyed(tmp_path).classes} == {"a\\nb", "ünï"}
