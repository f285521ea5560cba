"""Editing is local; completions keep what is given; moving pictures show every step."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import npdraw
from npdraw.drawings.animate import animate, interpolate
from npdraw.drawings.complete import complete
from npdraw.drawings.drawing_model import DrawingModel
from npdraw.drawings.edit import Changes, changed, decode, edit
from npdraw.drawings.frames import prefixes, rendered, transitions
from npdraw.drawings.named import named_drawing
from npdraw.drawings.reconstruct import reconstruct
from npdraw.drawings.regions import Region, cells_in
from npdraw.drawings.strokes import fingerprint, read_drawing
from npdraw.errors import ArtifactError, DataError, UsageError
from npdraw.model.latents import Latents
from npdraw.runtime.settings import Runtime

MARGIN = 1
"""Pixels around a pixel that a decoder of one 3 x 3 convolution sees."""


class Near(nn.Module):
    """A decoder that sees a pixel and the ones beside it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(2, 1, 3, padding=MARGIN)

    def forward(self, canvas: torch.Tensor) -> torch.Tensor:
        return self.layer(canvas)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def model(trained: Any) -> DrawingModel:
    return npdraw.load(trained.model, precision="fp32")


@pytest.fixture
def command(stages: Any, trained: Any) -> dict[str, Any]:
    """What every command takes."""
    return {"root": stages.npz.parent, "runtime": Runtime(precision="fp32")}


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


def test_a_region_takes_the_cells_that_are_wholly_inside(model: DrawingModel) -> None:
    assert model.layout.window == 5 and model.layout.stride == 4  # rows 0..4 and 4..8
    for region, cells in (
        (Region(0, 8, 0, 8), [True] * 4),
        (Region(0, 99, 0, 99), [True] * 4),
        (Region(0, 5, 0, 8), [True, True, False, False]),
        (Region(0, 8, 4, 8), [False, True, False, True]),
    ):
        assert cells_in(region, model).tolist() == cells, region
    with pytest.raises(UsageError, match="no cell of the grid lies within region 0:4,0:8"):
        cells_in(Region(0, 4, 0, 8), model)
    with pytest.raises(UsageError, match="no cell"):
        cells_in(Region(6, 2, 0, 8), model)


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
        assert fingerprint(changed(z, changes, 8)) == fingerprint(expected), changes
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
        changed(drawing(3, -1, 5, -1), changes, 8)
    assert words in caught.value.message


def test_edit_writes_picture_and_drawing_and_decode_reads_it(
    model: DrawingModel, trained: Any, command: dict[str, Any], tmp_path: Path
) -> None:
    out, region = tmp_path / "x.png", Region(0, 5, 0, 8)
    given = {"name": "seed:1", "other": "test:2", "region": region, "changes": Changes()}
    result = edit(trained.model, **given, out=out, **command)
    a = named_drawing("seed:1", model, command["root"]).drawing
    b = named_drawing("test:2", model, command["root"]).drawing
    expected = a.with_cells(cells_in(region, model), b)
    found = read_drawing(tmp_path / "x.json", model.bank, model.layout)
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


def test_drawings_and_images_are_found_by_name(
    model: DrawingModel, command: dict[str, Any], tmp_path: Path
) -> None:
    root = command["root"]
    assert fingerprint(named_drawing("seed:4", model, root).drawing) == fingerprint(
        model.sample(1, 4)
    )
    found = named_drawing("test:3", model, root)
    assert found.image is not None
    assert fingerprint(found.drawing) == fingerprint(model.encode(found.image))
    pixels = (found.image[0, 0] * 255).to(torch.uint8).numpy()
    Image.fromarray(pixels).save(tmp_path / "x.png")
    again = named_drawing(str(tmp_path / "x.png"), model, root)
    assert torch.equal(again.image, found.image)  # type: ignore[arg-type]
    for name, error in (
        ("seed:x", UsageError),
        ("test:24", DataError),
        ("none.png", DataError),
        ("none.json", ArtifactError),
    ):
        with pytest.raises(error):
            named_drawing(name, model, root)


def test_prefixes_and_transitions_go_step_by_step(model: DrawingModel) -> None:
    for a, b in zip(model.sample(20), model.sample(20, seed=50), strict=True):
        one, other = a[None] if a.whether.ndim == 1 else a, b[None] if b.whether.ndim == 1 else b
        z, steps = prefixes(one)
        assert not z.whether[0].any() and fingerprint(z[-1:]) == fingerprint(one)
        for row, step in enumerate(steps):
            grown = z.whether[row + 1] & ~z.whether[row]
            assert grown.nonzero().flatten().tolist() == [step]
        way, steps = transitions(one, other)
        assert fingerprint(way[:1]) == fingerprint(one)
        assert fingerprint(way[-1:]) == fingerprint(other)
        for row, step in enumerate(steps):
            _, between = transitions(way[row : row + 1], way[row + 1 : row + 2])
            assert between == [step]


def test_animations_have_a_frame_for_each_stroke(
    model: DrawingModel,
    trained: Any,
    command: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ["seed:0", "test:1"]
    out = tmp_path / "x.apng"
    result = animate(trained.model, names=names, fps=8.0, out=out, **command)
    strokes = [int(named_drawing(w, model, command["root"]).drawing.whether.sum()) for w in names]
    assert result["steps"] == strokes
    with Image.open(out) as picture:
        assert picture.n_frames == result["frames"] == 1 + max(strokes)
    assert animate(trained.model, names=names, fps=8.0, out=out, **command)["up_to_date"]
    # Of many strokes there are more frames a second, unless somebody says how many.
    for longest, expected in ((15, 125), (max(strokes) / 20, 1000 // (20 + 20 / max(strokes)))):
        monkeypatch.setattr("npdraw.drawings.animate.LONGEST", longest)
        animate(trained.model, names=names, fps=None, out=tmp_path / "z.apng", **command)
        with Image.open(tmp_path / "z.apng") as picture:
            assert abs(picture.info["duration"] - expected) <= 1
    gif = tmp_path / "y.gif"
    told = interpolate(trained.model, names=("seed:0", "seed:1"), fps=4.0, out=gif, **command)
    assert told["frames"] == 1 + told["steps"][0]
    for wrong in ({"fps": 0.0}, {"fps": 0.01}, {"fps": 51.0}, {"names": ["seed:0"] * 17}):
        with pytest.raises(UsageError):
            animate(trained.model, **{"names": names, "fps": 8.0, "out": out, **wrong}, **command)


def test_completions_keep_strokes_or_regions(
    model: DrawingModel, stages: Any, trained: Any, command: dict[str, Any], tmp_path: Path
) -> None:
    given = named_drawing("test:0", model, command["root"]).drawing
    seen = stages.Recorder()
    more = {"seeds": [0, 1, 2], "temperature": 1.0, "out": tmp_path / "x.png", **command}
    more["progress"] = seen
    nothing = complete(trained.model, name=None, prefix=None, region=None, **more)
    _same(nothing, model.sample(3))
    assert seen.tasks[0][:2] == ("complete", 3) and seen.counts == [1, 2, 3, -1]
    strokes = int(given.whether.sum())
    assert strokes > 1
    all_of_it = complete(trained.model, name="test:0", prefix=strokes, region=None, **more)
    assert all(d["strokes"] == all_of_it["given"] for d in all_of_it["drawings"])
    one = complete(trained.model, name="test:0", prefix=1, region=None, **more)
    assert len(one["given"]) == 1
    assert all(d["strokes"][0] == one["given"][0] for d in one["drawings"])
    region = complete(trained.model, name="test:0", prefix=None, region=Region(4, 8, 0, 8), **more)
    for found in region["drawings"]:
        below = [s for s in found["strokes"] if s["step"] >= 2]
        assert below == region["given"]
    kept = complete(trained.model, name="test:0", prefix=None, region=None, **more)
    assert len(kept["given"]) == strokes
    assert all(s in d["strokes"] for d in kept["drawings"] for s in kept["given"])
    for wrong in (
        {"name": "test:0", "prefix": 99, "region": None},
        {"name": "test:0", "prefix": 1, "region": Region(0, 8, 0, 8)},
        {"name": None, "prefix": 1, "region": None},
    ):
        with pytest.raises(UsageError):
            complete(trained.model, **wrong, **more)


def _same(result: dict[str, Any], z: Latents) -> None:
    for row, found in enumerate(result["drawings"]):
        assert [s["step"] for s in found["strokes"]] == z.whether[row].nonzero().flatten().tolist()
        assert [s["part"] for s in found["strokes"]] == z.what[row][z.whether[row]].tolist()


def test_reconstructions_tell_figures(
    model: DrawingModel, trained: Any, command: dict[str, Any], tmp_path: Path
) -> None:
    more = {"samples": 3, "out": tmp_path / "x.png", **command}
    result = reconstruct(trained.model, names=["test:0", "test:5"], **more)
    assert json.loads(json.dumps(result["figures"])) == result["figures"]
    images = torch.cat(
        [named_drawing(w, model, command["root"]).image for w in ("test:0", "test:5")]
    )
    for name, z in (("parse", model.parse(images)), ("posterior", model.encode(images))):
        error = (model.paint(z)[:, :1] - images).square().mean((1, 2, 3))
        assert [row[f"{name}_canvas_mse"] for row in result["figures"]] == error.tolist()
        assert [row[f"{name}_parts"] for row in result["figures"]] == z.whether.sum(1).tolist()
    # Each is of its image alone, wherever that stands in the list.
    assert [row["nll"] for row in result["figures"]] == [
        model.nll(image, 3).item() for image in images.split(1)
    ]
    assert reconstruct(trained.model, names=["test:0", "test:5"], **more)["up_to_date"]
    paths = [tmp_path / f"{name}.png" for name in "ab"]  # other images of one drawing
    for path, value in zip(paths, (0, 255), strict=True):
        Image.new("L", (8, 8), value).save(path)
    first, second = (
        reconstruct(trained.model, names=[str(path)], **more | {"out": tmp_path / "y.png"})
        for path in paths
    )
    assert "up_to_date" not in first and "up_to_date" not in second
    with pytest.raises(UsageError, match="seed:0 is a drawing, not an image"):
        reconstruct(trained.model, names=["seed:0"], **more)


def test_pictures_are_drawn_with_the_runtime_given(model: DrawingModel) -> None:
    z = model.sample(3)
    lower = replace(model, runtime=Runtime(precision="bf16"))
    exact, rounded = rendered(model, z)[1].int(), rendered(lower, z)[1].int()
    assert 0 < (exact - rounded).abs().max() < 16


def test_a_picture_that_cannot_be_written_is_refused_before_a_model_is_read(
    stages: Any, command: dict[str, Any], tmp_path: Path
) -> None:
    nowhere, theirs = tmp_path / "no-model", tmp_path / "theirs.png"
    Image.new("L", (8, 8)).save(theirs)
    drawn = {"seeds": [0], "temperature": 1.0, "progress": stages.Recorder()}
    commands: list[tuple[Callable[..., Any], dict[str, Any]]] = [
        (animate, {"names": ["seed:0"], "fps": 8.0}),
        (interpolate, {"names": ("seed:0", "seed:1"), "fps": 8.0}),
        (reconstruct, {"names": ["test:0"], "samples": 1}),
        (complete, {"name": None, "prefix": None, "region": None, **drawn}),
        (decode, {"drawing": "seed:0"}),
        (edit, {"name": "seed:0", "other": None, "region": None, "changes": Changes()}),
    ]
    for out, words in (
        (tmp_path / "x.txt", "is not the name of a"),
        (theirs, "is not a picture that npdraw made"),
        (tmp_path, "it is a folder"),
    ):
        for make, given in commands:
            with pytest.raises(UsageError, match=words):
                make(nowhere, **given, out=out, **command)
