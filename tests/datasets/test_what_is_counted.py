"""Pictures that are skipped, frames and pages, copies in several classes: counted in a note."""

import numpy as np
from PIL import Image

from npdraw.datasets.folder import read_folder
from tests.datasets.own_pictures import drawings, surveyed
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
