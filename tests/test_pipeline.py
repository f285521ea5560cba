"""The commands in a row, as a person types them: exit codes, kills, and what is found again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npdraw.cli import execute
from npdraw.errors import ArtifactError
from npdraw.header import read_header

STEPS = 200
"""Of the decoder: long enough for a kill in between, some seconds."""

PROMISED = {
    "parse": "images seconds parts_painted_mean canvas_mse dead_parts",
    "train-prior": "steps seconds resumed_from validation_nats whether_nats where_nats what_nats",
    "train-decoder": "steps seconds resumed_from elbo rate distortion canvas_mse",
    "eval-nll": "nll nll_se elbo rate distortion bits_per_dim samples images split binarization "
    "estimator canvas_mse seconds",
    "sample": "images seconds files",
    "info": "kind schema digest inputs config dataset seed metrics",
}
"""The keys that docs/interface.md promises of each command's JSON."""

RUNTIME = ("--device", "cpu", "--precision", "fp32", "--threads", "1", "--quiet")

Command = Callable[..., tuple[int, dict[str, Any]]]


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


def arguments(name: str, config: str = "config.toml") -> list[str]:
    """What is left to say to make `p.safetensors`, `q.safetensors` or `m.safetensors`."""
    common = ["--config", config, "--json", *RUNTIME]
    return {
        "parse": ["--data", "npz:bars.npz", "--out", "p.safetensors", *common],
        "train-prior": ["--out", "q.safetensors", *common],
        "train-decoder": ["p.safetensors", "q.safetensors", "--out", "m.safetensors", *common],
    }[name]


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
    """Return as soon as a checkpoint of `step` or later is there."""
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


# Kills


def test_a_killed_training_goes_on_to_the_same_digest(
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
def test_a_signal_saves_and_says_how_to_go_on(
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


# The commands in a row


def test_the_commands_chain_and_print_what_is_promised(folder: Path, command: Command) -> None:
    shutil.rmtree("p.safetensors.run")
    Path("p.safetensors").unlink()
    config = ("--config", "short.toml", "--json", *RUNTIME)
    lines = (
        ("parse", "--data", "npz:bars.npz", "--out", "r/parse.safetensors", *config),
        ("train-prior", "r/parse.safetensors", *config),
        ("train-decoder", "r/parse.safetensors", *config),
        ("eval-nll", "r/model.safetensors", "--samples", "2", "--json", *RUNTIME),
        ("sample", "r/model.safetensors", "--seeds", "0-4", "--grid", "--json", *RUNTIME),
        ("info", "r/model.safetensors", "--verify", "--json"),
    )
    for line in lines:
        code, printed = command(*line)
        assert code == 0
        assert printed.keys() >= {"ok", "command", *PROMISED[line[0]].split()}
    digests = {
        kind: read_header(Path(f"r/{kind}.safetensors")).digest for kind in ("parse", "prior")
    }
    assert printed["inputs"] == digests
    assert Path("r/samples.png").is_file()
    for line in lines[:3]:
        code, printed = command(*line)
        assert (code, printed["up_to_date"]) == (0, True)
        assert printed.keys() >= set(PROMISED[line[0]].split())
        if line[0] != "parse":
            assert printed["resumed_from"] == printed["steps"]

    # The model needs none of what it was made from.
    sheet = Path("r/samples.png").read_bytes()
    for path in Path("r").iterdir():
        if path.name != "model.safetensors":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert command(*lines[4])[0] == 0
    assert Path("r/samples.png").read_bytes() == sheet
    code, printed = command(*lines[3])
    assert (code, printed["error"]["code"]) == (4, "data")
    assert "--data npz:PATH" in printed["error"]["hint"]
    assert command(*lines[3], "--data", "npz:bars.npz")[0] == 0


def test_run_does_all_and_the_second_time_nothing(folder: Path, command: Command) -> None:
    line = ("run", "--data", "npz:bars.npz", "--config", "short.toml", "--samples", "2")
    code, first = command(*line, "--out", "r", *RUNTIME)
    assert code == 0
    before = {path.name: path.read_bytes() for path in Path("r").iterdir() if path.is_file()}
    assert before.keys() == {
        "parse.safetensors",
        "prior.safetensors",
        "model.safetensors",
        "eval.json",
        "samples.png",
    }
    code, second = command(*line, "--out", "r", *RUNTIME)
    assert code == 0
    for name in ("parse", "train_prior", "train_decoder", "eval_nll"):
        assert second[name]["up_to_date"] is True
        assert second[name].keys() >= set(PROMISED[name.replace("_", "-")].split())
    assert second["eval_nll"]["nll"] == first["eval_nll"]["nll"]
    after = {path.name: path.read_bytes() for path in Path("r").iterdir() if path.is_file()}
    assert after == before


# What goes wrong


def damaged(folder: Path) -> None:
    """Put one of each kind of damage beside the artifacts."""
    whole = (folder / "q.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(whole[:-5])
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 4
    (folder / "flipped.safetensors").write_bytes(flipped)
    (folder / "empty.safetensors").touch()
    (folder / "empty").mkdir()


@pytest.mark.parametrize(
    ("line", "code", "message", "hint"),
    [
        ("parse --data npz:no.npz", 4, "there is no file no.npz", ""),
        ("parse --data folder:no", 4, "there is no folder no", ""),
        ("parse --data folder:empty", 4, "0 readable images in empty", ""),
        ("parse --data npz:p.safetensors", 4, "p.safetensors is damaged or not an .npz", ""),
        ("parse --data npz:bars.npz --parts 4000", 2, "4000 parts, but", "--parts"),
        ("parse --data npz:bars.npz --preset mnits", 2, "unknown preset 'mnits'", "'mnist'"),
        ("parse --data npz:bars.npz --out p.safetensors", 2, "with other settings", "--force"),
        ("parse --data npz:bars.npz --partz 3", 2, "No such option", "--parts"),
        ("train-prior no.safetensors", 3, "there is no file no.safetensors", "npdraw parse"),
        ("train-prior q.safetensors", 3, "is a prior, expected a parse", "npdraw parse"),
        ("train-prior empty.safetensors", 3, "it is empty", ""),
        ("train-prior p.safetensors --out q.safetensors", 2, "with other settings", "--force"),
        ("train-decoder p.safetensors p.safetensors", 3, "is a parse, expected a prior", ""),
        ("train-decoder p.safetensors truncated.safetensors", 3, "truncated.safetensors is", ""),
        ("train-decoder p.safetensors flipped.safetensors", 3, "flipped.safetensors is dam", ""),
        ("train-decoder p.safetensors empty.safetensors", 3, "it is empty", ""),
        ("train-decoder other.safetensors q.safetensors", 3, "was trained on part bank", "rerun"),
        ("eval-nll q.safetensors", 3, "is a prior, expected a model", "train-decoder"),
        ("eval-nll no.safetensors", 3, "there is no file", "npdraw train-decoder"),
        ("sample p.safetensors", 3, "is a parse, expected a model", ""),
        ("info flipped.safetensors --verify", 3, "do not match its digest", ""),
    ],
)
def test_each_wrong_input_has_one_line_a_hint_and_its_code(
    line: str, code: int, message: str, hint: str, folder: Path, command: Command
) -> None:
    damaged(folder)
    if "other.safetensors" in line:
        other = ("--data", "npz:bars.npz", "--config", "config.toml", "--parts", "7", *RUNTIME)
        assert command("parse", *other, "--out", "other.safetensors")[0] == 0
    before = {path: path.read_bytes() for path in folder.glob("*.safetensors")}
    found, printed = command(*line.split())
    assert found == code
    assert message in printed["error"]["message"]
    assert hint in printed["error"]["hint"]
    assert printed["error"]["message"]
    assert "\n" not in printed["error"]["message"] + printed["error"]["hint"]
    assert {path: path.read_bytes() for path in folder.glob("*.safetensors")} == before
