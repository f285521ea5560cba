"""How many pictures are needed, which are test pictures, and folders that hold something else."""

import re

import pytest

from npdraw.datasets.folder import read_folder
from npdraw.errors import DataError
from tests.datasets.own_pictures import drawing, drawings, read, surveyed
from tests.datasets.test_folder import EVERY_10TH, GREY, LAST, save


@pytest.mark.parametrize("count", range(4, 23))
def test_notes_say_which_pictures_are_test_pictures(count, tmp_path):
    for value in range(count):
        save(tmp_path, f"{value:02}.png", value)
    images, notes, *_ = read_folder(tmp_path, "test", **GREY)
    assert notes == (LAST if count < 10 else EVERY_10TH,)
    assert len(images) == max(1, count // 10)


def test_few_different_pictures_are_a_data_error(tmp_path):
    for value in range(20):
        save(tmp_path, f"{value:02}.png", value % 3)
    with pytest.raises(DataError, match=r"the 20 pictures in .* are copies of 3") as raised:
        read_folder(tmp_path, "train", **GREY)
    assert "At least 4 different images are needed" in raised.value.hint
    save(tmp_path, "x.png", 3)
    assert read_folder(tmp_path, "test", **GREY).images[:, 0, 0, 0].tolist() == [3]


def test_at_least_three_pictures_are_needed_for_training(tmp_path):
    for value in range(2):
        save(tmp_path, f"test/{value}.png", value)
        save(tmp_path, f"train/{value}.png", 5 + value)
    with pytest.raises(DataError, match="only 2 readable training images") as raised:
        read_folder(tmp_path, "test", **GREY)
    assert raised.value.hint.endswith("3 of them for training.")
    save(tmp_path, "train/2.png", 7)
    assert read_folder(tmp_path, "train", **GREY).images[:, 0, 0, 0].tolist() == [5, 6, 7]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("a.npz", r"Write npz:.*a\.npz\.$"),
        ("train-images-idx3-ubyte.gz", r"Write idx:.*\.$"),
        ("a.zip", "Unpack it"),
        ("a.png", "for all pictures next to it"),
        ("a.heic", "for all pictures next to it"),
        ("a.txt", "expects a folder"),
    ],
)
def test_a_file_in_place_of_a_folder_is_named(name, hint, tmp_path):
    save(tmp_path, "picture.png").rename(tmp_path / name)
    if name.endswith(".txt"):
        (tmp_path / name).write_text("text")
    with pytest.raises(DataError, match="is a file, not a folder") as raised:
        read_folder(tmp_path / name, "train", **GREY)
    assert re.search(hint, raised.value.hint)


@pytest.mark.parametrize(
    ("ending", "hint"),
    [(".zip", "unpack it"), (".heic", "Convert .heic files to PNG or JPEG"), (".npz", "npz:FILE")],
)
def test_other_files_in_a_folder_without_pictures_get_a_hint(ending, hint, tmp_path):
    (tmp_path / f"a{ending}").write_bytes(b"no picture")
    with pytest.raises(DataError, match="there is no picture in") as raised:
        read_folder(tmp_path, "train", **GREY)
    assert hint in raised.value.hint and f"1 {ending}" in raised.value.hint


def test_four_pictures_are_enough_in_all_layouts(tmp_path):
    drawings(tmp_path / "a", 4)
    drawings(tmp_path / "b" / "train", 3)
    drawing(3).save(drawings(tmp_path / "b" / "test", 0) / "x.png")
    for place in (tmp_path / "a", tmp_path / "b"):
        assert surveyed(place).pictures == 4
        assert (len(read(place).images), len(read(place, "test").images)) == (3, 1)
    (tmp_path / "b" / "train" / "002.png").rename(tmp_path / "b" / "test" / "y.png")
    with pytest.raises(DataError, match="only 2 readable training images"):
        surveyed(tmp_path / "b")
