"""Models and drawings show themselves: pictures for a notebook, one line elsewhere."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

import npdraw
from npdraw.drawings.display import MOST, SAMPLES, Drawings, Picture
from npdraw.drawings.drawing_model import DrawingModel
from npdraw.drawings.edit import Changes, changed
from npdraw.drawings.frames import rendered
from npdraw.errors import UsageError
from npdraw.pictures.sheet import GREY


def frames(content: bytes) -> list[np.ndarray]:
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG"
        return [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(picture)]


def shown(content: bytes) -> np.ndarray:
    (frame,) = frames(content)
    return frame


def test_a_model_shows_the_same_samples_every_time(model: DrawingModel, trained: Any) -> None:
    sheet = model._repr_png_()
    assert sheet == model.sample(SAMPLES).picture().png
    assert sheet == npdraw.load(trained.model, precision="fp32")._repr_png_()
    assert shown(sheet).std() > 20


def test_a_model_is_one_line_of_facts(model: DrawingModel, shipped: Path) -> None:
    line = repr(model)
    assert len(line.splitlines()) == 1
    bound = f"{model.header.metrics['nll']:.2f}"
    for fact in (str(model.path), "8 x 8, binary", "40 images of npz", "4 cells, 8 parts", bound):
        assert fact in line, line
    named = {**model.header.dataset, "classes": ["a", "b"]}
    header = replace(model.header, config={**model.header.config, "classes": {}}, dataset=named)
    assert "images of npz, 2 classes;" in repr(replace(model, header=header))
    assert "nats" not in repr(npdraw.load(shipped / "mnist.safetensors"))  # it has no such figure


def test_html_has_the_facts_and_the_sheet_and_loads_nothing(model: DrawingModel) -> None:
    page = model._repr_html_()
    assert repr(model)[1:-1] in page
    (content,) = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert base64.b64decode(content) == model._repr_png_()
    assert "//" not in page.replace(content, "").replace(str(model.path), "")


def test_drawings_are_pairs_of_canvas_and_image(model: DrawingModel) -> None:
    z = model.sample(3, seed=5)
    canvases, images = rendered(model, z)
    picture = shown(z._repr_png_() or b"")
    factor = (picture.shape[0] - 8) // 8
    assert factor > 10
    small = picture[4 + factor // 2 :: factor][:8]
    for number in range(3):
        left = 4 + number * (17 * factor + 4)
        columns = left + factor // 2 + factor * np.arange(17)
        np.testing.assert_array_equal(small[:, columns[:8]], canvases[number, 0])
        assert (small[:, columns[8]] == GREY).all()
        np.testing.assert_array_equal(small[:, columns[9:]], images[number, 0])


def test_what_is_made_of_drawings_shows_itself_too(model: DrawingModel) -> None:
    z = model.sample(8)
    images = model.decode(model.paint(z))
    step = int(z.whether[0].nonzero()[0])
    fixed = torch.arange(model.layout.steps) == step
    made = {
        "rows": z[2:4],
        "one": z[3],
        "edited": changed(z[:1], Changes(remove=[step]), model.brush),
        "kept": z.only(fixed),
        "completed": model.complete(z[:1], fixed, n=2),
        "given": model.complete(z[:1], fixed | True, n=2),
        "parsed": model.parse(images),
        "encoded": model.encode(images),
    }
    for name, drawings in made.items():
        assert isinstance(drawings, Drawings), name
        assert drawings.model is model, name
        assert shown(drawings._repr_png_() or b"").size > 100, name
    assert made["edited"]._repr_png_() != z[:1]._repr_png_()
    assert made["one"]._repr_png_() == z[3:4]._repr_png_()


def test_drawings_are_one_line(model: DrawingModel) -> None:
    z = model.sample(5)
    strokes = z.whether.sum(1)
    span = f"{strokes.min()} to {strokes.max()}"
    assert repr(z) == f"<5 drawings of 4 cells, {span} strokes>"
    assert repr(z[0]) == repr(z[:1]) == f"<1 drawing of 4 cells, {strokes[0]} strokes>"
    assert repr(z[:0]) == "<0 drawings of 4 cells, 0 strokes>"
    assert z[:0]._repr_png_() is None


def test_a_picture_has_no_more_drawings_than_a_screen(model: DrawingModel) -> None:
    z = model.sample(MOST + 5)
    assert z._repr_png_() == z[:MOST]._repr_png_() != z[: MOST - 1]._repr_png_()


def test_an_animation_adds_the_strokes_one_by_one(model: DrawingModel) -> None:
    z = model.sample(2, seed=7)
    moving = z.animation(fps=5)
    found = frames(moving.png)
    assert len(found) == 1 + int(z.whether.sum(1).max())
    assert not found[0][4:-4, 4 : 4 + 8].any()  # an empty canvas
    with Image.open(io.BytesIO(moving.png)) as picture:
        assert picture.info["duration"] == 200
    assert moving._repr_png_() == moving.png
    assert repr(moving) == f"<picture, PNG of {len(moving.png):,} bytes>"
    assert isinstance(z[0].animation(), Picture)
    with pytest.raises(UsageError, match="17 drawings side by side"):
        model.sample(17).animation()
    with pytest.raises(UsageError, match=r"fps 0\.0, not in"):
        z.animation(fps=0.0)


def test_drawings_with_ink_show_themselves_in_colour(inked: DrawingModel) -> None:
    z = inked.sample(4)
    assert "20 cells" in repr(z) and z[:2].ink is not None
    with Image.open(io.BytesIO(z._repr_png_() or b"")) as picture:
        assert picture.mode == "RGB"
    assert "colour" in repr(inked) and "6 parts in each of 2 layers" in repr(inked)
