"""Two processes, started by torchrun on the CPU, give the figures of one."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from npdraw.cli import execute
from npdraw.errors import ArtifactError, UsageError
from npdraw.header import read_header
from npdraw.runtime.distributed import (
    all_gather_rows,
    all_reduce_max,
    all_reduce_mean,
    all_reduce_sum,
    check_batch,
    chunks,
    local_batch_mean,
    on_rank_zero,
    process_group,
    rank_slice,
    replica,
)
from npdraw.runtime.group import SINGLE_PROCESS, Group, environment
from npdraw.runtime.run_folder import locked

UNEVEN = {
    "prior": {"batch_size": 9},
    "decoder": {"batch_size": 9, "hard_fraction": 0.7, "wake": 0.25, "deform": 0.1},
}
"""The last of four steps is a waking one. Nine images are shared unevenly; of the six hard ones,
some are the second process's.
"""

FEW, MANY = 4, 120
"""Training steps."""

RUNTIME = ("--device", "cpu", "--precision", "fp32", "--threads", "1", "--json")
TIMEOUT = 120


def command(*arguments: str) -> list[str]:
    """Two processes of npdraw."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launch, "--nproc-per-node", "2", "-m", "npdraw", *arguments, *RUNTIME]


def two(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    # The number of threads is set so that torchrun does not warn that it chooses one.
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def one(*arguments: str, cwd: Path) -> None:
    """The same in this process."""
    here = Path.cwd()
    os.chdir(cwd)
    try:
        assert execute([*arguments, *RUNTIME]) == 0
    finally:
        os.chdir(here)


def records(out: Path) -> list[dict[str, float]]:
    lines = out.with_name(out.name + ".run").joinpath("metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def close(a: list[dict[str, float]], b: list[dict[str, float]]) -> bool:
    """Whether all figures agree to 1e-5, relative."""
    return len(a) == len(b) and all(
        x == pytest.approx(y, rel=1e-5, abs=1e-9) for x, y in zip(a, b, strict=True)
    )


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, bars: Any, tiny_settings: Any) -> Path:
    """A folder with settings, and images for three chunks of every kind."""
    folder = tmp_path_factory.mktemp("start")
    images = bars(2750)
    np.savez(folder / "bars.npz", train=images[:2500], test=images[2500:])
    (folder / "config.toml").write_text(tiny_settings(**UNEVEN))
    return folder


RUN = ("run", "--data", "npz:bars.npz", "--config", "config.toml", "--samples", "3")


@pytest.fixture(scope="module")
def single(start: Path) -> Path:
    """The pipeline of one process."""
    one(*RUN, "--steps", str(FEW), "--out", "single", cwd=start)
    return start / "single"


@pytest.fixture(scope="module")
def double(start: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The pipeline of two processes, and how they ended."""
    steps = ("--steps", str(FEW))
    done = two(*RUN, *steps, "--out", "double", cwd=start)
    assert done.returncode == 0, done.stderr
    return start / "double", done


def test_the_parse_is_the_same_to_the_bit(single: Path, double: Any) -> None:
    assert (single / "parse.safetensors").read_bytes() == (
        double[0] / "parse.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("kind", ["prior", "model"])
def test_losses_and_validation_are_those_of_one_process(
    kind: str, single: Path, double: Any
) -> None:
    alone = records(single / f"{kind}.safetensors")
    together = records(double[0] / f"{kind}.safetensors")
    if kind == "prior":  # nothing is trained yet: shared validation changes no bit
        assert alone[0] == together[0]
    judged = [0, FEW] if kind == "prior" else [0, FEW - 1, FEW]
    assert [record["step"] for record in alone] == judged
    assert alone[1] != pytest.approx(alone[0], rel=1e-3)
    assert close(alone, together)
    results = [
        json.loads((folder / f"{kind}.safetensors.run/result.json").read_text())
        for folder in (single, double[0])
    ]
    assert close(*([{k: v for k, v in r.items() if k != "seconds"}] for r in results))


def test_the_first_process_alone_prints_and_writes(single: Path, double: Any) -> None:
    folder, done = double
    assert len(done.stdout.splitlines()) == 1
    printed = json.loads(done.stdout)
    assert printed["ok"] is True
    assert set(printed) == {
        "ok",
        "command",
        "parse",
        "train_prior",
        "train_decoder",
        "eval_nll",
        "sample",
        "out",
    }
    # One line for each of the five stages, none from torch and none twice.
    lines = done.stderr.splitlines()
    assert [line.split()[0] for line in lines] == [
        "parse",
        "train-prior",
        "train-decoder",
        "eval-nll",
        "sample",
    ]
    files = sorted(str(path.relative_to(single)) for path in single.rglob("*"))
    assert files == sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    names = (folder / "model.safetensors.run").glob("*.png")
    assert len(list(names)) == 4  # sheets of steps 0, 1, 2, 4


def test_evaluation_is_the_same(start: Path, single: Path) -> None:
    done = two("eval-nll", "single/model.safetensors", "--samples", "3", cwd=start)
    together = json.loads(done.stdout)
    alone = json.loads((single / "eval.json").read_text())
    assert together["images"] == 250
    for name in ("nll", "nll_se", "elbo", "rate", "distortion", "bits_per_dim", "canvas_mse"):
        assert together[name] == pytest.approx(alone[name], rel=1e-9), name
    assert together["settings"] == alone["settings"]


def test_a_busy_output_ends_both_processes(start: Path, single: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.safetensors"
    arguments = ("train-prior", str(single / "parse.safetensors"), "--out", str(out))
    with locked(out):
        done = two(*arguments, cwd=start)
    assert done.returncode != 0
    assert json.loads(done.stdout)["error"]["code"] == "busy"
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert errors == [f"Error: another npdraw is working on {out}"]
    assert not out.exists()


@pytest.mark.slow
def test_what_is_up_to_date_is_not_made_again(start: Path, double: Any) -> None:
    folder, first = double
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    done = two(*RUN, "--steps", str(FEW), "--out", "double", cwd=start)
    assert done.returncode == 0
    again, printed = json.loads(done.stdout), json.loads(first.stdout)
    for stage in ("parse", "train_prior", "train_decoder", "eval_nll"):
        assert again[stage].pop("up_to_date") is True
        assert again[stage] | {"resumed_from": 0} == printed[stage] | {"resumed_from": 0}
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    other = two(*RUN, "--steps", str(FEW + 1), "--out", "double", cwd=start)
    assert other.returncode != 0
    assert json.loads(other.stdout)["error"]["code"] == "usage"
    dry = two(*RUN, "--out", "dry", "--dry-run", cwd=start)
    assert json.loads(dry.stdout)["dry_run"] is True
    assert not (start / "dry").exists()


def test_an_error_that_all_meet_is_told_once(
    start: Path, tmp_path: Path, tiny_settings: Any
) -> None:
    config = tmp_path / "one.toml"
    config.write_text(tiny_settings(prior={"batch_size": 1}, decoder={"batch_size": 1}))
    out = tmp_path / "run"
    run = ("run", "--data", "npz:bars.npz", "--config", str(config), "--out", str(out))
    for arguments, code in (
        ((*run, "--dry-run"), "usage"),
        (run, "usage"),
        (("parse", "--data", "npz:nowhere.npz", "--out", str(out / "p.safetensors")), "data"),
        (("train-prior", str(out / "parse.safetensors")), "artifact"),
    ):
        done = two(*arguments, cwd=start)
        assert done.returncode != 0
        assert json.loads(done.stdout)["error"]["code"] == code
        errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
        assert len(errors) == 1
        assert not out.exists()


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


def wait_for_step(process: subprocess.Popen[str], out: Path, step: int) -> None:
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        try:
            if (
                read_header(out.with_name(out.name + ".run") / "checkpoint.safetensors").metrics[
                    "step"
                ]
                >= step
            ):
                return
        except ArtifactError:
            pass
        time.sleep(0.005)
    raise AssertionError("no checkpoint came")


@pytest.mark.slow
def test_a_stopped_training_goes_on_to_the_figures_of_one_process(
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
        wait_for_step(process, out, 10)
        process.send_signal(signal.SIGTERM)
        printed, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode != 0
    error = json.loads(printed)["error"]
    assert error["code"] == "stopped"
    assert "torchrun --nproc-per-node 2 -m npdraw train-decoder" in error["hint"]
    assert said.count("Error: stopped at step") == 1
    step = read_header(tmp_path / "two.safetensors.run/checkpoint.safetensors").metrics["step"]
    assert error["message"] == f"stopped at step {step:.0f} of {MANY}"
    assert not out.exists()

    with started(launch, tmp_path) as process:
        printed, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, said
    assert json.loads(printed)["resumed_from"] == step
    assert records(out)[-1]["step"] == MANY
    assert close(records(tmp_path / "one.safetensors"), records(out))


@pytest.mark.slow
def test_a_stopped_evaluation_goes_on_with_another_number_of_processes(
    start: Path, single: Path, tmp_path: Path
) -> None:
    arguments = ["eval-nll", str(single / "model.safetensors"), "--data", "npz:bars.npz"]
    arguments += ["--images", "80", "--samples", "200", "--batch-size", "10"]  # one at a time
    one(*arguments, "--out", str(tmp_path / "one.json"), cwd=start)
    out = tmp_path / "two.json"
    with started(command(*arguments, "--out", str(out)), start) as process:
        end = time.monotonic() + TIMEOUT
        while not (tmp_path / "two.json.run/lock").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.005)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        printed, said = process.communicate(timeout=TIMEOUT)
    error = json.loads(printed)["error"]
    assert error["code"] == "stopped", said
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
        wait_for_step(process, out, 5)
        for child in _children(process.pid):
            if b"\0RANK=1\0" in b"\0" + Path(f"/proc/{child}/environ").read_bytes():
                os.kill(child, signal.SIGKILL)
        began = time.monotonic()
        printed, _ = process.communicate(timeout=TIMEOUT)
    assert time.monotonic() - began < 25  # before torchrun would kill it, after 30 s
    assert process.returncode != 0
    assert json.loads(printed)["error"]["code"] in ("lost", "stopped")


def _children(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(child) for path in found for child in path.read_text().split()]


# The pieces


def test_one_process_needs_no_group() -> None:
    model = nn.Linear(2, 2)
    with process_group(torch.device("cpu")) as group:
        assert group == SINGLE_PROCESS
        assert not torch.distributed.is_initialized()
        assert replica(model, group) is model
        assert on_rank_zero(group, lambda: model) is model
        assert all_reduce_max(group, 7) == 7
        table = torch.ones(3, 2)
        assert all_gather_rows(group, table) is table
        assert all_reduce_mean(group, table) is table
        assert all_reduce_sum(group, table).tolist() == [3, 3]


def test_the_group_is_what_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    for name, value in variables.items():
        assert environment() == SINGLE_PROCESS  # not all of them are there
        monkeypatch.setenv(name, value)
    assert environment() == Group(rank=5, size=8, local_rank=1, local_size=4)
    assert not environment().is_rank_zero
    assert SINGLE_PROCESS.is_rank_zero


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_are_all_of_it_once(size: int) -> None:
    groups = [Group(rank, size) for rank in range(size)]
    for count in (5, 7, 64):
        whole = list(range(count))
        shares = [whole[rank_slice(group, count)] for group in groups]
        assert [row for share in shares for row in share] == whole
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    parts = sorted((part.start, part.stop) for g in groups for _, part in chunks(g, 23, 10))
    assert parts == [(0, 10), (10, 20), (20, 23)]
    numbers = sorted(number for g in groups for number, _ in chunks(g, 23, 10))
    assert numbers == [0, 1, 2]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_mean_of_unequal_shares_is_that_of_the_batch(size: int) -> None:
    values = torch.arange(7.0).square()
    means = [
        local_batch_mean(group, values[rank_slice(group, 7)], 7)
        for group in (Group(rank, size) for rank in range(size))
    ]
    assert float(sum(means)) / size == pytest.approx(float(values.mean()))


def test_a_batch_has_an_image_for_each_process() -> None:
    check_batch(Group(size=2), 2)
    with pytest.raises(UsageError, match="a batch of 1 cannot be shared by 2") as caught:
        check_batch(Group(size=2), 1)
    assert "--batch-size" in caught.value.hint


def test_sums_go_from_first_to_last() -> None:
    big = torch.tensor([1.0, 2**-53, 2**-53, -1.0], dtype=torch.float64)
    assert float(all_reduce_sum(SINGLE_PROCESS, big)) == 0.0
    assert math.copysign(1, float(all_reduce_sum(SINGLE_PROCESS, torch.tensor([-0.0])))) == 1
