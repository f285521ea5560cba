"""The pictures and drawings of the report are those of the model."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from npdraw.artifacts import read_artifact, write_artifact
from npdraw.drawings.drawing_model import open_model
from npdraw.drawings.frames import prefixes, rendered
from npdraw.drawings.strokes import fingerprint, from_json
from npdraw.errors import DivergedError
from npdraw.report.limits import Limits
from npdraw.report.outputs import IMAGES, USAGE_SAMPLES, outputs_of
from npdraw.report.page import compose
from npdraw.report.runs import find_runs
from npdraw.run_key import RunKey
from tests.report.pages import RUNTIME, Page, tile_of
from tests.tiny_classes import left_and_right


def test_the_stepper_has_the_drawings_and_their_frames(
    run: Path, written: Callable[..., Page]
) -> None:
    page, model = written(run), open_model(run / "model.safetensors", RUNTIME)
    z = model.sample(USAGE_SAMPLES)
    labels = [entry["label"] for entry in page.drawings]
    assert labels == [*(f"Sample {n}" for n in range(4)), "Test image 0", "Test image 1"]
    for number, entry in enumerate(page.drawings[:4]):
        drawing = from_json(entry["drawing"], model.brush)
        assert fingerprint(drawing) == fingerprint(z[number : number + 1])
        canvases, images = rendered(model, prefixes(drawing)[0])
        for name, frames in (("canvas", canvases), ("image", images)):
            mosaic = entry[name]
            assert len(mosaic["at"]) == 1 + len(entry["drawing"]["strokes"])
            for frame, at in zip(frames, mosaic["at"], strict=True):
                assert np.array_equal(tile_of(mosaic, at), frame[0].numpy())


def test_samples_of_each_class_are_shown(
    trained: Any, run: Path, written: Callable[..., Page], tmp_path: Path
) -> None:
    path = left_and_right(trained.model, tmp_path)
    (read,) = find_runs([path])
    model = open_model(path, RUNTIME)
    shown = outputs_of(read, tmp_path, RUNTIME).classes
    assert list(shown) == ["left", "right"]
    for name, images in shown.items():
        expected = rendered(model, model.sample(8, label=name))[1]
        assert torch.equal(images, expected)
    page = written(path).content.decode()
    assert 'alt="Samples of class right"' in page
    assert f"cost {model.header.metrics['class_nats']:.2f} nats each given their class" in page
    assert 'id="classes"' not in written(run, name="other.html").content.decode()
    both = written(run, path, name="both.html").content.decode()
    assert "The model has no classes." in both and 'alt="Samples of class left"' in both


def test_classes_beside_the_model_of_a_run_are_shown(
    run: Path, written: Callable[..., Page], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    beside = left_and_right(folder / "model.safetensors", folder)
    (read,) = find_runs([folder])
    shown = outputs_of(read, tmp_path, RUNTIME).classes
    (alone,) = find_runs([beside])
    expected = outputs_of(alone, tmp_path, RUNTIME).classes
    assert list(shown) == ["left", "right"]
    assert all(torch.equal(shown[name], expected[name]) for name in shown)
    assert 'alt="Samples of class right"' in written(folder).content.decode()

    shutil.copy(folder / "model.safetensors", beside)
    page = written(folder, name="other.html").content.decode()
    assert "classes.safetensors is of another model" in page
    beside.write_bytes(b"damaged")
    page = written(folder, name="damaged.html").content.decode()
    assert "classes.safetensors" in page and str(tmp_path) not in page


def test_samples_stay_if_those_of_classes_cannot_be_drawn(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise DivergedError("NaN")

    monkeypatch.setattr("npdraw.report.outputs._of_classes", fail)
    outputs = outputs_of(*find_runs([left_and_right(trained.model, tmp_path)]), tmp_path, RUNTIME)
    assert outputs.samples and outputs.problems["classes"] == "NaN"
    assert "model" not in outputs.problems


def test_classes_without_figures_are_shown(
    trained: Any, written: Callable[..., Page], tmp_path: Path
) -> None:
    artifact = read_artifact(left_and_right(trained.model, tmp_path), kind="model")
    path = tmp_path / "foreign.safetensors"
    write_artifact(path, "model", artifact.tensors, run_key=RunKey.of(artifact.header), metrics={})
    page = written(path).content.decode()
    assert 'alt="Samples of class right"' in page and "nats each given their class" not in page


def test_pictures_are_those_of_the_model(stages: Any, run: Path) -> None:
    (read,) = find_runs([run])
    outputs = outputs_of(read, stages.npz.parent, RUNTIME)
    model = open_model(run / "model.safetensors", RUNTIME)
    z = model.sample(USAGE_SAMPLES)
    canvases, images = rendered(model, z[:48])
    assert torch.equal(torch.stack(list(outputs.samples))[:, :, :, :8], canvases)
    assert torch.equal(torch.stack(list(outputs.samples))[:, :, :, 9:], images)
    with np.load(stages.npz) as arrays:
        x = model.preprocess(torch.tensor(arrays["test"][:1, None]))
    first = outputs.reconstructions[0]
    assert len(outputs.reconstructions) == IMAGES
    assert torch.equal(first.pixels[:, :, :8], (x[0] * 255).to(torch.uint8))
    own = model.encode(x)
    assert torch.equal(first.pixels[:, :, 18:26], rendered(model, own)[0][0])
    assert first.parts == int(own.whether.sum())
    assert first.error == float((model.paint(own)[:, :1] - x).square().mean())
    parse = read_artifact(run / "parse.safetensors", kind="parse")
    assert outputs.usage is not None and torch.equal(outputs.usage, parse.tensors["usage"])
    assert len(outputs.bank) == 1
    assert torch.equal(outputs.bank[0], (parse.tensors["bank"] * 255 + 0.5).to(torch.uint8))


def test_the_bank_shows_the_most_used_parts_first(run: Path, written: Callable[..., Page]) -> None:
    usage = read_artifact(run / "parse.safetensors", kind="parse").tensors["usage"].tolist()
    text = written(run).content.decode()
    titles = re.findall(r'title="Part (\d+), painted ([\d,]+) times?: ([\d.]+) %"', text)
    order = sorted(range(8), key=lambda part: (-usage[part], part))
    assert [int(part) for part, _, _ in titles] == order
    assert [int(count.replace(",", "")) for _, count, _ in titles] == [usage[k] for k in order]
    for (_, _, share), part in zip(titles, order, strict=True):
        assert float(share) == pytest.approx(100 * usage[part] / sum(usage), abs=0.006)


def test_frames_beyond_the_size_limit_are_left_out_but_strokes_are_not(
    stages: Any, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = find_runs([run])
    outputs = [outputs_of(runs[0], stages.npz.parent, RUNTIME)]
    page = Page(compose(runs, outputs, Limits(strip=1)))
    for entry in page.drawings:
        at = entry["image"]["at"]
        assert len(at) == 1 + len(entry["drawing"]["strokes"])
        assert at == sorted(at) and at[-1] <= 1


def test_a_report_in_colour(stages: Any, tmp_path: Path, written: Callable[..., Page]) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (84, 2, 2, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    settings = {"image_size": 16, "channels": 3, "binarize": False, "canvas_size": 8,
                "jitter": 1, "compositing": "over"}  # fmt: skip
    colour = stages.configured(parse=settings).from_images(
        tmp_path / "colour.npz", images[:60], images[60:]
    )
    colour.run(tmp_path / "colour", samples=2, images=4)
    page, model = (
        written(tmp_path / "colour"),
        open_model(tmp_path / "colour/model.safetensors", RUNTIME),
    )
    assert page.missing == ""
    entry = page.drawings[0]
    assert entry["drawing"]["canvas"] == [8, 8]
    assert (entry["canvas"]["height"], entry["image"]["height"]) == (8, 16)
    drawing = from_json(entry["drawing"], model.brush)
    painted = model.paint(drawing)[0, :3].permute(1, 2, 0)
    shown = tile_of(entry["canvas"], entry["canvas"]["at"][-1])
    assert np.abs(shown / 255 - painted.numpy()).max() <= 0.5 / 255 + 1e-6
    assert "16 x 16 pixels, colour" in page.content.decode()
