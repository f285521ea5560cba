"""Stage 5: image i belongs to its seed, and nothing of anybody else is overwritten."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from npdraw.artifacts import read_artifact
from npdraw.errors import ArtifactError, UsageError
from npdraw.header import read_header
from npdraw.inputs.models import drawings_of, read_model
from npdraw.pictures.sheet import BORDER, GREY, LEGIBLE, to_uint8

SIDE = 8
FACTOR = LEGIBLE // SIDE


def pixels(path: Path) -> Any:
    with Image.open(path) as picture:
        assert picture.mode == "L"
        return np.asarray(picture).astype(int)


def drawn(out: Path) -> dict[int, tuple[list[int], ...]]:
    """The drawings of a folder by their seeds."""
    artifact = read_artifact(out / "drawings.safetensors", kind="drawings")
    z = drawings_of(artifact)
    return {
        int(seed): (z.whether[i].tolist(), z.where[i].tolist(), z.what[i].tolist())
        for i, seed in enumerate(artifact.tensors["seeds"])
    }


def cells(sheet: Any, count: int, width: int = SIDE) -> list[Any]:
    """The pictures on a sheet, at their own size again."""
    down, across = SIDE * FACTOR + BORDER, width * FACTOR + BORDER
    columns = (sheet.shape[1] - BORDER) // across
    assert (sheet.shape[1] - BORDER) % across == (sheet.shape[0] - BORDER) % down == 0
    assert columns * ((sheet.shape[0] - BORDER) // down) >= count
    found = []
    for index in range(count):
        top, left = BORDER + index // columns * down, BORDER + index % columns * across
        found.append(
            sheet[top : top + SIDE * FACTOR : FACTOR, left : left + width * FACTOR : FACTOR]
        )
    return found


def test_the_same_command_gives_the_same_bytes(stages: Any, trained: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        stages.sample(trained.model, tmp_path / f"{name}.png", grid=True, seeds=range(9))
        stages.sample(trained.model, tmp_path / name, seeds=range(9))
        torch.rand(7)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == [*(f"{seed:06d}.png" for seed in range(9)), "drawings.safetensors"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_sheet_is_drawn_again_only_if_it_would_differ(
    stages: Any, made: Any, trained: Any, tmp_path: Path
) -> None:
    out = tmp_path / "a.png"
    sample = partial(stages.sample, out=out, grid=True)
    assert "up_to_date" not in sample(made.model, seeds=range(9))
    before = out.stat().st_mtime_ns
    assert sample(made.model, seeds=range(9))["up_to_date"] is True
    assert out.stat().st_mtime_ns == before
    for other in (
        partial(sample, made.model, seeds=range(9), force=True),
        partial(sample, made.model, seeds=range(8)),
        partial(sample, made.model, seeds=range(8), canvas=True),
        partial(sample, made.model, seeds=range(8), temperature=0.5),
        partial(sample, made.model, seeds=range(8), temperature=0.5, precision="bf16"),
        partial(sample, trained.model, seeds=range(8), temperature=0.5),
    ):
        assert "up_to_date" not in other()
        assert out.stat().st_mtime_ns > before
        before = out.stat().st_mtime_ns


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_an_image_belongs_to_its_seed(
    precision: str, stages: Any, trained: Any, tmp_path: Path
) -> None:
    named = {"precision": precision, "canvas": True}
    stages.sample(trained.model, tmp_path / "all", seeds=range(70), **named)
    drawings = drawn(tmp_path / "all")
    assert len({str(drawing) for drawing in drawings.values()}) > 30
    for index, (seeds, batch_size) in enumerate(
        [([69], 100), ([5, 3, 66, 4], 1), (list(range(69, -1, -1)), 7), (range(0, 70, 3), 64)]
    ):
        out = tmp_path / str(index)
        stages.sample(trained.model, out, seeds=seeds, batch_size=batch_size, **named)
        for seed, drawing in drawn(out).items():
            assert drawing == drawings[seed]
            one, all_ = (pixels(tmp_path / f / f"{seed:06d}.png") for f in (out.name, "all"))
            assert (one[:, :SIDE] == all_[:, :SIDE]).all()  # the canvas
            assert abs(one - all_).max() <= 1
        assert drawn(out).keys() == set(seeds)
    images = [pixels(path) for path in sorted((tmp_path / "all").glob("*.png"))]
    assert np.std([image[:, SIDE + 1 :] for image in images], axis=0).max() > 20


@pytest.mark.parametrize("count", [1, 2, 3, 5, 64, 65, 100])
def test_a_sheet_takes_any_number_of_seeds(
    count: int, stages: Any, trained: Any, tmp_path: Path
) -> None:
    seeds = list(range(7, 7 + count))
    result = stages.sample(trained.model, tmp_path / "s.png", seeds=seeds, grid=True)
    assert (result["images"], result["files"]) == (count, 1)
    assert result["out"] == str(tmp_path / "s.png")
    stages.sample(trained.model, tmp_path / "s", seeds=seeds)
    shown = cells(pixels(tmp_path / "s.png"), count)
    for seed, picture in zip(seeds, shown, strict=True):
        assert abs(picture - pixels(tmp_path / "s" / f"{seed:06d}.png")).max() <= 1


def test_drawings_repaint_to_the_canvas_beside_the_image(
    stages: Any, trained: Any, slow_paint: Any, tmp_path: Path
) -> None:
    out, seeds = tmp_path / "s", [4, 0, 123_456_789]
    result = stages.sample(trained.model, out, seeds=seeds, canvas=True)
    assert result["images"] == 3
    assert result["files"] == len(list(out.iterdir())) == 4
    artifact = read_artifact(out / "drawings.safetensors", kind="drawings")
    assert artifact.tensors["seeds"].tolist() == seeds
    z, bank = drawings_of(artifact), artifact.tensors["bank"]
    canvas = slow_paint(z.whether, z.where, z.what, bank, stages.config.parse)
    model, _, _ = read_model(trained.model)
    with torch.no_grad():
        images = to_uint8(model.decode(model.paint(z)))[:, 0].numpy().astype(int)
    for index, seed in enumerate(seeds):
        picture = pixels(out / f"{seed:09d}.png")  # as many digits as the longest
        assert picture.shape == (SIDE, 2 * SIDE + 1)
        assert (picture[:, :SIDE] == np.floor(255 * canvas[index, 0] + 0.5)).all()
        assert (picture[:, SIDE] == GREY).all()
        assert abs(picture[:, SIDE + 1 :] - images[index]).max() <= 1
    stages.sample(trained.model, tmp_path / "s.png", seeds=seeds, canvas=True, grid=True)
    for seed, shown in zip(seeds, cells(pixels(tmp_path / "s.png"), 3, 2 * SIDE + 1), strict=True):
        assert abs(shown - pixels(out / f"{seed:09d}.png")).max() <= 1


def test_pictures_and_drawings_say_what_they_are(stages: Any, trained: Any, tmp_path: Path) -> None:
    stages.sample(trained.model, tmp_path / "s", seeds=[3, 1], temperature=0.5)
    stages.sample(trained.model, tmp_path / "s.png", seeds=[3, 1], grid=True)
    model = read_header(trained.model)
    with Image.open(tmp_path / "s" / "000003.png") as picture:
        said = json.loads(picture.info["npdraw"])
    settings = {"seeds": [3, 1], "temperature": 0.5, "canvas": False, "precision": "fp32"}
    assert said == {"model": model.digest, **settings, "seeds": [3]}
    with Image.open(tmp_path / "s.png") as picture:
        assert json.loads(picture.info["npdraw"])["temperature"] == 1.0
    header = read_header(tmp_path / "s" / "drawings.safetensors")
    assert header.inputs == {"model": model.digest}
    assert header.config == {"sample": settings, **model.config}
    assert header.dataset == model.dataset


def test_temperature_goes_from_the_mode_to_chance(
    stages: Any, trained: Any, tmp_path: Path
) -> None:
    found = {}
    for temperature in (1e-4, 0.2, 1.0, 1e4):
        out = tmp_path / str(temperature)
        stages.sample(trained.model, out, seeds=range(60), temperature=temperature)
        found[temperature] = drawn(out)
    different = {t: len({str(drawing) for drawing in found[t].values()}) for t in found}
    assert different.pop(1e-4) == 1
    assert min(different.values()) > 10
    assert found[0.2] != found[1.0]
    # At a high temperature every answer is as likely as any other.
    whether = np.array([drawing[0] for drawing in found[1e4].values()])
    assert 0.4 < whether.mean() < 0.6
    # A lower temperature draws what is likelier.
    model, _, _ = read_model(trained.model)
    nats = []
    for temperature in (0.2, 1.0):
        path = tmp_path / str(temperature) / "drawings.safetensors"
        with torch.no_grad():
            z = drawings_of(read_artifact(path, kind="drawings"))
            nats.append(float(model.prior.log_prob(z).mean()))
    assert nats[0] > nats[1] + 0.2
    # The mode: each step the likeliest answer given the ones before.
    z = drawings_of(read_artifact(tmp_path / "0.0001" / "drawings.safetensors", kind="drawings"))[
        :1
    ]
    with torch.no_grad():
        p = model.prior(z.one_hot(4, 8))
    assert torch.equal(z.whether, p.whether > 0)
    where = p.where.argmax(2)
    assert torch.equal(z.where, where * z.whether)
    what = p.what.gather(2, where[..., None, None].expand(-1, -1, 1, 8))[:, :, 0].argmax(2)
    assert torch.equal(z.what, what * z.whether)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_means_nothing_is_refused(
    temperature: float, stages: Any, made: Any, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="temperature"):
        stages.sample(made.model, tmp_path / "s", temperature=temperature)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_of_somebody_else_is_left_alone(stages: Any, made: Any, tmp_path: Path) -> None:
    out = tmp_path / "holiday.png"
    Image.new("L", (5, 5), 7).save(out)
    foreign = out.read_bytes()
    for content in (foreign, b"not a picture", b""):
        out.write_bytes(content)
        with pytest.raises(UsageError, match="not a picture of npdraw") as caught:
            stages.sample(made.model, out, grid=True)
        assert caught.value.exit_code == 2
        assert "--force" in caught.value.hint
        assert out.read_bytes() == content
    stages.sample(made.model, out, grid=True, force=True)
    stages.sample(made.model, out, grid=True, seeds=range(5))  # ours now
    with Image.open(out) as picture:
        assert json.loads(picture.info["npdraw"])["seeds"] == [0, 1, 2, 3, 4]


def test_a_folder_of_somebody_else_is_left_alone(stages: Any, made: Any, tmp_path: Path) -> None:
    out = tmp_path / "holiday"
    out.mkdir()
    (out / "000001.png").write_text("my picture")
    with pytest.raises(UsageError, match="holds other files"):
        stages.sample(made.model, out)
    assert [path.name for path in out.iterdir()] == ["000001.png"]
    assert (out / "000001.png").read_text() == "my picture"
    with pytest.raises(UsageError, match="is not a folder") as caught:
        stages.sample(made.model, out / "000001.png")
    assert "--grid" in caught.value.hint
    with pytest.raises(UsageError, match="a folder"):
        stages.sample(made.model, out, grid=True, force=True)
    assert (out / "000001.png").read_text() == "my picture"


def test_a_folder_of_other_settings_is_refused_unless_forced(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    out = tmp_path / "s"
    stages.sample(made.model, out, seeds=range(5))
    for name in ("notes.txt", "portrait.png"):
        (out / name).write_text("of somebody else")
    stages.sample(made.model, out, seeds=range(5))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for changed in ({"seeds": [7]}, {"temperature": 0.5}, {"canvas": True}):
        with pytest.raises(UsageError, match="with other settings: sample"):
            stages.sample(made.model, out, **{"seeds": range(5), **changed})
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    stages.sample(made.model, out, seeds=[7, 2], force=True)
    names = sorted(path.name for path in out.iterdir())
    kept = ["drawings.safetensors", "notes.txt", "portrait.png"]
    assert names == ["000002.png", "000007.png", *kept]
    assert drawn(out).keys() == {7, 2}


def test_other_pictures_of_npdraw_in_the_folder_are_left_alone(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    out, sheet = tmp_path / "s", tmp_path / "sheet.png"
    stages.sample(made.model, sheet, grid=True, seeds=range(2))
    out.mkdir()
    shutil.copy(sheet, out / "favourite.png")
    with pytest.raises(UsageError, match=r"holds other files, such as favourite\.png"):
        stages.sample(made.model, out, seeds=range(3))
    assert [path.name for path in out.iterdir()] == ["favourite.png"]
    for seeds in (range(3), range(3), [7, 12_345_678], [2]):
        stages.sample(made.model, out, seeds=seeds, force=True)
        assert (out / "favourite.png").read_bytes() == sheet.read_bytes()
    assert {path.name for path in out.iterdir()} == {
        "000002.png",
        "drawings.safetensors",
        "favourite.png",
    }


def test_a_sample_is_not_written_over_what_is_none(stages: Any, made: Any, tmp_path: Path) -> None:
    out = tmp_path / "s"
    stages.sample(made.model, out, seeds=range(3))
    stages.sample(made.model, tmp_path / "sheet.png", grid=True, seeds=range(3))
    Image.new("L", (5, 5), 7).save(tmp_path / "holiday.png")
    for other in (tmp_path / "holiday.png", tmp_path / "sheet.png", out / "000002.png"):
        shutil.copy(other, out / "000001.png")
        with pytest.raises(UsageError, match=r"holds other files, such as 000001\.png"):
            stages.sample(made.model, out, seeds=range(3))
        assert (out / "000001.png").read_bytes() == other.read_bytes()
    stages.sample(made.model, out, seeds=range(3), force=True)
    stages.sample(made.model, out, seeds=range(3))


def test_the_model_is_complete_in_itself(stages: Any, trained: Any, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    shutil.copy(trained.model, tmp_path / "alone" / "m")
    stages.sample(tmp_path / "alone" / "m", tmp_path / "a.png", grid=True)
    stages.sample(trained.model, tmp_path / "b.png", grid=True)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_what_is_no_model_is_refused(stages: Any, made: Any, tmp_path: Path, flip: Any) -> None:
    shutil.copy(made.model, tmp_path / "flipped")
    flip(tmp_path / "flipped", -1)
    for path, reason in (
        (made.parse, "is a parse, expected a model"),
        (tmp_path / "flipped", "is damaged"),
        (tmp_path / "no", "there is no file"),
    ):
        with pytest.raises(ArtifactError, match=reason):
            stages.sample(path, tmp_path / "s.png", grid=True)
    assert not (tmp_path / "s.png").exists()


def test_progress_counts_images(stages: Any, made: Any, tmp_path: Path) -> None:
    seen = stages.Recorder()
    stages.sample(made.model, tmp_path / "s", seeds=range(5), progress=seen)
    assert seen.tasks == [("sample", 5, {})]
    assert seen.counts[-2:] == [5, -1]


def test_an_interrupted_folder_is_taken_up_and_foreign_pictures_stay(
    stages: Any, trained: Any, tmp_path: Path
) -> None:
    out = tmp_path / "s"
    stages.sample(trained.model, out, seeds=[3, 1])
    (out / "drawings.safetensors").unlink()  # as after a kill
    stages.sample(trained.model, out, seeds=[3, 2])
    assert sorted(path.name for path in out.iterdir()) == [
        "000002.png",
        "000003.png",
        "drawings.safetensors",
    ]
    foreign = out / "000001.png"
    Image.new("L", (2, 2)).save(foreign)
    before = foreign.read_bytes()
    stages.sample(trained.model, out, seeds=[5], force=True)
    assert foreign.read_bytes() == before


@pytest.mark.parametrize("grid", [True, False])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    grid: bool, stages: Any, made: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    seen = stages.Recorder()
    with pytest.raises(UsageError, match="would lie below a file"):
        stages.sample(made.model, tmp_path / "file" / "s.png", grid=grid, progress=seen)
    assert seen.tasks == []
