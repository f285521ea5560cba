"""What people bring, and what becomes of it: transparency, paper, depth, greys, shapes, colour."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from npdraw.datasets import Source
from npdraw.datasets.embedded import glyphs
from npdraw.datasets.survey import survey
from npdraw.errors import DataError
from npdraw.reading import Wanted
from tests.datasets.own_pictures import drawing, drawings, expected, read, shaded, surveyed

BLACK, CLEAR, RED = (0, 0, 0, 255), (0, 0, 0, 0), (200, 30, 30)
TRAIN = [n for n in range(20) if n % 10 != 9]


def strokes(images: Any) -> list[bytes]:
    return [image[0].tobytes() for image in images]


def right(**how: Any) -> list[bytes]:
    """Return the training images that twenty drawings should become."""
    return [expected(**how)[n] for n in TRAIN]


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"ground": 255, "ink": 0},
        {"mode": "RGBA", "ground": CLEAR, "ink": BLACK},
        {"mode": "RGBA", "ground": CLEAR, "ink": (255, 255, 255, 255)},
        {"mode": "RGBA", "ground": (255, 255, 255, 0), "ink": BLACK},
        {"mode": "LA", "ground": (0, 0), "ink": (0, 255)},
        {"mode": "1", "ground": 1, "ink": 0},
        {"mode": "RGB", "ground": (255, 255, 255), "ink": (0, 0, 0)},
        {"ink": 90},
        {"ground": 250, "ink": 120},
    ],
    ids=str,
)
def test_strokes_of_any_kind_are_light_on_black(how: dict[str, Any], tmp_path: Path) -> None:
    drawings(tmp_path / "a", **how)
    assert strokes(read(tmp_path / "a").images) == right()
    seen = surveyed(tmp_path / "a")
    assert (seen.channels, seen.binarize) == (1, True)


def test_dark_strokes_are_kept_if_that_is_wanted(tmp_path: Path) -> None:
    drawings(tmp_path / "a", ground=255, ink=0)
    kept = read(tmp_path / "a", invert="no").images
    assert strokes(kept) == right(ground=255, ink=0)
    drawings(tmp_path / "b")
    assert strokes(read(tmp_path / "b", invert="yes").images) == right(ground=255, ink=0)


def test_large_dark_shapes_on_white_are_inverted(tmp_path: Path) -> None:
    for number in range(8):
        picture = Image.new("L", (64, 64), 255)
        picture.paste(0, (3, 3, 61, 61 - number))
        picture.save(tmp_path / f"{number}.png")
    seen = surveyed(tmp_path)
    assert (seen.binarize, seen.light_ground, seen.reading.invert) == (True, True, True)


def test_a_scan_on_paper_is_inverted_and_two_valued(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)

    def scanned(picture: Image.Image) -> Image.Image:
        soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(1)), float)
        return Image.fromarray((soft + noise.normal(0, 6, soft.shape)).clip(0, 255).astype("u1"))

    drawings(tmp_path / "a", ground=225, ink=40, size=(200, 200), width=14, change=scanned)
    seen = surveyed(tmp_path / "a")
    assert (seen.reading.invert, seen.binarize, seen.two_valued) == (True, True, True)
    assert "dark strokes on a light ground: inverted (--invert no keeps them)" in seen.lines()[0]


def test_transparent_pictures_in_colour_are_on_white_unless_they_are_very_light(
    tmp_path: Path,
) -> None:
    drawings(tmp_path / "a", mode="RGBA", ground=CLEAR, ink=(*RED, 255))
    images = read(tmp_path / "a").images
    assert images.shape[1] == 3
    assert images[0, :, 0, 0].tolist() == [255, 255, 255]
    assert set(images[:, 1].ravel().tolist()) == {255, 30}
    assert (
        "all have transparent pixels, put on white (--background"
        in surveyed(tmp_path / "a").lines()[1]
    )

    drawings(tmp_path / "b", mode="RGBA", ground=CLEAR, ink=(255, 255, 150, 255))
    assert surveyed(tmp_path / "b").reading.background == "black"

    green = read(tmp_path / "a", background="#00ff00").images
    assert green[0, :, 0, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize(
    ("largest", "white"),
    [(255, 255), (256, 1023), (1023, 1023), (4080, 4095), (16383, 16383), (60000, 65535)],
)
def test_deep_pictures_are_read_by_the_bits_that_they_use(
    largest: int, white: int, tmp_path: Path
) -> None:
    def deepened(picture: Image.Image) -> Image.Image:
        values = np.asarray(picture).astype(float) * largest / 255
        return Image.fromarray(values.round().astype(np.uint16))

    drawings(tmp_path / "a", change=deepened)
    seen = surveyed(tmp_path / "a", Wanted(pixels="levels"))
    assert seen.reading.white == white
    assert read(tmp_path / "a", pixels="levels").images.max() == int(largest * 255 / white + 0.5)
    assert seen.values == (0, largest)
    assert read(tmp_path / "a").images.max() >= 247  # strokes, of full contrast


@pytest.mark.parametrize("largest", [1, 2, 15, 16])
def test_masks_with_small_values_are_seen(largest: int, tmp_path: Path) -> None:
    drawings(tmp_path / "a", ink=largest)
    assert strokes(read(tmp_path / "a").images) == right()
    assert (
        f"values from 0 to {largest}: 0 becomes black, {largest} white"
        in surveyed(tmp_path / "a").lines()
    )


def test_grey_pictures_of_all_levels_keep_them(tmp_path: Path) -> None:
    for number in range(20):
        shaded(number).save(tmp_path / f"{number:02}.png")
    seen = surveyed(tmp_path)
    assert (seen.channels, seen.binarize, seen.reading.invert) == (1, False, False)
    assert "grey, with all levels (--pixels binary" in seen.lines()[0]
    assert strokes(read(tmp_path).images) == [np.asarray(shaded(n)).tobytes() for n in TRAIN]
    assert surveyed(tmp_path, Wanted(pixels="binary")).binarize


def test_small_shaded_things_on_a_large_ground_keep_their_levels(tmp_path: Path) -> None:
    for number in range(8):
        picture = Image.new("L", (96, 96))
        picture.paste(shaded(number, 40), (28, 28))
        picture.save(tmp_path / f"{number:02}.png")
    assert not surveyed(tmp_path).binarize


def test_the_characters_of_pens_are_two_valued(tmp_path: Path) -> None:
    for number, image in enumerate(glyphs("test")[:40, 0]):
        Image.fromarray(255 - image).save(tmp_path / f"{number:02}.png")
    seen = surveyed(tmp_path)
    assert (seen.binarize, seen.reading.invert, seen.reading.white) == (True, True, 255)


def test_wide_drawings_are_padded_and_counted(tmp_path: Path) -> None:
    drawings(tmp_path / "a", size=(100, 28), ground=255, ink=0)
    seen = surveyed(tmp_path / "a")
    assert (seen.reading.fit, seen.reading.background) == ("pad", "white")
    assert "20 are not square: padded with white (--fit crop or stretch)" in seen.lines()[1]
    images = read(tmp_path / "a").images
    assert (images[:, 0, :9] == 0).all() and (images[:, 0, -9:] == 0).all()
    assert images[:, 0, :, :8].max() > 100  # the strokes are at the left
    cropped = read(tmp_path / "a", fit="crop").images
    assert cropped.max() == 0
    assert read(tmp_path / "a", fit="stretch").images[:, 0, 5:22, :7].max() > 100


def test_drawings_of_four_by_three_keep_all_their_ink(tmp_path: Path) -> None:
    drawings(tmp_path, 8, size=(36, 27), ground=255, ink=0)
    assert surveyed(tmp_path).reading.fit == "pad"


def test_a_line_says_how_much_is_cropped(tmp_path: Path) -> None:
    drawings(tmp_path, 8, size=(40, 30), ground=255, ink=0)
    line = surveyed(tmp_path, Wanted(fit="crop")).lines()[1]
    assert line == "8 are not square: cropped to the square in the middle, which cuts off 25%"


def test_photographs_and_nearly_square_pictures_are_cropped(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    for folder, size in (("a", (30, 20)), ("b", (30, 28))):
        (tmp_path / folder).mkdir()
        for number in range(6):
            small = noise.integers(0, 256, (4, 6, 3), dtype=np.uint8)
            Image.fromarray(small).resize(size).save(tmp_path / folder / f"{number}.png")
        seen = surveyed(tmp_path / folder)
        assert (seen.reading.fit, seen.sizes.not_square) == ("crop", 6)
    drawings(tmp_path / "c", size=(30, 28))
    assert surveyed(tmp_path / "c").reading.fit == "crop"


def test_thin_coloured_lines_are_colour(tmp_path: Path) -> None:
    drawings(tmp_path / "a", mode="RGB", ground=(255, 255, 255), ink=RED, width=1, size=(60, 60))
    seen = surveyed(tmp_path / "a")
    assert (seen.channels, seen.binarize) == (3, False)
    assert "in colour (--channels 1 for grey)" in seen.lines()[0]
    assert surveyed(tmp_path / "a", Wanted(channels="1")).channels == 1


def test_a_folder_that_is_half_grey_is_read_in_colour(tmp_path: Path) -> None:
    drawings(tmp_path / "a" / "grey")
    drawings(tmp_path / "a" / "red", mode="RGB", ink=RED)
    seen = surveyed(tmp_path / "a")
    assert (seen.channels, seen.coloured) == (3, 0.5)
    assert "50% of them in colour: read in colour (--channels 1 for grey)" in seen.lines()[0]


def test_a_few_coloured_pictures_and_yellow_paper_are_grey(tmp_path: Path) -> None:
    drawings(tmp_path / "a", 30)
    drawing(99, "RGB", ink=RED).save(tmp_path / "a" / "red.png")
    assert surveyed(tmp_path / "a").channels == 1
    drawings(tmp_path / "b", mode="RGB", ground=(240, 230, 215), ink=(40, 42, 50))
    seen = surveyed(tmp_path / "b")
    assert (seen.channels, seen.binarize, seen.reading.invert) == (1, True, True)


@pytest.mark.parametrize("how", [{"ink": 0}, {"ground": 255, "ink": 255}])
def test_pictures_that_show_nothing_are_a_data_error(how: dict[str, Any], tmp_path: Path) -> None:
    drawings(tmp_path / "a", **how)
    with pytest.raises(DataError, match=r"all images of .* are (black|of a single colour each)"):
        surveyed(tmp_path / "a")


def test_fewer_than_four_pictures_are_a_data_error(tmp_path: Path) -> None:
    drawings(tmp_path, 3)
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match=r"only 3 pictures in .* at least 4 are needed") as raised:
        surveyed(tmp_path)
    assert "1 .txt" in raised.value.hint


@pytest.mark.parametrize(
    ("scale", "kind", "low", "high"),
    [
        (1, np.uint8, 0, 1),
        (1, np.bool_, 0, 1),
        (1, np.float32, 0, 1),
        (255, np.float64, 0, 255),
        (4095, np.uint16, 0, 4095),
        (16, np.float32, 0, 16),
        (255, np.int64, 0, 255),
    ],
)
def test_arrays_are_read_by_their_values(
    scale: int, kind: Any, low: float, high: float, tmp_path: Path
) -> None:
    masks = np.stack([np.asarray(drawing(number)) // 255 for number in range(20)]).astype(int)
    np.savez(tmp_path / "a.npz", train=(masks * scale).astype(kind), test=masks[:4].astype(kind))
    seen = survey(Source("npz", tmp_path / "a.npz"), Path(), Wanted())
    assert (seen.reading.black, seen.reading.white) == (low, high)
    assert (seen.channels, seen.binarize, seen.pictures) == (1, True, 24)


def test_arrays_below_zero_are_read_from_their_smallest_value(tmp_path: Path) -> None:
    masks = np.stack([np.asarray(drawing(number)) / 127.5 - 1 for number in range(20)])
    for factor, low in ((1, -1), (3, -3)):
        np.savez(tmp_path / "a.npz", train=masks * factor, test=masks)
        seen = survey(Source("npz", tmp_path / "a.npz"), Path(), Wanted())
        assert (seen.reading.black, seen.reading.white) == (low, factor)


def test_ten_thousand_pictures_take_seconds(tmp_path: Path) -> None:
    drawings(tmp_path, 2_500)
    began = time.process_time()
    seen = surveyed(tmp_path)
    assert time.process_time() - began < 4  # 1.2 s on an idle machine
    assert (seen.pictures, seen.looked_at) == (2_500, 2_000)


@pytest.mark.parametrize(("ground", "ink"), [(200, 0), (60, 255)])
def test_wide_drawings_on_grey_are_padded_with_the_ground(
    ground: int, ink: int, tmp_path: Path
) -> None:
    drawings(tmp_path, ground=ground, ink=ink, size=(60, 28))
    assert surveyed(tmp_path).reading.fit == "pad"
    assert (read(tmp_path).images[:, :, [0, -1]] == 0).all()
