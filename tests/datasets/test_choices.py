"""What a person sees in pictures: paper in a frame, labels, thin colours, noise, uneven light."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from npdraw.datasets import Source
from npdraw.datasets.embedded import glyphs
from npdraw.datasets.ground import ends, evenly_lit, ground_of
from npdraw.datasets.survey import survey
from npdraw.reading import Wanted
from tests.datasets.own_pictures import drawing, drawings, read, shaded, surveyed

WHITE, RED = (255, 255, 255), (230, 20, 20)


def noisy(sigma: float) -> Callable[[Image.Image], Image.Image]:
    """Return a change that adds noise to each colour of a picture."""
    noise = np.random.default_rng(0)

    def changed(picture: Image.Image) -> Image.Image:
        pixels = np.asarray(picture).astype(float)
        return Image.fromarray(
            (pixels + noise.normal(0, sigma, pixels.shape)).clip(0, 255).astype("u1")
        )

    return changed


def written(folder: Path, picture: Callable[[int], Image.Image], count: int = 12) -> Path:
    """Write pictures of the numbers 0 to `count` - 1."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture(number).save(folder / f"{number:02}.png")
    return folder


# Ground.


def framed(number: int, sides: str = "left top right bottom", ground: int = 250) -> Image.Image:
    picture = drawing(number, ground=ground, ink=255 - ground, size=(60, 60))
    boxes = {"left": (0, 0, 3, 60), "top": (0, 0, 60, 3), "right": (57, 0, 60, 60)}
    for side in sides.split():
        picture.paste(255 - ground, boxes.get(side, (0, 57, 60, 60)))
    return picture


@pytest.mark.parametrize("sides", ["left", "left top", "left top right", "left top right bottom"])
@pytest.mark.parametrize("ground", [250, 5])
def test_a_frame_is_not_the_ground(sides: str, ground: int, tmp_path: Path) -> None:
    seen = surveyed(written(tmp_path, lambda number: framed(number, sides, ground)))
    assert (seen.light_ground, seen.reading.invert) == (ground == 250, ground == 250)


def test_solid_shapes_and_rings_are_not_frames() -> None:
    y, x = np.mgrid[:100, :100] - 49.5
    for dark in (
        (abs(x) < 46) & (abs(y) < 46),
        (np.hypot(x, y) < 49) & (np.hypot(x, y) > 20),
        (np.hypot(x, y) < 49) & (np.hypot(x - 9, y) > 8),
    ):
        assert ground_of(~dark).light
        assert not ground_of(dark).light


def test_wider_areas_are_the_ground_where_strokes_are_most_of_the_border() -> None:
    light = np.zeros((64, 64), bool)
    light[:48, 16:] = True  # a bold L, cropped to its strokes
    assert ground_of(light) == (True, False)
    assert ground_of(~light) == (False, False)


@pytest.mark.parametrize("light", [True, False])
def test_tightly_cropped_letters_have_the_wider_areas_as_ground(
    light: bool, tmp_path: Path
) -> None:
    def letter(number: int) -> Image.Image:
        picture = Image.new("L", (160, 160))
        font = ImageFont.load_default(size=110)
        ImageDraw.Draw(picture).text(
            (80, 80), "AEFKLMRTXZ47"[number], 255, font, "mm", stroke_width=5
        )
        square = picture.crop(picture.getbbox()).resize((64, 64))
        return square.point(lambda value: 255 - value) if light else square

    seen = surveyed(written(tmp_path, letter))
    assert (seen.binarize, seen.light_ground) == (True, light)


def test_pictures_that_look_the_other_way_round_are_counted(tmp_path: Path) -> None:
    drawings(tmp_path / "a", 14, ground=255, ink=0)
    drawings(tmp_path / "b", 6)
    drawings(tmp_path / "c", 2, ink=0)  # nothing is in them
    seen = surveyed(tmp_path)
    assert (seen.reading.invert, seen.others) == (True, 6)
    assert "; 6 of 22 look the other way round (light strokes on a dark" in seen.lines()[0]


# Values.


def test_dim_pictures_get_full_contrast_and_dark_ones_a_word(tmp_path: Path) -> None:
    def dim(largest: int) -> Callable[[int], Image.Image]:
        return lambda number: shaded(number).point(lambda value: value * largest // 250)

    seen = surveyed(written(tmp_path / "a", dim(60)))
    assert (seen.binarize, seen.reading.white) == (False, seen.values[1])
    assert "values from 0 to 59: 0 becomes black, 59 white" in seen.lines()
    seen = surveyed(written(tmp_path / "b", dim(100)))
    assert (seen.binarize, seen.reading.white) == (False, 255)
    assert "values from 0 to 99 of 255: as dark as they are" in seen.lines()


def labels(number: int, values: tuple[int, ...]) -> Image.Image:
    picture = Image.new("L", (64, 64))
    for place, value in enumerate(values):
        top, left = 5 + 20 * (place // 2) + number, 5 + 20 * (place % 2)
        picture.paste(value, (left, top, left + 15, top + 15))
    return picture


@pytest.mark.parametrize("values", [(1, 2, 255), (5, 15, 10, 255)])
def test_low_labels_beside_255_are_seen(values: tuple[int, ...], tmp_path: Path) -> None:
    seen = surveyed(written(tmp_path, lambda number: labels(number, values)))
    white = max(values[:-1])
    assert (seen.binarize, seen.reading.white) == (False, white)
    assert f"0 becomes black, {white} white, and so do larger ones" in seen.lines()[1]
    assert len(np.unique(read(tmp_path).images)) >= len(values)


@pytest.mark.parametrize(
    ("ground", "values"),
    [(255, (0, 10)), (0, (10, 128, 255)), (0, (255,))],
    ids=["dark inks on paper", "greys in some", "a speck"],
)
def test_other_dark_values_are_not_labels(
    ground: int, values: tuple[int, ...], tmp_path: Path
) -> None:
    def picture(number: int) -> Image.Image:
        some = tuple(value for value in values if value != 128 or number % 2)
        drawn = labels(number, some)
        if ground:
            drawn = Image.composite(
                drawn, Image.new("L", (64, 64), 255), labels(number, (255, 255))
            )
        drawn.paste(3, (60, 60, 64, 64))
        return drawn

    seen = surveyed(written(tmp_path, picture), Wanted(pixels="levels"))
    assert seen.reading.white == 255


def test_the_values_of_transparent_pictures_are_those_of_all_bytes(tmp_path: Path) -> None:
    def dim(number: int) -> Image.Image:
        grey = shaded(number)
        clear = grey.point(lambda value: 255 * (value > 0))
        return Image.merge("RGBA", [grey.point(lambda value: value // 5)] * 3 + [clear])

    seen = surveyed(written(tmp_path, dim), Wanted(background="black", pixels="levels"))
    assert (seen.reading.white, seen.values) == (255, (0, 255))


def test_labels_that_differ_from_picture_to_picture_are_levels(tmp_path: Path) -> None:
    seen = surveyed(written(tmp_path, lambda number: labels(number, (2 * number + 1,))))
    assert (seen.binarize, seen.reading.white) == (False, 23)


def test_dark_noise_beside_white_ink_is_not_labels(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)

    def change(picture: Image.Image) -> Image.Image:
        pixels = np.asarray(picture)
        return Image.fromarray(np.maximum(pixels, noise.integers(0, 6, pixels.shape)).astype("u1"))

    drawings(tmp_path, change=change)
    seen = surveyed(tmp_path)
    assert (seen.binarize, seen.reading.white) == (True, 255)


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_a_hot_pixel_does_not_decide_what_is_white(kind: str, tmp_path: Path) -> None:
    pictures = np.stack([np.asarray(shaded(number)).astype(np.uint16) * 4 for number in range(20)])
    pictures[3, 0, 0] = 65535
    if kind == "folder":
        written(tmp_path / "a", lambda number: Image.fromarray(pictures[number]), 20)
        assert read(tmp_path / "a").images.mean((1, 2, 3)).min() > 10  # the hot one is not dark
    else:
        np.savez(tmp_path / "a.npz", train=pictures, test=pictures[:4])
    seen = survey(Source(kind, tmp_path / ("a.npz" if kind == "npz" else "a")), Path(), Wanted())
    assert (seen.binarize, seen.reading.white) == (False, 1023)
    assert "0 becomes black, 1023 white, and so do larger ones" in seen.lines()[1]


def test_the_few_lit_pixels_of_sparse_pictures_are_not_stray(tmp_path: Path) -> None:
    images = np.zeros((40, 64, 64), np.int64)
    images[:10, 30, 20] = 5
    np.savez(tmp_path / "a.npz", train=images, test=images)
    assert survey(Source("npz", tmp_path / "a.npz"), Path(), Wanted()).reading.white == 5


def test_a_small_range_has_no_stray_values(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 50, (20, 64, 64))
    images[0, 0, 0] = 60
    np.savez(tmp_path / "a.npz", train=images, test=images)
    assert survey(Source("npz", tmp_path / "a.npz"), Path(), Wanted()).reading.white == 60


# Strokes and ground.


def test_the_soft_strokes_of_small_drawings_stay_soft() -> None:
    pictures = [
        np.asarray(Image.fromarray(image).resize((12, 12), Image.Resampling.BOX))
        for image in glyphs("test")[:40, 0]
    ]
    _, white = ends(pictures, pictures, light_ground=False)
    assert white > 0.8 * np.median([picture.max() for picture in pictures])


@pytest.mark.parametrize(
    ("ground", "ink", "sigma"), [(225, 60, 0), (225, 60, 6), (225, 60, 12), (90, 225, 6)]
)
def test_noisy_ink_and_ground_become_black_and_white(
    ground: int, ink: int, sigma: float, tmp_path: Path
) -> None:
    drawings(tmp_path, ground=ground, ink=ink, size=(28, 28), width=6, change=noisy(sigma))
    images = read(tmp_path).images[:, 0]
    drawings(tmp_path / "right", width=4)
    inner = read(tmp_path / "right").images[:, 0] == 255
    drawings(tmp_path / "right", width=8)
    outer = read(tmp_path / "right").images[:, 0] == 0
    rows = slice(0, len(inner))
    assert (images[rows][inner] > 230).mean() > 0.9
    assert (images[rows][outer] < 25).mean() > 0.9


def test_paler_ink_of_some_pictures_becomes_white_too(tmp_path: Path) -> None:
    drawings(tmp_path / "a", 15)
    drawings(tmp_path / "b", 5, ink=120)
    assert surveyed(tmp_path).reading.white == 127.5


def lit(number: int, corner: float, shade: float = 0.25) -> Image.Image:
    ink = np.asarray(drawing(number, size=(96, 96), width=5)) / 255
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    light = 240 - (240 - corner) * (x**2 + y**2) / 2
    return Image.fromarray((light * (1 - ink * (1 - shade))).astype(np.uint8))


def test_uneven_light_on_paper_is_not_shading(tmp_path: Path) -> None:
    seen = surveyed(written(tmp_path / "a", lambda number: lit(number, 130)))
    assert (seen.binarize, seen.reading.invert) == (True, True)
    corners = read(tmp_path / "a").images[:, 0][:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.max() < 100

    seen = surveyed(written(tmp_path / "b", lambda number: lit(number, 100, 0.45)))
    assert (seen.binarize, seen.uneven) == (False, True)
    assert "with all levels, as the light is uneven (--pixels binary" in seen.lines()[0]

    def ball(number: int) -> Image.Image:
        y, x = np.mgrid[-1:1:96j, -1:1:96j]
        shade = 180 - (5 + number) * 10 * (x + y)
        return Image.fromarray(np.where(np.hypot(x, y) < 0.6, shade, 245).clip(0, 255).astype("u1"))

    def flats(number: int) -> Image.Image:
        picture = drawing(number, ground=245, ink=0, size=(96, 96), width=3)
        picture.paste(110, (30, 30, 80, 80 + number % 9))
        return picture

    assert evenly_lit(np.asarray(flats(0))) is None
    for folder, drawn in (("c", ball), ("d", flats)):
        seen = surveyed(written(tmp_path / folder, drawn))
        assert (seen.binarize, seen.uneven) == (False, False)


# Colour.


@pytest.mark.parametrize("side", [60, 200, 400])
def test_a_thin_coloured_line_is_colour(side: int, tmp_path: Path) -> None:
    def line(number: int) -> Image.Image:
        picture = Image.new("RGB", (side, side), WHITE)
        ends = (side // 8, side // 8 + number, side * 7 // 8, side * 6 // 8)
        ImageDraw.Draw(picture).line(ends, RED, 1)
        return picture

    assert surveyed(written(tmp_path, line)).channels == 3


@pytest.mark.parametrize(
    ("ground", "ink", "sigma"),
    [
        (WHITE, (20, 20, 20), 12),
        ((240, 225, 190), (30, 30, 30), 3),
        ((200, 210, 235), (40, 45, 60), 3),
    ],
)
def test_noise_and_the_tint_of_paper_are_not_colour(
    ground: Any, ink: Any, sigma: float, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"mode": "RGB", "size": (160, 160), "width": 12}
    drawings(tmp_path, ground=ground, ink=ink, change=noisy(sigma), **how)
    seen = surveyed(tmp_path)
    assert (seen.channels, seen.binarize, seen.reading.invert) == (1, True, True)
    tint = "a tint or traces of colour: read in grey (--channels 3 for colour)"
    assert (tint in seen.lines()[0]) == (ground != WHITE)


def test_ink_on_tinted_paper_and_bright_grounds_are_colour(tmp_path: Path) -> None:
    for number, (ground, ink) in enumerate(
        [((240, 225, 190), (30, 40, 160)), ((255, 240, 120), (0, 0, 0))]
    ):
        folder = tmp_path / str(number)
        drawings(folder, mode="RGB", ground=ground, ink=ink)
        assert surveyed(folder).channels == 3
