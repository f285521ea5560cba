"""Fixtures of the report: a whole run, copies of it, and its page."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npdraw.report import report
from npdraw.runtime.settings import Runtime
from tests.report.pages import Page

INK = {
    "image_size": 8, "channels": 3, "binarize": False, "part_size": 4, "stride": 4, "jitter": 1,
    "finer": (2,), "parts": 6, "inks": 4, "contrasts": 3, "threshold": 0.01,
}  # fmt: skip


@pytest.fixture(scope="session")
def run(stages: Any, trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a whole run: three artifacts with their run folders, and an evaluation."""
    folder = tmp_path_factory.mktemp("report") / "bars"
    shutil.copytree(trained.folder, folder)
    stages.eval_nll(folder / "model.safetensors", out=folder / "eval.json", images=12)
    return folder


@pytest.fixture
def written(stages: Any, tmp_path: Path) -> Callable[..., Page]:
    """Write the report of runs and return its page."""

    def write(*paths: Path, name: str = "report.html", **more: Any) -> Page:
        out = tmp_path / name
        runtime = Runtime(device="cpu", precision="fp32", threads=1, **more)
        report(paths, root=stages.npz.parent, out=out, runtime=runtime)
        return Page(out.read_bytes())

    return write


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that copies the run to a new folder."""
    return lambda name: Path(shutil.copytree(run, tmp_path / "runs" / name))


@pytest.fixture(scope="session")
def inked(stages: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a whole run whose strokes have ink, on two layers."""
    folder = tmp_path_factory.mktemp("inked")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (84, 4, 4, 3), np.uint8).repeat(2, 1).repeat(2, 2)
    noise = rng.integers(0, 30, (84, 8, 8, 3), np.uint8)
    images = np.maximum(images, noise)
    made = stages.configured(parse=INK).from_images(folder / "x.npz", images[:60], images[60:])
    made.run(folder / "run", samples=2, images=4)
    return folder / "run"
