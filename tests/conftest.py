"""Fixtures for every test."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Start each test from the same random numbers, with one thread.

    Tiny shapes gain nothing from more, and lose much where other work keeps the cores busy.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test inside an empty folder of its own, so that default paths lie there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def bars() -> Callable[[int], np.ndarray]:
    """Make grey images, uint8 [N, 8, 8], of a bar down and a bar across."""

    def draw(count: int) -> np.ndarray:
        rng = np.random.default_rng(0)
        images = np.zeros((count, 8, 8), np.uint8)
        for image in images:
            top, left = rng.integers(0, 5, 2)
            image[top : top + 4, left : left + 2] = rng.integers(120, 256)
            image[left : left + 2, top : top + 4] = rng.integers(120, 256)
        return images

    return draw


@pytest.fixture
def npdraw_data() -> Path:
    """Return the folder of real data sets; tests that need one are skipped without it."""
    folder = os.environ.get("NPDRAW_DATA")
    if not folder:
        pytest.skip("NPDRAW_DATA does not name a folder of data sets")
    if not Path(folder).is_dir():
        pytest.skip(f"NPDRAW_DATA names {folder}, which is not a folder")
    return Path(folder)
