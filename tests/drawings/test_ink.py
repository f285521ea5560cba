"""Drawings whose strokes have ink, on two layers: JSON, edits and regions."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import npdraw
from npdraw.drawings.drawing_model import DrawingModel
from npdraw.drawings.edit import UNSEEN, Changes, changed, decode, edit
from npdraw.drawings.regions import Region, cells_in
from npdraw.drawings.strokes import as_json, fingerprint, from_json, read_drawing, write_drawing
from npdraw.errors import ArtifactError, UsageError
from npdraw.inputs.brushes import brush_of
from npdraw.model.brush import PartBrush
from npdraw.model.latents import Latents, blank
from npdraw.model.layout import Layout
from tests.drawings.inked import (
    COARSE,
    CONTRASTS,
    INKS,
    PARTS,
    STEPS,
    drawing,
    write_ink_model,
)

# --- JSON ---


def test_drawings_come_back_exactly(inked: DrawingModel, tmp_path: Path) -> None:
    for seed in range(12):
        one = inked.sample(1, seed)
        write_drawing(tmp_path / "x.json", one, inked.brush)
        result = read_drawing(tmp_path / "x.json", inked.brush)
        for name, tensor in one.tensors().items():
            assert torch.equal(result.tensors()[name], tensor), name
        assert fingerprint(result) == fingerprint(one)


def test_json_names_layers_inks_and_contrasts(inked: DrawingModel) -> None:
    values = as_json(drawing(s1=(5, 3, 2), s7=(0, 1, 0)), inked.brush)
    assert values["part_size"] == [4, 2]
    assert values["strokes"] == [
        {"step": 1, "row": 0, "column": 4, "part": 5, "ink": 3, "contrast": 2},
        {"step": 7, "row": 0, "column": 6, "part": 0, "ink": 1, "contrast": 0},
    ]


@pytest.mark.parametrize("name", ["ink", "contrast"])
def test_ink_and_contrast_count_for_the_fingerprint(name: str) -> None:
    z = drawing(s1=(5, 3, 2))
    other = z.clone()
    other.tensors()[name][0, 1] -= 1
    assert fingerprint(z) != fingerprint(other)
    other = z.clone()
    other.tensors()[name][0, 2] += 1  # where nothing is painted
    assert fingerprint(z) == fingerprint(other)


def stroke(**values: Any) -> dict[str, Any]:
    return {"step": 7, "row": 0, "column": 6, "part": 0, "ink": 1, "contrast": 0} | values


def lacking(name: str) -> dict[str, Any]:
    return {key: value for key, value in stroke().items() if key != name}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "ink": ({"strokes": [stroke(ink=INKS)]}, "ink of stroke 0 is 4, not in 0..3"),
    "negative ink": ({"strokes": [stroke(ink=-1)]}, "ink of stroke 0 is -1, not in 0..3"),
    "contrast": ({"strokes": [stroke(contrast=CONTRASTS)]}, "contrast of stroke 0 is 3, not in"),
    "part": ({"strokes": [stroke(part=PARTS)]}, "part of stroke 0 is 6, not in 0..5"),
    "text": ({"strokes": [stroke(ink="1")]}, "ink of stroke 0 is '1', not a whole number"),
    "true": ({"strokes": [stroke(contrast=True)]}, "contrast of stroke 0 is True"),
    "no ink": ({"strokes": [lacking("ink")]}, "stroke 0 lacks ink"),
    "no contrast": ({"strokes": [lacking("contrast")]}, "stroke 0 lacks contrast"),
    "surplus": ({"strokes": [stroke(layer=1)]}, "stroke 0 has the unknown entry 'layer'"),
    "step": ({"strokes": [stroke(step=STEPS)]}, "step of stroke 0 is 20, not in 0..19"),
    "place": ({"strokes": [stroke(step=1)]}, "row 0, column 6, where step 1 cannot place it"),
    "one size": ({"part_size": 4}, "part_size 4, expected [4, 2]"),
    "sizes": ({"part_size": [4, 4]}, "part_size [4, 4], expected [4, 2]"),
}


@pytest.mark.parametrize("name", WRONG)
def test_anything_else_is_refused(name: str, inked: DrawingModel) -> None:
    change, words = WRONG[name]
    values = as_json(drawing(s1=(5, 3, 2)), inked.brush) | change
    with pytest.raises(ArtifactError) as caught:
        from_json(values, inked.brush, "x.json")
    assert words in caught.value.message
    assert "x.json" in caught.value.message and caught.value.hint


def test_drawings_of_other_models_are_refused(inked: DrawingModel, tmp_path: Path) -> None:
    write_ink_model(tmp_path / "other.safetensors", seed=1)
    other = npdraw.load(tmp_path / "other.safetensors")
    bank = PartBrush(inked.layout.grids[0], torch.rand(6, 3, 4, 4))
    z = drawing(s1=(5, 3, 2))
    plain = Latents(*(x[:, :COARSE] for x in (z.whether, z.where, z.what)))
    for brush, values in (
        (inked.brush, as_json(z, other.brush)),
        (inked.brush, as_json(plain, bank)),
        (bank, as_json(z, inked.brush)),
    ):
        with pytest.raises(ArtifactError, match="a drawing with parts of bank"):
            from_json(values, brush)
    # Each table counts: the same patterns in other colours are other parts.
    values, tables = as_json(z, inked.brush), inked.brush.tables()
    for name, table in tables.items():
        config = inked.config.parse
        with pytest.raises(ArtifactError, match="a drawing with parts of bank"):
            from_json(values, brush_of(config, {**tables, name: table + 1e-3}))
    from_json(values, brush_of(config, tables))


def test_drawings_without_ink_are_not_painted(inked: DrawingModel) -> None:
    z = drawing(s1=(5, 3, 2))
    with pytest.raises(UsageError, match="this model has other strokes"):
        inked.paint(Latents(z.whether, z.where, z.what))
    with pytest.raises(
        UsageError, match=r"ink of the drawings is in 0\.\.4; this model has 0\.\.3"
    ):
        inked.paint(drawing(s1=(5, 4, 2)))


# --- Edits ---


def test_strokes_are_removed_moved_replaced_and_added(inked: DrawingModel) -> None:
    z = drawing(s0=(1, 2, 1), s9=(3, 0, 2))
    for changes, expected in (
        (Changes(), z),
        (Changes(remove=[0]), drawing(s9=(3, 0, 2))),
        (Changes(move=[(0, 3)]), drawing(s3=(1, 2, 1), s9=(3, 0, 2))),
        (Changes(move=[(9, 19)]), drawing(s0=(1, 2, 1), s19=(3, 0, 2))),
        (Changes(replace=[(9, 5)]), drawing(s0=(1, 2, 1), s9=(5, 0, 2))),  # ink is kept
        (Changes(replace=[(9, 5, 3, 0)]), drawing(s0=(1, 2, 1), s9=(5, 3, 0))),
        (Changes(add=[(4, 2, 1, 0)]), drawing(s0=(1, 2, 1), s4=(2, 1, 0), s9=(3, 0, 2))),
    ):
        assert fingerprint(changed(z, changes, inked.brush)) == fingerprint(expected), changes
    assert fingerprint(z) == fingerprint(drawing(s0=(1, 2, 1), s9=(3, 0, 2)))  # left as it was


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (Changes(move=[(0, 4)]), "--move 0:4: step 0 is on layer 1, step 4 on layer 2"),
        (Changes(move=[(9, 1)]), "--move 9:1: step 9 is on layer 2, step 1 on layer 1"),
        (Changes(add=[(4, 2)]), "strokes of this model are STEP:PART:INK:CONTRAST"),
        (Changes(replace=[(0, 2, 1)]), "strokes of this model are STEP:PART:INK:CONTRAST"),
        (Changes(add=[(4, 6, 0, 0)]), "parts are 0..5"),
        (Changes(add=[(4, 0, 4, 0)]), "inks are 0..3"),
        (Changes(replace=[(0, 0, 0, 3)]), "contrasts are 0..2"),
        (Changes(remove=[20]), "steps are 0..19"),
    ],
)
def test_changes_that_cannot_be_made(changes: Changes, words: str, inked: DrawingModel) -> None:
    with pytest.raises(UsageError) as caught:
        changed(drawing(s0=(1, 2, 1), s9=(3, 0, 2)), changes, inked.brush)
    assert words in caught.value.message and caught.value.hint


def test_plain_parts_have_no_ink() -> None:
    brush = PartBrush(Layout(8, 8, 4, 4), torch.rand(6, 3, 4, 4))
    z = blank(1, COARSE)
    with pytest.raises(UsageError, match=r"(?m)strokes of this model are STEP:PART$"):
        changed(z, Changes(add=[(0, 1, 2, 0)]), brush)


def test_edit_writes_a_drawing_that_decode_reads(
    inked: DrawingModel, ink_path: Path, command: dict[str, Any], tmp_path: Path
) -> None:
    out, region = tmp_path / "x.png", Region(0, 4, 0, 8)
    given = {"name": "seed:1", "other": "seed:2", "region": region}
    step = int(inked.sample(1, 1).whether[0, 12:].nonzero()[0]) + 12  # below the region
    changes = Changes(replace=[(step, 3, 2, 1)])
    result = edit(ink_path, **given, changes=changes, out=out, **command)
    a, b = inked.sample(1, 1), inked.sample(1, 2)
    expected = changed(a.with_cells(cells_in(region, inked), b), changes, inked.brush)
    kept = read_drawing(tmp_path / "x.json", inked.brush)
    assert fingerprint(kept) == fingerprint(expected) != fingerprint(a)
    assert result["changed_steps"] == a.differs(expected)[0].nonzero().flatten().tolist()
    assert result["strokes"] == as_json(expected, inked.brush)["strokes"]
    assert edit(ink_path, **given, changes=changes, out=out, **command)["up_to_date"]
    decode(ink_path, drawing=str(tmp_path / "x.json"), out=tmp_path / "y.png", **command)
    values = json.loads((tmp_path / "x.json").read_text())
    values["strokes"][0]["ink"] = INKS
    (tmp_path / "z.json").write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match="ink of stroke 0 is 4"):
        decode(ink_path, drawing=str(tmp_path / "z.json"), out=tmp_path / "z.png", **command)


def test_an_edit_that_does_not_show_is_noted(
    inked: DrawingModel, ink_path: Path, command: dict[str, Any], tmp_path: Path
) -> None:
    for contrast, notes in ((0, [UNSEEN]), (2, None)):
        path = tmp_path / f"{contrast}.json"
        write_drawing(path, drawing(s1=(5, 3, contrast)), inked.brush)
        given = {"name": str(path), "other": None, "region": None, "out": tmp_path / "x.png"}
        result = edit(ink_path, **given, changes=Changes(replace=[(1, 2)]), **command)
        assert result["changed_steps"] == [1]
        assert result.get("notes") == notes


def test_edits_are_local_on_every_layer(inked: DrawingModel) -> None:
    a, b = inked.sample(1, 3), inked.sample(1, 4)
    for region in (Region(0, 4, 4, 8), Region(2, 8, 0, 6), Region(6, 8, 6, 8)):
        z = a.with_cells(cells_in(region, inked), b)
        outside = torch.ones(8, 8, dtype=torch.bool)
        outside[region.top : region.bottom, region.left : region.right] = False
        assert torch.equal(inked.paint(a)[..., outside], inked.paint(z)[..., outside])


def test_a_region_takes_the_cells_of_all_layers_inside(inked: DrawingModel) -> None:
    for region, cells in (
        (Region(0, 8, 0, 8), range(STEPS)),
        (Region(0, 4, 0, 8), [0, 1, *range(4, 12)]),
        (Region(0, 4, 4, 99), [1, 6, 7, 10, 11]),
        (Region(0, 5, 3, 8), [1, 6, 7, 10, 11]),
        (Region(2, 4, 0, 3), [8]),
    ):
        assert cells_in(region, inked).nonzero().flatten().tolist() == list(cells), region
    with pytest.raises(UsageError, match="no cell of the grid lies within region 1:3,0:8"):
        cells_in(Region(1, 3, 0, 8), inked)
