"""Images of tensors: exact levels, refused outside their range, laid out in their places."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.utils import make_grid

from npdraw.errors import DivergedError
from npdraw.inputs.models import read_model
from npdraw.pictures import sheet
from npdraw.pictures.files import MARK, png
from npdraw.pictures.sheet import BORDER, GREY, LEGIBLE, draw, side_by_side, tile, to_uint8


def test_grey_levels_are_the_nearest() -> None:
    values = torch.tensor([0.0, 1.0, 0.5, 1 / 255, 0.4 / 255, 0.6 / 255, 254.4 / 255])
    assert to_uint8(values).tolist() == [0, 255, 128, 1, 0, 1, 254]
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(levels / 255), levels)


@pytest.mark.parametrize(
    ("value", "error"),
    [(float(text), DivergedError) for text in ("nan", "inf", "-inf")]
    + [(value, ValueError) for value in (1.01, -0.01, 255.0)],
)
def test_values_that_are_not_grey_levels_are_refused(value: float, error: type[Exception]) -> None:
    image = torch.full((1, 1, 3, 3), 0.5)
    to_uint8(image)
    image[0, 0, 1, 1] = value
    with pytest.raises(error, match=r"not finite|expected \[0, 1\]"):
        to_uint8(image)


def test_rounding_errors_are_tolerated() -> None:
    assert to_uint8(torch.tensor([-5e-5, 1 + 5e-5])).tolist() == [0, 255]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_png_holds_the_pixels_and_the_text(channels: int, mode: str) -> None:
    pixels = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
    content = png(pixels, "what it shows")
    assert content == png(pixels.clone(), "what it shows")
    picture = Image.open(io.BytesIO(content))
    assert (picture.format, picture.mode, picture.size) == ("PNG", mode, (7, 5))
    assert picture.info[MARK] == "what it shows"
    found = torch.from_numpy(np.array(picture)).view(5, 7, channels).permute(2, 0, 1)
    assert torch.equal(found, pixels)
    assert MARK in Image.open(io.BytesIO(png(pixels))).info


@pytest.mark.parametrize(
    ("shape", "columns", "expected"),
    [
        ((1, 1, 4, 4), None, (1, 1)),
        ((2, 1, 4, 4), None, (2, 1)),
        ((9, 1, 4, 4), None, (3, 3)),
        ((10, 1, 4, 4), None, (4, 3)),
        ((100, 1, 28, 28), None, (10, 10)),
        ((8, 1, 4, 9), None, (4, 2)),
        ((5, 1, 4, 4), 4, (2, 4)),
        ((5, 3, 100, 70), 2, (3, 2)),
    ],
)
def test_every_image_lies_in_its_place(
    shape: tuple[int, ...], columns: int | None, expected: tuple[int, int]
) -> None:
    _, channels, height, width = shape
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    laid = tile(images, columns)
    factor = max(1, LEGIBLE // height)
    assert height * factor > LEGIBLE / 2
    rows, wide = expected
    down, across = height * factor + BORDER, width * factor + BORDER
    assert laid.shape == (channels, rows * down + BORDER, wide * across + BORDER)
    frame = torch.ones(laid.shape, dtype=torch.bool)
    for index, image in enumerate(images):
        top, left = BORDER + index // wide * down, BORDER + index % wide * across
        place = np.s_[:, top : top + height * factor, left : left + width * factor]
        for y in range(factor):
            for x in range(factor):
                assert torch.equal(laid[place][:, y::factor, x::factor], image)
        frame[place] = False
    assert (laid[frame] == GREY).all()


@pytest.mark.parametrize(("count", "channels"), [(2, 1), (10, 3), (100, 1)])
def test_a_sheet_of_several_images_is_the_grid_of_torchvision(count: int, channels: int) -> None:
    images = torch.randint(0, 256, (count, channels, LEGIBLE, LEGIBLE), dtype=torch.uint8)
    columns = round(count**0.5)
    grid = make_grid(images, nrow=columns, padding=BORDER, pad_value=GREY)
    assert torch.equal(tile(images), grid[:channels])


def test_two_pictures_side_by_side() -> None:
    left = torch.randint(0, 256, (2, 1, 3, 4), dtype=torch.uint8)
    right = torch.randint(0, 256, (2, 1, 3, 5), dtype=torch.uint8)
    both = side_by_side(left, right)
    assert torch.equal(both[..., :4], left)
    assert torch.equal(both[..., -5:], right)
    assert (both[..., 4:-5] == GREY).all()
    assert both.shape[3] > 9


def test_drawings_depend_on_their_seed_alone(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _, _ = read_model(trained.model)
    every = draw(model.prior, list(range(70)))  # more than one batch
    lists = [[69], [3, 1, 2], list(range(69, -1, -1)), [5, 5], list(range(0, 70, 2)), [64, 0]]
    for chunk, portion in ((sheet.SAMPLE_BATCH, sheet.SAMPLE_QUEUE), (7, 7), (7, 28), (7, 70)):
        monkeypatch.setattr(sheet, "SAMPLE_BATCH", chunk)
        monkeypatch.setattr(sheet, "SAMPLE_QUEUE", portion)
        for seeds in lists:
            found = draw(model.prior, seeds)
            assert len(found) == len(seeds)
            for name in ("whether", "where", "what"):
                assert torch.equal(getattr(found, name), getattr(every, name)[seeds])
    different = {tuple(row.tolist()) for row in torch.cat([every.whether, every.what], 1)}
    assert len(different) > 30
