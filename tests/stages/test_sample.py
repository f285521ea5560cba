"""Stage 5: image i depends on its seed alone; sheets, drawings and temperature."""

import json
import shutil
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
    """Return the drawings of a folder by seed."""
    artifact = read_artifact(out / "drawings.safetensors", kind="drawings")
    z = drawings_of(artifact)
    return {
        int(seed): (z.whether[i].tolist(), z.where[i].tolist(), z.what[i].tolist())
        for i, seed in enumerate(artifact.tensors["seeds"])
    }


def cells(sheet: Any, count: int, width: int = SIDE) -> list[Any]:
    """Return the pictures on a sheet, at their original size."""
    down, across = SIDE * FACTOR + BORDER, width * FACTOR + BORDER
    columns = (sheet.shape[1] - BORDER) // across
    assert (sheet.shape[1] - BORDER) % across == (sheet.shape[0] - BORDER) % down == 0
    assert columns * ((sheet.shape[0] - BORDER) // down) >= count
    cropped = []
    for index in range(count):
        top, left = BORDER + index // columns * down, BORDER + index % columns * across
        cropped.append(
            sheet[top : top + SIDE * FACTOR : FACTOR, left : left + width * FACTOR : FACTOR]
        )
    return cropped


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


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_an_image_depends_on_its_seed_alone(
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


def test_stored_drawings_paint_the_canvas_shown_next_to_the_image(
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
        picture = pixels(out / f"{seed:09d}.png")  # as many digits as the largest seed
        assert picture.shape == (SIDE, 2 * SIDE + 1)
        assert (picture[:, :SIDE] == np.floor(255 * canvas[index, 0] + 0.5)).all()
        assert (picture[:, SIDE] == GREY).all()
        assert abs(picture[:, SIDE + 1 :] - images[index]).max() <= 1
    stages.sample(trained.model, tmp_path / "s.png", seeds=seeds, canvas=True, grid=True)
    for seed, shown in zip(seeds, cells(pixels(tmp_path / "s.png"), 3, 2 * SIDE + 1), strict=True):
        assert abs(shown - pixels(out / f"{seed:09d}.png")).max() <= 1


def test_pictures_and_drawings_record_their_origin(
    stages: Any, trained: Any, tmp_path: Path
) -> None:
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
    by_temperature = {}
    for temperature in (1e-4, 0.2, 1.0, 1e4):
        out = tmp_path / str(temperature)
        stages.sample(trained.model, out, seeds=range(60), temperature=temperature)
        by_temperature[temperature] = drawn(out)
    different = {
        t: len({str(drawing) for drawing in by_temperature[t].values()}) for t in by_temperature
    }
    assert different.pop(1e-4) == 1
    assert min(different.values()) > 10
    assert by_temperature[0.2] != by_temperature[1.0]
    # At a high temperature all choices are equally likely.
    whether = np.array([drawing[0] for drawing in by_temperature[1e4].values()])
    assert 0.4 < whether.mean() < 0.6
    # A lower temperature draws more likely strokes.
    model, _, _ = read_model(trained.model)
    nats = []
    for temperature in (0.2, 1.0):
        path = tmp_path / str(temperature) / "drawings.safetensors"
        with torch.no_grad():
            z = drawings_of(read_artifact(path, kind="drawings"))
            nats.append(float(model.prior.log_prob(z).mean()))
    assert nats[0] > nats[1] + 0.2
    # The mode: at each step the most likely choice given those before.
    z = drawings_of(read_artifact(tmp_path / "0.0001" / "drawings.safetensors", kind="drawings"))[
        :1
    ]
    with torch.no_grad():
        p = model.prior(model.brush.one_hot(z))
    assert torch.equal(z.whether, p.whether > 0)
    where = p.where.argmax(2)
    assert torch.equal(z.where, where * z.whether)
    what = p.what.gather(2, where[..., None, None].expand(-1, -1, 1, 8))[:, :, 0].argmax(2)
    assert torch.equal(z.what, what * z.whether)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_an_invalid_temperature_is_refused(
    temperature: float, stages: Any, made: Any, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="temperature"):
        stages.sample(made.model, tmp_path / "s", temperature=temperature)
    assert list(tmp_path.iterdir()) == []


def test_the_model_file_alone_is_enough(stages: Any, trained: Any, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    shutil.copy(trained.model, tmp_path / "alone" / "m")
    stages.sample(tmp_path / "alone" / "m", tmp_path / "a.png", grid=True)
    stages.sample(trained.model, tmp_path / "b.png", grid=True)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_files_that_are_not_models_are_refused(
    stages: Any, made: Any, tmp_path: Path, flip: Any
) -> None:
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
