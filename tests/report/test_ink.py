"""The report of a run whose strokes have ink, on two layers."""

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from npdraw.artifacts import read_artifact
from npdraw.drawings.drawing_model import DrawingModel, open_model
from npdraw.drawings.frames import prefixes, rendered
from npdraw.drawings.strokes import fingerprint, from_json
from npdraw.model.ink import InkBrush
from npdraw.report.gallery import banks
from npdraw.report.limits import Limits
from npdraw.report.outputs import outputs_of
from npdraw.report.runs import find_runs
from tests.report.pages import RUNTIME, Page, tile_of


@pytest.fixture(scope="module")
def model(inked: Path) -> DrawingModel:
    return open_model(inked / "model.safetensors", RUNTIME)


def test_the_stepper_has_strokes_with_ink_of_both_layers(
    inked: Path, model: DrawingModel, written: Callable[..., Page]
) -> None:
    page = written(inked)
    assert page.missing == ""
    steps = set()
    for number, entry in enumerate(page.drawings[:4]):
        drawing = from_json(entry["drawing"], model.brush)
        assert fingerprint(drawing) == fingerprint(model.sample(1, number))
        assert entry["drawing"]["part_size"] == [4, 2]
        canvases = rendered(model, prefixes(drawing)[0])[0]
        for frame, at in zip(canvases, entry["canvas"]["at"], strict=True):
            shown = tile_of(entry["canvas"], at)
            assert np.array_equal(shown, frame.permute(1, 2, 0).numpy())
        steps |= {stroke["step"] for stroke in entry["drawing"]["strokes"]}
    assert min(steps) < 4 <= max(steps)


def test_parts_and_inks_of_each_layer(
    inked: Path, model: DrawingModel, written: Callable[..., Page]
) -> None:
    text, usage = (
        written(inked).content.decode(),
        read_artifact(inked / "parse.safetensors", kind="parse").tensors["usage"].view(2, 6),
    )
    assert re.findall(r"<h3>(Layer .*?)</h3>", text) == [
        "Layer 1: 4 x 4 pixels",
        "Layer 2: 2 x 2 pixels",
    ]
    titles = re.findall(r'title="Part (\d+) of layer (\d), painted ([\d,]+) times?:', text)
    expected = [
        (str(part), str(layer + 1), f"{usage[layer, part]:,}")
        for layer in range(2)
        for part in sorted(range(6), key=lambda part: (-int(usage[layer, part]), part))
    ]
    assert titles == expected
    sums = [f"{int(usage[layer].sum()):,} of {int(usage.sum()):,} strokes" for layer in range(2)]
    assert all(f"counted over the {words}" in text for words in sums)
    assert text.count("4 inks, on the empty canvas") == text.count("4 inks, on grey") == 2


def test_the_palette_shows_the_inks(inked: Path, model: DrawingModel, stages: Any) -> None:
    outputs = outputs_of(find_runs([inked])[0], stages.npz.parent, RUNTIME)
    (bank,) = banks([outputs], Limits())
    brush = model.brush
    assert isinstance(brush, InkBrush)
    for layer, below in enumerate((brush.ground, torch.tensor(0.5))):
        shown = bank.layers[layer].inks
        assert shown is not None
        content = base64.b64decode(shown.src.partition(",")[2])
        pixels = np.asarray(Image.open(io.BytesIO(content)))[0]
        expected = ((below + brush.inks[layer]).clamp(0, 1) * 255 + 0.5).byte().numpy()
        assert sorted(map(tuple, pixels)) == sorted(map(tuple, expected))
        assert [*pixels.sum(1)] == sorted(pixels.sum(1))


def test_few_parts_of_each_layer_are_shown(inked: Path, stages: Any) -> None:
    outputs = outputs_of(find_runs([inked])[0], stages.npz.parent, RUNTIME)
    (bank,) = banks([outputs], Limits(parts=4))
    assert [len(layer.parts) for layer in bank.layers] == [2, 2]
    assert all("The 4 least used are not shown." in layer.note for layer in bank.layers)


def test_a_model_alone_has_its_own_parts(
    inked: Path, tmp_path: Path, written: Callable[..., Page]
) -> None:
    (tmp_path / "alone.safetensors").write_bytes((inked / "model.safetensors").read_bytes())
    page = written(tmp_path / "alone.safetensors")
    assert "Layer 2: 2 x 2 pixels" in page.content.decode()
