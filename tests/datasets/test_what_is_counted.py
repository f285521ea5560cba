"""Pictures that are skipped, frames and pages, copies in several classes: counted in a note."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from npdraw.datasets import parse_source
from npdraw.datasets.folder import read_folder
from npdraw.datasets.survey import survey
from npdraw.errors import DataError
from npdraw.reading import Wanted
from tests.datasets.own_pictures import drawing, drawings, surveyed
from tests.datasets.test_folder import GREY


def test_pictures_with_nan_are_skipped_and_counted(tmp_path):
    for number in range(6):
        pixels = np.random.default_rng(number).random((28, 28), np.float32)
        pixels[3, 3] = np.nan if number == 2 else 1
        Image.fromarray(pixels).save(tmp_path / f"{number}.tif")
    seen = surveyed(tmp_path)
    assert (seen.pictures, seen.unreadable) == (5, 1)
    note = read_folder(tmp_path, "train", **GREY).notes[0]
    assert note.endswith("cannot be read: '2.tif': its pixels are not finite numbers")


def test_pictures_of_a_pixel_or_two_are_skipped_and_counted(tmp_path):
    drawings(tmp_path, 6)
    for size in ((1, 1), (2, 9), (3, 3)):
        Image.new("L", size, 70).save(tmp_path / f"{size[0]}.png")
    seen = surveyed(tmp_path)
    assert (seen.pictures, seen.unreadable, seen.sizes.smallest) == (7, 2, (3, 3))
    note = read_folder(tmp_path, "train", **GREY).notes[0]
    assert note == (
        "skipped 2 of 9 files that cannot be read: '1.png': it has only 1 x 1 pixels, '2.png': it "
        "has only 2 x 9 pixels"
    )


@pytest.mark.parametrize("ending", ["gif", "tif", "png", "webp"])
def test_pictures_with_several_frames_or_pages_are_counted(ending, tmp_path):
    for number in range(8):
        more = [drawing(number + 20)] if number < 3 else []
        path = tmp_path / f"{number}.{ending}"
        drawing(number).save(path, save_all=True, append_images=more)
    seen = surveyed(tmp_path)
    assert seen.several_frames == 3
    assert seen.lines()[-1] == "3 have more than one frame or page: only the first is read"


def test_the_preview_in_a_photo_is_not_a_second_frame(tmp_path):
    drawings(tmp_path, 6)
    drawing(9).save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[drawing(10)])
    assert surveyed(tmp_path).several_frames == 0


def test_test_pictures_that_look_the_other_way_round_are_counted(tmp_path):
    drawings(tmp_path / "train", 12, ground=255, ink=0)
    drawings(tmp_path / "test", 5)
    seen = surveyed(tmp_path)
    assert (seen.others, seen.test_others) == (0, (5, 5))
    assert seen.lines()[-1] == (
        "12 in train and 5 in test, as their folders say; 5 of 5 test pictures look the other way "
        "round than most for training, and are read like these: invert their files first"
    )
    drawings(tmp_path / "test", 5, ground=255, ink=0)
    assert surveyed(tmp_path).test_others == (0, 5)
    assert surveyed(tmp_path, Wanted(pixels="levels")).test_others == (0, 0)


def arrays(**how):
    return np.stack([np.asarray(drawing(number, **how)) for number in range(20)])


def test_test_arrays_are_counted_and_looked_at(tmp_path):
    train, test = arrays(), arrays(ground=255, ink=0)[:7]
    np.savez(tmp_path / "a.npz", x_train=train, x_test=test)
    seen = survey(parse_source(f"npz:{tmp_path / 'a.npz'}"), pathlib.Path(), Wanted())
    assert (seen.pictures, seen.splits) == (27, (("test", 7), ("train", 20)))
    assert seen.test_others == (7, 7)
    assert "20 in train and 7 in test, as their names say; 7 of" in seen.lines()[-1]
    np.save(tmp_path / "b.npy", train)
    seen = survey(parse_source(f"npz:{tmp_path / 'b.npy'}"), pathlib.Path(), Wanted())
    assert (seen.pictures, seen.splits) == (20, ())  # divided, not the 18 for training


def test_idx_files_are_splits(tmp_path):
    for name, count in (("train-images", 20), ("t10k-images", 6)):
        head = bytes([0, 0, 8, 3, *count.to_bytes(4), 0, 0, 0, 28, 0, 0, 0, 28])
        (tmp_path / name).write_bytes(head + arrays()[:count].tobytes())
    seen = survey(parse_source(f"idx:{tmp_path}"), pathlib.Path(), Wanted())
    assert (seen.pictures, seen.splits) == (26, (("test", 6), ("train", 20)))


def test_copies_in_several_classes_are_counted(tmp_path):
    drawings(tmp_path / "cat", 6)
    drawings(tmp_path / "dog", 6, ground=40)
    for number in (1, 3):
        drawing(number).save(tmp_path / "dog" / f"x{number}.png")
    notes = read_folder(tmp_path, "train", **GREY).notes
    assert notes[-1] == "2 pictures have exact copies in more than one class"
    for name in ("x1", "x3"):
        (tmp_path / "dog" / f"{name}.png").rename(tmp_path / "cat" / f"{name}.png")
    notes = read_folder(tmp_path, "train", **GREY).notes
    assert not any("more than one class" in note for note in notes)


@pytest.mark.parametrize(
    ("count", "broken", "said"),
    [
        (0, 0, "there is no picture in {}; at least 4 are needed"),
        (1, 0, "there is only 1 picture in {}; at least 4 are needed"),
        (3, 1, "there are only 3 pictures in {}, and 1 cannot be read; at least 4 are needed"),
    ],
)
def test_too_few_pictures_are_counted_without_a_list_of_formats(count, broken, said, tmp_path):
    drawings(tmp_path, count)
    for number in range(broken):
        (tmp_path / f"x{number}.png").write_text("text")
    for look in (surveyed, lambda folder: read_folder(folder, "train", **GREY)):
        with pytest.raises(DataError) as raised:
            look(tmp_path)
        assert raised.value.message == said.format(tmp_path)
        assert raised.value.hint.startswith("At least 4 different images")


def test_pictures_of_many_sizes_are_shrunk_or_enlarged(tmp_path):
    for number, side in enumerate((8, 20, 84, 84, 84, 200)):
        drawing(number).resize((side, side)).save(tmp_path / f"{number}.png")
    line = surveyed(tmp_path).lines(32)[-1]
    assert "shrunk or enlarged to 32 pixels, the median from 84 (--image-size)" in line


def test_a_folder_in_place_of_a_file_of_arrays_is_named(tmp_path):
    with pytest.raises(DataError, match="is a folder, not a file") as raised:
        survey(parse_source(f"npz:{tmp_path}"), pathlib.Path(), Wanted())
    assert raised.value.hint.startswith(f"Write folder:{tmp_path} for pictures")
