"""A killed or stopped training resumes and gives the same bytes as an undisturbed one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from npdraw.cli import execute
from npdraw.errors import ArtifactError
from npdraw.header import read_header
from tests.pipeline.commands import STEPS, Command, arguments


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a process of its own, which is gone at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "npdraw", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with process:
            try:
                yield process
            finally:
                process.kill()
    finally:
        process.wait()


def wait_for_step(process: subprocess.Popen[str], step: int) -> None:
    """Return as soon as there is a checkpoint of `step` or later."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        try:
            header = read_header(Path("m.safetensors.run/checkpoint.safetensors"))
        except ArtifactError:
            pass
        else:
            if header.metrics["step"] >= step:
                return
        time.sleep(0.005)
    raise AssertionError("no checkpoint came")


@pytest.fixture(scope="module")
def uninterrupted(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that an undisturbed training gives."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    shutil.copytree(start, folder, dirs_exist_ok=True)
    here = Path.cwd()
    os.chdir(folder)
    try:
        assert execute(["train-decoder", *arguments("train-decoder")]) == 0
    finally:
        os.chdir(here)
    return folder / "m.safetensors"


def records(model: Path) -> list[dict[str, float]]:
    lines = (model.parent / "m.safetensors.run/metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def test_a_killed_training_resumes_to_the_same_digest(
    folder: Path, command: Command, uninterrupted: Path
) -> None:
    training = ("train-decoder", *arguments("train-decoder"), "--save-every", "10")
    with started(*training) as process:
        wait_for_step(process, STEPS // 3)
        code, printed = command(*training)
        assert (code, printed["error"]["code"]) == (7, "busy")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not Path("m.safetensors").exists()
    code, printed = command(*training)
    assert code == 0
    assert STEPS // 3 <= printed["resumed_from"] < STEPS
    assert Path("m.safetensors").read_bytes() == uninterrupted.read_bytes()
    assert records(folder / "m.safetensors") == records(uninterrupted)
    assert not list(folder.glob(".*.tmp"))
    assert not list(folder.glob("*.run/.*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("part", [0.05, 0.3, 0.6, 0.9])
def test_kills_at_any_time_and_again(
    part: float, folder: Path, command: Command, uninterrupted: Path
) -> None:
    training = ("train-decoder", *arguments("train-decoder"), "--save-every", "7")
    for step in (STEPS * part / 2, STEPS * part):
        with started(*training) as process:
            wait_for_step(process, int(step))
    assert command(*training)[0] == 0
    assert Path("m.safetensors").read_bytes() == uninterrupted.read_bytes()
    assert records(folder / "m.safetensors") == records(uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_resume(
    number: signal.Signals, folder: Path, command: Command, uninterrupted: Path
) -> None:
    training = ("train-decoder", *arguments("train-decoder"), "--save-every", "20")
    with started(*training) as process:
        wait_for_step(process, STEPS // 4)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert json.loads(out)["error"]["code"] == "stopped"
    assert "To resume: npdraw train-decoder p.safetensors q.safetensors" in err
    code, printed = command(*training)
    assert code == 0
    assert printed["resumed_from"] >= STEPS // 4
    assert Path("m.safetensors").read_bytes() == uninterrupted.read_bytes()
