"""Two processes that are stopped resume to the result of one; if one dies, the other ends."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from npdraw.errors import ArtifactError
from npdraw.header import read_header
from npdraw.runtime.lock import run_folder
from tests.runtime.processes import (
    MANY,
    TIMEOUT,
    UNEVEN,
    close,
    command,
    one,
    records,
)


@contextmanager
def started(arguments: list[str], cwd: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        arguments,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()  # torchrun ends its processes itself


def wait_for_checkpoint(
    process: subprocess.Popen[str], out: Path, least: int, metric: str = "step"
) -> None:
    """Wait until the checkpoint of `out` has reached at least this step."""
    checkpoint, end = run_folder(out) / "checkpoint.safetensors", time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        with suppress(ArtifactError):
            if read_header(checkpoint).metrics[metric] >= least:
                return
        time.sleep(0.005)
    raise AssertionError("no checkpoint was saved")


@pytest.mark.slow
def test_a_stopped_training_resumes_to_the_result_of_one_process(
    start: Path, single: Path, tmp_path: Path, tiny_settings: Any
) -> None:
    for name in ("parse", "prior"):
        shutil.copy(single / f"{name}.safetensors", tmp_path)
        shutil.copytree(single / f"{name}.safetensors.run", tmp_path / f"{name}.safetensors.run")
    (tmp_path / "config.toml").write_text(tiny_settings(**UNEVEN))
    arguments = (
        "train-decoder",
        "parse.safetensors",
        "--data",
        f"npz:{start / 'bars.npz'}",
        "--config",
        "config.toml",
        "--steps",
        str(MANY),
        "--save-every",
        "5",
    )
    one(*arguments, "--out", "one.safetensors", cwd=tmp_path)
    out = tmp_path / "two.safetensors"
    launch = command(*arguments, "--out", out.name)
    with started(launch, tmp_path) as process:
        wait_for_checkpoint(process, out, 10)
        process.send_signal(signal.SIGTERM)
        printed, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode != 0
    error = json.loads(printed)["error"]
    assert error["code"] == "stopped"
    assert "torchrun --standalone --nproc-per-node 2 -m npdraw train-decoder" in error["hint"]
    assert err.count("Error: stopped at step") == 1
    step = read_header(tmp_path / "two.safetensors.run/checkpoint.safetensors").metrics["step"]
    assert error["message"] == f"stopped at step {step:.0f} of {MANY}"
    assert not out.exists()

    with started(launch, tmp_path) as process:
        printed, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, err
    assert json.loads(printed)["resumed_from"] == step
    assert records(out)[-1]["step"] == MANY
    assert close(records(tmp_path / "one.safetensors"), records(out))


EAGER = """
from npdraw.__main__ import main
from npdraw.runtime import eval_checkpoint

eval_checkpoint.EVERY = 0.0
main()
"""
"""npdraw with a checkpoint after every batch of an evaluation."""


@pytest.mark.slow
def test_a_stopped_evaluation_resumes_with_another_number_of_processes(
    start: Path, single: Path, tmp_path: Path
) -> None:
    arguments = ["eval-nll", str(single / "model.safetensors"), "--data", "npz:bars.npz"]
    arguments += ["--images", "80", "--samples", "200", "--batch-size", "10"]  # one at a time
    one(*arguments, "--out", str(tmp_path / "one.json"), cwd=start)
    out = tmp_path / "two.json"
    launch = command(*arguments, "--out", str(out))
    npdraw = launch.index("npdraw")
    launch[npdraw - 1 : npdraw + 1] = [str(tmp_path / "eager.py")]
    (tmp_path / "eager.py").write_text(EAGER)
    with started(launch, start) as process:
        wait_for_checkpoint(process, out, 10, "images")
        process.send_signal(signal.SIGTERM)
        printed, err = process.communicate(timeout=TIMEOUT)
    error = json.loads(printed)["error"]
    assert error["code"] == "stopped", err
    images = int(read_header(tmp_path / "two.json.run/checkpoint.safetensors").metrics["images"])
    assert error["message"] == f"stopped at image {images} of 80"
    assert 0 < images < 80

    one(*arguments, "--out", str(out), cwd=start)
    together, alone = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("two", "one"))
    assert (together.pop("resumed_from"), alone.pop("resumed_from")) == (images, 0)
    assert together.pop("seconds") > 0 < alone.pop("seconds")
    assert together == alone


@pytest.mark.slow
def test_when_one_process_dies_the_other_ends(start: Path, single: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.safetensors"
    arguments = ("train-prior", str(single / "parse.safetensors"), "--out", str(out))
    launch = command(*arguments, "--config", "config.toml", "--steps", "100000")
    launch += ["--save-every", "5"]
    with started(launch, start) as process:
        wait_for_checkpoint(process, out, 5)
        for child in _children(process.pid):
            if b"\0RANK=1\0" in b"\0" + Path(f"/proc/{child}/environ").read_bytes():
                os.kill(child, signal.SIGKILL)
        began = time.monotonic()
        printed, _ = process.communicate(timeout=TIMEOUT)
    assert time.monotonic() - began < 25  # before torchrun would kill it, after 30 s
    assert process.returncode != 0
    assert json.loads(printed)["error"]["code"] in ("lost", "stopped")


def _children(parent: int) -> list[int]:
    lists = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(child) for path in lists for child in path.read_text().split()]
