"""Single pictures for models of named data sets, which do not say how pictures are read."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from npdraw.datasets.one_picture import notes_on_picture, reading_of_picture
from npdraw.drawings.drawing_model import DrawingModel, open_model
from npdraw.drawings.named import drawing_of_picture, named_drawing, noted
from npdraw.reading import Reading
from tests.datasets.own_pictures import drawing
from tests.tiny_stages import tiny_runtime

NOTE = "dark strokes on a light ground, inverted"


@pytest.fixture
def named(made: Any) -> DrawingModel:
    """A model that says that it was made from MNIST."""
    return of_set(open_model(made.model, tiny_runtime({})), "mnist")


def of_set(model: DrawingModel, name: str) -> DrawingModel:
    return replace(model, header=replace(model.header, dataset={"name": name}))


def image_of(picture: Image.Image, model: DrawingModel, folder: Path) -> tuple[torch.Tensor, Any]:
    path = folder / "x.png"
    picture.save(path)
    named = named_drawing(str(path), model, folder)
    uploaded = drawing_of_picture(path.read_bytes(), model)
    assert named.image is not None and uploaded.image is not None
    assert torch.equal(named.image, uploaded.image)
    assert uploaded.notes == tuple(note.replace(str(path), "a picture") for note in named.notes)
    return named.image, noted(named)


def test_dark_strokes_are_inverted(named: DrawingModel, tmp_path: Path) -> None:
    board, nothing = image_of(drawing(3), named, tmp_path)
    assert nothing == {}
    paper, notes = image_of(drawing(3, ground=255, ink=0), named, tmp_path)
    assert torch.equal(paper, board)
    assert notes == {"notes": [f"{tmp_path / 'x.png'}: {NOTE}"]}
    clear = drawing(3, "RGBA", ground=(0, 0, 0, 0), ink=(0, 0, 0, 255))
    assert torch.equal(image_of(clear, named, tmp_path)[0], board)
    pale = drawing(3, ground=230, ink=90)
    assert torch.equal(image_of(pale, named, tmp_path)[0], board)


def test_wide_pictures_are_padded(named: DrawingModel, tmp_path: Path) -> None:
    wide = drawing(3, ground=255, ink=0, size=(60, 28))
    assert reading(wide) == Reading("white", invert=True, fit="pad")
    image, _ = image_of(wide, named, tmp_path)
    assert image[0, 0, [0, -1]].max() == 0 and image.max() == 1


def reading(picture: Image.Image) -> Reading | None:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return reading_of_picture(buffer.getvalue())


def test_light_strokes_are_read_as_they_are(tmp_path: Path) -> None:
    assert reading(drawing(3)) == Reading()
    assert reading(Image.new("L", (9, 9), 255)) is None
    assert reading_of_picture(b"no picture") is None
    assert reading_of_picture(tmp_path / "none.png") is None


def test_models_of_own_pictures_follow_their_reading(made: Any, tmp_path: Path) -> None:
    model = open_model(made.model, tiny_runtime({}))
    image, notes = image_of(drawing(3, ground=255, ink=0), model, tmp_path)
    assert image.mean() > 0.5 and notes == {}


def own(model: DrawingModel, reading: Reading) -> DrawingModel:
    """Return a model that says that its pictures were read so."""
    dataset = {"name": "folder", "reading": reading.record()}
    return replace(model, header=replace(model.header, dataset=dataset))


def test_a_picture_that_looks_the_other_way_round_is_noted(made: Any, tmp_path: Path) -> None:
    model = open_model(made.model, tiny_runtime({}))
    paper, board = own(model, Reading("white", invert=True)), own(model, Reading())
    dark, light = drawing(3, ground=255, ink=0), drawing(3)
    for ours, other, kind in (
        (paper, light, "light strokes on a dark"),
        (board, dark, "dark strokes on a light"),
        (own(model, Reading("white")), light, "light strokes on a dark"),  # --invert no
    ):
        _, notes = image_of(other, ours, tmp_path)
        assert notes["notes"] == [
            f"{tmp_path / 'x.png'}: {kind} ground, the other way round than the model's pictures: "
            "invert it first"
        ]
    assert image_of(dark, paper, tmp_path)[1] == image_of(light, board, tmp_path)[1] == {}
    assert not list(notes_on_picture(tmp_path / "x.png", Reading("white"), strokes=False))


def test_what_is_under_transparent_pixels_is_noted_for_models_of_a_named_set(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.png"
    for opacity, expected in ((0, ["its transparent pixels are put on black"]), (255, [])):
        Image.new("RGBA", (8, 8), (200, 30, 60, opacity)).save(path)
        assert list(notes_on_picture(path, None, strokes=False)) == expected
        assert not list(notes_on_picture(path, Reading("white"), strokes=False))


def test_a_picture_that_is_cropped_is_noted(made: Any, tmp_path: Path) -> None:
    model = own(open_model(made.model, tiny_runtime({})), Reading())
    _, notes = image_of(drawing(3, size=(80, 28)), model, tmp_path)
    assert notes["notes"] == [
        f"{tmp_path / 'x.png'}: cropped from 80 x 28 to the 28 x 28 in the middle"
    ]
    assert image_of(drawing(3, size=(30, 28)), model, tmp_path)[1] == {}
    padded = own(model, Reading(fit="pad"))
    assert image_of(drawing(3, size=(80, 28)), padded, tmp_path)[1] == {}
