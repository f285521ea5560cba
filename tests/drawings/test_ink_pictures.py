"""Drawings whose strokes have ink, on two layers: from images, completed, and as pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from npdraw.drawings.animate import animate, interpolate
from npdraw.drawings.complete import complete
from npdraw.drawings.drawing_model import DrawingModel
from npdraw.drawings.frames import factor_for, moving, prefixes, rendered, transitions
from npdraw.drawings.reconstruct import reconstruct
from npdraw.drawings.regions import Region
from npdraw.drawings.strokes import as_json, fingerprint, write_drawing
from npdraw.pictures.sheet import LEGIBLE, canvas_images
from tests.drawings.inked import COARSE, CONTRASTS, INKS, PARTS, STEPS, drawing

# --- Images to drawings and back ---


def test_no_other_stroke_of_the_last_layer_is_better(inked: DrawingModel) -> None:
    x = torch.rand(1, 3, 8, 8)
    z, sizes = inked.parse(x), (PARTS, INKS, CONTRASTS)
    error = float((inked.paint(z)[:, :-1] - x).square().sum())
    what, ink, contrast = torch.cartesian_prod(*map(torch.arange, sizes)).T
    for step in range(COARSE, STEPS):
        others = z.repeat(len(what))
        others.whether[:, step] = True
        for tensor, values in ((others.what, what), (others.ink, ink), (others.contrast, contrast)):
            assert tensor is not None
            tensor[:, step] = values
        errors = (inked.paint(others)[:, :-1] - x).square().flatten(1).sum(1)
        slack = 0 if z.whether[0, step] else inked.config.parse.threshold
        assert float(errors.min()) >= error - slack - 1e-5


def test_encodings_are_made_layer_by_layer(inked: DrawingModel) -> None:
    x = torch.rand(4, 3, 8, 8)
    z = inked.encode(x)
    assert torch.equal(z.canonical().what, z.what)
    assert fingerprint(inked.encode(x[:2])) == fingerprint(z[:2])
    with torch.no_grad():
        first = inked.network.encode(x)
        likeliest = first.likeliest()
        canvas = inked.brush.paint_layer(likeliest, 0, None)
        second = inked.network.encoder(x, 1, canvas).likeliest()
    assert fingerprint(z) == fingerprint(likeliest.map(lambda a, b: torch.cat([a, b], 1), second))
    drawn = [fingerprint(inked.encode(x, seed=seed)) for seed in range(4)]
    assert len(set(drawn)) > 1
    assert fingerprint(inked.encode(x, seed=0)) == drawn[0]


def test_reconstructions_count_strokes_of_all_layers(
    inked: DrawingModel, ink_path: Path, command: dict[str, Any], tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    out = tmp_path / "out.png"
    result = reconstruct(ink_path, names=[str(tmp_path / "x.png")], samples=2, out=out, **command)
    (row,) = result["figures"]
    x = inked.preprocess(torch.tensor(pixels.transpose(2, 0, 1))[None])
    z = inked.parse(x)
    assert row["parse_parts"] == int(z.whether.sum())
    error = (inked.paint(z)[:, :-1] - x).square().mean()
    assert row["parse_canvas_mse"] == pytest.approx(float(error), rel=1e-5)


# --- Completions and animations ---


def test_completions_keep_strokes_of_both_layers(
    inked: DrawingModel, stages: Any, ink_path: Path, command: dict[str, Any], tmp_path: Path
) -> None:
    given = inked.sample(1, 5)
    write_drawing(tmp_path / "x.json", given, inked.brush)
    more = {"seeds": [0, 1], "temperature": 1.0, "out": tmp_path / "x.png", **command}
    more |= {"name": str(tmp_path / "x.json"), "progress": stages.Recorder()}
    strokes = as_json(given, inked.brush)["strokes"]
    kept = complete(ink_path, prefix=None, region=None, **more)
    assert kept["given"] == strokes
    assert all(s in d["strokes"] for d in kept["drawings"] for s in strokes)
    region = complete(ink_path, prefix=None, region=Region(0, 4, 0, 8), **more)
    inside = {0, 1, *range(4, 12)}
    assert region["given"] == [s for s in strokes if s["step"] in inside]
    for drawn in region["drawings"]:
        assert [s for s in drawn["strokes"] if s["step"] in inside] == region["given"]
    assert region["drawings"][0]["strokes"] != region["drawings"][1]["strokes"]
    several = complete(ink_path, prefix=3, region=None, **more)
    assert several["given"] == strokes[:3]
    assert all(d["strokes"][:3] == strokes[:3] for d in several["drawings"])


def test_outlines_have_the_size_of_their_layer(inked: DrawingModel) -> None:
    z = drawing(s3=(1, 2, 1), s4=(2, 1, 0), s19=(3, 0, 2))
    frames, outlines = moving(inked, [prefixes(z)])
    assert len(frames) == 4
    factor = factor_for(8, 2) * max(1, LEGIBLE // (8 * factor_for(8, 2)))
    assert not outlines[0].any()
    for outline, (top, left, side) in zip(
        outlines[1:], [(4, 4, 4), (0, 0, 2), (6, 6, 2)], strict=True
    ):
        rows, columns = (outline.any(axis).nonzero().flatten() for axis in (1, 0))
        assert len(rows) == len(columns) == side * factor
        assert (int(columns[0]) - int(rows[0])) == (left - top) * factor
    assert transitions(z, drawing(s3=(1, 2, 0), s4=(2, 1, 0)))[1] == [3, 19]


def test_animations_have_a_frame_for_each_stroke(
    inked: DrawingModel, ink_path: Path, command: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "x.apng"
    result = animate(ink_path, names=["seed:0", "seed:1"], fps=8.0, out=out, **command)
    assert result["steps"] == [int(inked.sample(1, n).whether.sum()) for n in range(2)]
    with Image.open(out) as picture:
        assert picture.n_frames == 1 + max(result["steps"])
    way = interpolate(
        ink_path, names=("seed:0", "seed:1"), fps=4.0, out=tmp_path / "y.webp", **command
    )
    assert way["steps"] == [int(inked.sample(1, 0).differs(inked.sample(1, 1)).sum())]


def test_pictures_show_canvases_beyond_black_and_white(inked: DrawingModel) -> None:
    z = inked.sample(12)
    canvas = inked.paint(z)
    assert float(canvas.min()) < 0 and float(canvas.max()) > 1
    shown = rendered(inked, z)[0]
    assert torch.equal(shown, canvas_images(canvas))
    assert int(shown.min()) == 0 and int(shown.max()) == 255
