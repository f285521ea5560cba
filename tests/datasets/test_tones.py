"""Which tones mean all levels, what becomes black and white, and what a line says about it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from npdraw.datasets import Source
from npdraw.datasets.embedded import glyphs
from npdraw.datasets.ground import ends
from npdraw.datasets.survey import survey
from npdraw.reading import Wanted, short
from tests.datasets.own_pictures import drawing, drawings, read, shaded, surveyed
from tests.datasets.test_choices import noisy, written


@pytest.mark.parametrize("values", [(0, 127, 254), (255, 128, 0), (0, 48, 255), (255, 200, 0)])
def test_areas_of_a_third_tone_are_levels(values: tuple[int, int, int], tmp_path: Path) -> None:
    def picture(number: int, *, blank: bool = False) -> Image.Image:
        drawn = drawing(number, ground=values[0], ink=values[2], size=(64, 64), width=18)
        drawn.paste(values[0 if blank else 1], (40, 20, 56, 34))
        return drawn

    assert not surveyed(written(tmp_path / "a", picture)).binarize
    two = written(tmp_path / "b", lambda number: picture(number, blank=True))
    assert surveyed(two).binarize


def scanned_body(number: int) -> Any:
    """Return values of air, a body and bones, as in a CT scan."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    body = np.where(x**2 / 0.6 + y**2 / 0.8 < 1, 40 + 30 * np.sin(6 * x + number), -1000)
    bone = np.where((x - 0.2) ** 2 + (y - number / 30) ** 2 < 0.02, 900, 0)
    return (body + bone).round().astype(np.int32)


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_whole_numbers_below_0_are_read_from_the_smallest_to_the_largest(
    kind: str, tmp_path: Path
) -> None:
    values = np.stack([scanned_body(number) for number in range(12)])
    values[2, 0, :2] = (-32768, 32767)  # stray ones
    source = Source(kind, tmp_path / ("a.npz" if kind == "npz" else "a"))
    if kind == "folder":
        (tmp_path / "a").mkdir()
        for number, image in enumerate(values):
            Image.fromarray(image).save(tmp_path / "a" / f"{number:02}.tif")
        air, body = read(tmp_path / "a").images[:, 0, [0, 14], [8, 14]].T
        assert air.max() == 0
        assert body.min() > 120 and body.max() < 170  # the bone is near
    else:
        np.savez(tmp_path / "a.npz", train=values, test=values[:4])
    seen = survey(source, Path(), Wanted())
    assert (seen.binarize, seen.reading.black) == (False, -1000)
    assert 900 < seen.reading.white < 1000
    assert "values from -32768 to 32767: -1000 becomes black" in seen.lines()[1]


def test_a_few_stray_values_below_0_change_nothing(tmp_path: Path) -> None:
    values = np.stack([np.asarray(shaded(number)).astype(np.int16) for number in range(20)])
    values[3, 0, 0] = -7
    np.savez(tmp_path / "a.npz", train=values, test=values[:4])
    reading = survey(Source("npz", tmp_path / "a.npz"), Path(), Wanted()).reading
    assert (reading.black, reading.white) == (0, 255)


def test_tinted_paper_becomes_black_with_no_ink_on_it(tmp_path: Path) -> None:
    how: dict[str, Any] = {"ground": (243, 232, 200), "ink": (70, 70, 75), "width": 14}
    drawings(tmp_path, mode="RGB", size=(120, 112), change=noisy(4), **how)
    seen = surveyed(tmp_path)
    assert (seen.reading.invert, seen.reading.background) == (True, "white")
    paper = read(tmp_path).images[:, 0, 14:, 14:]
    assert paper.mean() < 1
    assert (paper < 25).all()


def test_light_and_dark_strokes_on_transparency_are_levels_on_a_grey(tmp_path: Path) -> None:
    how: dict[str, Any] = {"mode": "LA", "ground": (0, 0)}
    drawings(tmp_path / "a", 10, ink=(0, 255), **how)
    drawings(tmp_path / "b", 10, ink=(255, 255), **how)
    for background in ("auto", "#808080"):
        seen = surveyed(tmp_path, Wanted(background=background))
        assert (seen.binarize, seen.reading.background) == (False, "#808080")
        assert "all have transparent pixels, put on #808080" in seen.lines()[1]
        images = read(tmp_path, background=background).images
        assert set(images[:, 0].reshape(len(images), -1).min(1).tolist()) == {0, 128}
        assert set(images[:, 0].reshape(len(images), -1).max(1).tolist()) == {128, 255}


def test_the_ground_that_is_wanted_is_the_one_that_is_named(tmp_path: Path) -> None:
    drawings(tmp_path, mode="LA", ground=(0, 0), ink=(0, 255))
    seen = surveyed(tmp_path, Wanted(background="#c0c0c0"))
    assert seen.binarize
    assert "all have transparent pixels, put on #c0c0c0;" in seen.lines()[1] + ";"


def test_wide_strokes_on_grey_paper_in_uneven_light_are_strokes(tmp_path: Path) -> None:
    y, x = np.mgrid[-1:1:160j, -1:1:160j]
    noise = np.random.default_rng(0)
    paper = 205 - 40 * (x**2 + y**2) / 2

    def scan(number: int) -> Image.Image:
        drawn = drawing(number, size=(32, 32), width=4).resize((160, 160), Image.Resampling.NEAREST)
        pixels = np.where(np.asarray(drawn) > 0, 65, paper + noise.normal(0, 5, paper.shape))
        return Image.fromarray(pixels.round().astype(np.uint8))

    seen = surveyed(written(tmp_path, scan))
    assert (seen.binarize, seen.reading.invert) == (True, True)
    images = read(tmp_path).images
    assert (images[:, :, :2] < 25).mean() > 0.99
    assert (images > 230).mean() > 0.04


def test_sets_of_which_about_half_look_the_other_way_round_say_so(tmp_path: Path) -> None:
    drawings(tmp_path / "a", 11)
    drawings(tmp_path / "b", 9, ground=255, ink=0)
    line = surveyed(tmp_path).lines()[0]
    assert "; light strokes on a dark ground in about half of them; 9 of 20 look" in line
    assert "the other way round (dark strokes on a light ground)" in line


@pytest.mark.parametrize(
    ("value", "span", "text"),
    [
        (21.08, 218.9, "21"),
        (13.189, 14, "13.2"),
        (-0.478808, 1.4, "-0.48"),
        (1, 1, "1"),
        (-1, 2, "-1"),
        (-0.001, 2, "0"),
        (1048575, 1048575, "1048575"),
        (0.001, 0.004, "0.001"),
    ],
)
def test_values_have_as_many_digits_as_matter(value: float, span: float, text: str) -> None:
    assert short(value, span) == text


def test_grey_pictures_that_are_read_in_colour_are_called_grey(tmp_path: Path) -> None:
    drawings(tmp_path)
    line = surveyed(tmp_path, Wanted(channels="3")).lines()[0]
    assert line == "20 pictures, 28 x 28, grey: read in colour"


@pytest.mark.parametrize(("ground", "ink"), [(225, 60), (50, 220)])
def test_noisy_ground_has_hardly_any_ink(ground: int, ink: int, tmp_path: Path) -> None:
    drawings(tmp_path / "a", ground=ground, ink=ink, width=6, change=noisy(10))
    drawings(tmp_path / "right", width=8)
    blank = read(tmp_path / "right").images == 0
    assert (read(tmp_path / "a").images[blank] > 0).mean() < 0.06


def test_the_soft_edges_of_tiny_pictures_are_not_noise() -> None:
    pictures = [
        np.asarray(Image.fromarray(image).resize((8, 8), Image.Resampling.BOX))
        for image in glyphs("test")[:40, 0]
    ]
    assert ends(pictures, pictures, light_ground=False)[0] == 0
