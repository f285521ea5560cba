"""A folder with images, settings, a parse and a prior; and commands that run there."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npdraw.cli import execute
from tests.pipeline.commands import STEPS, Command, arguments


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, bars: Any, tiny_settings: Any) -> Path:
    """A folder with images, settings, and the parse and prior made of them."""
    folder = tmp_path_factory.mktemp("start")
    images = bars(84)
    np.savez(folder / "bars.npz", train=images[:60], test=images[60:])
    for name, steps in (("config", STEPS), ("short", 3)):
        text = tiny_settings(prior={"steps": 20}, decoder={"steps": steps})
        (folder / f"{name}.toml").write_text(text)
    here = Path.cwd()
    os.chdir(folder)
    try:
        assert execute(["parse", *arguments("parse")]) == 0
        assert execute(["train-prior", "p.safetensors", *arguments("train-prior")]) == 0
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def folder(start: Path, workdir: Path) -> Path:
    """A copy of the folder, in which the test runs."""
    shutil.copytree(start, workdir, dirs_exist_ok=True)
    return workdir


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command here; return its exit code and what it printed as JSON."""

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = execute([*arguments, *([] if "--json" in arguments else ["--json"])])
        shown = capsys.readouterr()
        printed = json.loads(shown.out)
        assert printed["ok"] is (code == 0)
        assert printed["command"] == arguments[0]
        assert "Traceback" not in shown.err
        return code, printed

    return run
