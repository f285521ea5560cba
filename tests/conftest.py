"""Fixtures for every test."""

import os
from pathlib import Path

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


@pytest.fixture
def npdraw_data() -> Path:
    """Return the folder of real data sets; tests that need one are skipped without it."""
    folder = os.environ.get("NPDRAW_DATA")
    if not folder:
        pytest.skip("NPDRAW_DATA does not name a folder of data sets")
    if not Path(folder).is_dir():
        pytest.skip(f"NPDRAW_DATA names {folder}, which is not a folder")
    return Path(folder)
