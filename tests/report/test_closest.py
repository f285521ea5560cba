"""Samples beside the training images that are closest to them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from npdraw.drawings.drawing_model import open_model
from npdraw.drawings.frames import rendered
from npdraw.report import closest as module
from npdraw.report import report
from npdraw.report.closest import closest, nearest
from npdraw.report.outputs import COMPARED, USAGE_SAMPLES, outputs_of
from npdraw.report.runs import find_runs
from tests.report.pages import RUNTIME, Page


def test_the_nearest_images_are_those_of_a_slow_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 7)
    torch.manual_seed(0)
    train = torch.randint(0, 256, (30, 3, 4, 4), dtype=torch.uint8)
    train[20] = train[3]  # equally close: the first counts
    images = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8)
    images[1] = train[3]
    index, differences = nearest(images, train, 4)
    for n, image in enumerate(images):
        errors = ((image / 255 - train / 255) ** 2).flatten(1).double().mean(1)
        order = sorted(range(30), key=lambda m: (round(float(errors[m]), 9), m))[:4]
        assert index[n].tolist() == order
        assert differences[n].tolist() == pytest.approx(errors[order].tolist(), abs=1e-6)
    assert index[1, :2].tolist() == [3, 20]
    assert differences[1, :2].tolist() == [0, 0]


def test_a_copy_has_a_difference_of_0_and_few_images_are_enough() -> None:
    train = torch.randint(0, 256, (2, 1, 4, 4), dtype=torch.uint8)
    (copy,) = closest(train[1:], train)
    assert copy.difference == 0
    assert torch.equal(copy.pictures, train[[1, 1, 0]])


def test_the_page_compares_samples_with_the_images_that_the_model_was_trained_on(
    stages: Any, run: Path, written: Callable[..., Page]
) -> None:
    (read,) = find_runs([run])
    outputs = outputs_of(read, stages.npz.parent, RUNTIME)
    model = open_model(run / "model.safetensors", RUNTIME)
    _, images = rendered(model, model.sample(USAGE_SAMPLES)[:48])
    with np.load(stages.npz) as arrays:
        train = torch.tensor(arrays["train"][: stages.train, None])
    assert len(outputs.closest) == COMPARED
    for sample, found in zip(images, outputs.closest, strict=False):
        assert torch.equal(found.pictures[0], sample)
        errors = ((sample.double() - train) ** 2).flatten(1).mean(1) / 255**2
        assert found.difference == pytest.approx(float(errors.min()), abs=1e-12)
        assert torch.equal(found.pictures[1], train[int(errors.argmin())])
    assert len(outputs.closest_decoded) == len(outputs.reconstructions)
    page = written(run).content.decode()
    assert page.count("and the training images closest to it") == COMPARED
    assert "for decoded test images" in page


def test_without_the_training_images_the_page_says_so(stages: Any, tmp_path: Path) -> None:
    changed = tmp_path / "bars.npz"
    with np.load(stages.npz) as arrays:
        others = stages.from_images(changed, arrays["train"][::-1])
    folder = tmp_path / "run"
    others.run(folder, samples=2, images=4)
    changed.write_bytes(stages.npz.read_bytes())
    out = tmp_path / "page.html"
    missing = report([folder], root=tmp_path, out=out, runtime=RUNTIME)["missing"]["run"]
    assert "was made" in missing["training images"]
    assert "the training images (npz) are not available" in Page(out.read_bytes()).missing
