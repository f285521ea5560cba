"""The pipeline, run once by one process and once by two."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.processes import FEW, RUN, UNEVEN, one, two


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory, bars: Any, tiny_settings: Any) -> Path:
    """Return a folder with settings, and with images for three chunks of every kind."""
    folder = tmp_path_factory.mktemp("start")
    images = bars(2750)
    np.savez(folder / "bars.npz", train=images[:2500], test=images[2500:])
    (folder / "config.toml").write_text(tiny_settings(**UNEVEN))
    return folder


@pytest.fixture(scope="session")
def single(start: Path) -> Path:
    """Return the output of the pipeline in one process."""
    one(*RUN, "--steps", str(FEW), "--out", "single", cwd=start)
    return start / "single"


@pytest.fixture(scope="session")
def double(start: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Return the output of the pipeline in two processes, and how they ended."""
    steps = ("--steps", str(FEW))
    done = two(*RUN, *steps, "--out", "double", cwd=start)
    assert done.returncode == 0, done.stderr
    return start / "double", done
