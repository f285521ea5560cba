"""Edits are local, and never lose a drawing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import npdraw
from npdraw.drawings.drawing_model import DrawingModel
from npdraw.drawings.edit import Changes, changed, decode, edit
from npdraw.drawings.named import named_drawing
from npdraw.drawings.regions import Region, cells_in
from npdraw.drawings.strokes import fingerprint, read_drawing
from npdraw.errors import UsageError
from npdraw.model.brush import PartBrush
from npdraw.model.latents import Latents
from npdraw.model.layout import Layout
from npdraw.runtime.settings import Runtime

BRUSH = PartBrush(Layout(8, 8, part_size=4, stride=4), torch.rand(8, 1, 4, 4))

MARGIN = 1
"""Pixels around a pixel that a decoder of one 3 x 3 convolution sees."""


class Near(nn.Module):
    """A decoder that sees each pixel and its eight neighbours."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(2, 1, 3, padding=MARGIN)

    def mean(self, canvas: torch.Tensor) -> torch.Tensor:
        return self.layer(canvas).sigmoid()  # type: ignore[no-any-return]


def test_edits_are_local(trained: Any) -> None:
    model = npdraw.load(trained.model)
    model.network.decoder = Near()  # type: ignore[assignment]
    torch.manual_seed(0)
    drawings = model.sample(40)
    for number in range(100):
        a, b = drawings[number % 40][None], drawings[(7 * number + 1) % 40][None]
        top, left = (3 * int(torch.randint(2, ())) for _ in range(2))
        region = Region(top, top + 5 + number % 3, left, left + 5)
        mixed = a.with_cells(cells_in(region, model), b)
        before, after = model.paint(a), model.paint(mixed)
        outside = torch.ones(8, 8, dtype=torch.bool)
        outside[region.top : region.bottom, region.left : region.right] = False
        assert torch.equal(before[..., outside], after[..., outside])
        far = torch.ones(8, 8, dtype=torch.bool)
        rows = slice(max(0, region.top - MARGIN), region.bottom + MARGIN)
        far[rows, max(0, region.left - MARGIN) : region.right + MARGIN] = False
        assert torch.equal(model.decode(before)[..., far], model.decode(after)[..., far])


def drawing(*parts: int) -> Latents:
    """A drawing with a part at each step, -1 for none."""
    what = torch.tensor([parts])
    return Latents(what >= 0, torch.zeros_like(what), what.clamp_min(0))


def test_parts_are_removed_moved_replaced_and_added() -> None:
    z = drawing(3, -1, 5, -1)
    for changes, expected in (
        (Changes(), z),
        (Changes(remove=[0]), drawing(-1, -1, 5, -1)),
        (Changes(move=[(0, 1)]), drawing(-1, 3, 5, -1)),
        (Changes(replace=[(2, 7)]), drawing(3, -1, 7, -1)),
        (Changes(add=[(3, 1)]), drawing(3, -1, 5, 1)),
        (Changes(remove=[2], move=[(0, 2)], replace=[(2, 6)], add=[(0, 1)]), drawing(1, -1, 6, -1)),
    ):
        assert fingerprint(changed(z, changes, BRUSH)) == fingerprint(expected), changes
    assert fingerprint(z) == fingerprint(drawing(3, -1, 5, -1))  # it is left as it was


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (Changes(remove=[1]), "step 1 paints nothing"),
        (Changes(remove=[4]), "steps are 0..3"),
        (Changes(move=[(0, 2)]), "step 2 paints already"),
        (Changes(move=[(1, 3)]), "step 1 paints nothing"),
        (Changes(replace=[(0, 8)]), "parts are 0..7"),
        (Changes(replace=[(3, 1)]), "step 3 paints nothing"),
        (Changes(add=[(0, 1)]), "step 0 paints already"),
    ],
)
def test_changes_that_cannot_be_made(changes: Changes, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        changed(drawing(3, -1, 5, -1), changes, BRUSH)
    assert words in caught.value.message
    assert caught.value.hint


def test_edit_writes_picture_and_drawing_and_decode_reads_it(
    model: DrawingModel, trained: Any, command: dict[str, Any], tmp_path: Path
) -> None:
    out, region = tmp_path / "x.png", Region(0, 5, 0, 8)
    given = {"name": "seed:1", "other": "test:2", "region": region, "changes": Changes()}
    result = edit(trained.model, **given, out=out, **command)
    a = named_drawing("seed:1", model, command["root"]).drawing
    b = named_drawing("test:2", model, command["root"]).drawing
    expected = a.with_cells(cells_in(region, model), b)
    found = read_drawing(tmp_path / "x.json", model.brush)
    assert fingerprint(found) == fingerprint(expected) != fingerprint(a)
    assert len(result["strokes"]) == int(expected.whether.sum())
    changes = {step for step in range(4) if step < 2 and fingerprint(a) != fingerprint(b)}
    assert set(result["changed_steps"]) <= changes
    assert edit(trained.model, **given, out=out, **command)["up_to_date"]
    decode(trained.model, drawing=str(tmp_path / "x.json"), out=tmp_path / "y.png", **command)
    with Image.open(out) as sheet, Image.open(tmp_path / "y.png") as pair:
        assert sheet.size[0] > sheet.size[1] > pair.size[1]  # three columns, two rows
    with pytest.raises(UsageError, match="--from and --region go together"):
        edit(trained.model, **{**given, "region": None}, out=out, **command)


def test_edit_never_loses_a_drawing_that_it_did_not_write(
    trained: Any, command: dict[str, Any], tmp_path: Path
) -> None:
    out, path = tmp_path / "x.png", tmp_path / "x.json"

    def made(name: str, **more: Any) -> dict[str, Any]:
        given = {"other": None, "region": None, "changes": Changes(), "out": out, **command}
        return edit(trained.model, name=name, **{**given, **more})

    for foreign in ('{"a": 1}', '{"a": NaN}', "notes", "[]", ""):
        path.write_text(foreign)
        with pytest.raises(UsageError, match="not as npdraw edit wrote it"):
            made("seed:1")
        assert path.read_text() == foreign
    made("seed:1", runtime=Runtime(precision="fp32", force=True))
    made("seed:2")  # what it wrote itself it may replace
    written = json.loads(path.read_text())
    with pytest.raises(UsageError, match="input of this command"):
        made(str(path))
    path.write_text(json.dumps({**written, "strokes": written["strokes"][:-1]}))  # by hand
    for name in ("seed:2", "seed:1"):
        with pytest.raises(UsageError, match="not as npdraw edit wrote it"):
            made(name)
    made("seed:2", runtime=Runtime(precision="fp32", force=True))
    assert json.loads(path.read_text()) == written
    assert made("seed:2")["up_to_date"]
