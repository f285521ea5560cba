"""Every command that takes a model takes one of the hub, and writes to runs/OWNER/NAME."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

from npdraw.cli import app, execute
from tests.hub.conftest import Run
from tests.hub.fake_hub import FakeHub
from tests.test_interface import CHEAP
from tests.test_readme import sharing
from tests.tiny_pipeline import Made
from tests.tiny_stages import bars

NAME = "hf:me/digits"
OUT = "runs/me/digits"
FOR_MODELS = {"MODEL", "ARTIFACT", "RUN"}
COMMANDS: dict[str, tuple[list[str], str | None]] = {
    "info": ([], None),
    "eval-nll": (CHEAP["eval-nll"], None),
    "eval-samples": (CHEAP["eval-samples"], None),
    "sample": (["--seeds", "0"], f"{OUT}/samples"),
    "animate": (["--seeds", "0"], f"{OUT}/animation.gif"),
    "reconstruct": (["picture.png", "--samples", "2"], f"{OUT}/reconstruction.png"),
    "interpolate": (["seed:0", "seed:1"], f"{OUT}/interpolation.gif"),
    "complete": (["--seeds", "0"], f"{OUT}/completions.png"),
    "edit": (["seed:1", "--from", "seed:2", "--region", "0:8,0:8"], f"{OUT}/edited.png"),
    "decode": (["seed:1"], f"{OUT}/decoded.png"),
    "export": ([], f"{OUT}/export.safetensors"),
    "report": ([], f"{OUT}/report.html"),
    "push": (["me/copy", "--dry-run"], "hf:me/copy"),
}
"""Arguments behind MODEL that make little work, and where the result goes."""

ELSEWHERE = {"studio", "train-classes", "classify"}  # below


def test_every_command_that_takes_a_model_is_tested() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    taking = {
        name
        for name, command in commands.items()
        if any(param.metavar in FOR_MODELS for param in command.params)
    }
    assert taking == {*COMMANDS, *ELSEWHERE}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_model_of_the_hub_stands_for_a_file(
    command: str, hub: FakeHub, run: Run, made: Made, stages: Any, workdir: Path
) -> None:
    hub.put("me/digits", model__safetensors=made.model.read_bytes())
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(workdir / "picture.png")
    more, out = COMMANDS[command]
    source = ["--data", stages.source] if command.startswith("eval-") else []
    ended = run(command, NAME, *more, *source)
    assert f"Downloading {NAME} from {hub.url}" in ended.err
    assert out is None or ended.result["out"] == out
    assert hub.count("GET", "/storage/") == 1
    cached = list((workdir / "huggingface").rglob("*"))
    files = {path.name for path in cached if path.is_file() and "snapshots" in path.parts}
    assert files == {"model.safetensors"}  # nothing is written beside it


def test_the_studio_takes_a_model_of_the_hub(
    hub: FakeHub, run: Run, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def serve(path: Path, *, ready: Any, **_: Any) -> None:
        opened.append(path)
        ready({"url": "http://127.0.0.1", "port": 1, "model": str(path)})

    monkeypatch.setattr("npdraw.studio.server.studio", serve)
    hub.put("me/digits", model__safetensors=made.model.read_bytes())
    run("studio", NAME, "--no-browser")
    assert opened[0].read_bytes() == made.model.read_bytes()


def test_classes_are_taught_to_a_model_of_the_hub(
    hub: FakeHub, logged_in: None, run: Run, made: Made, workdir: Path
) -> None:
    images, labels = bars(12, 1), np.arange(12) % 2
    files = {"train": images[:8], "test": images[8:]}
    np.savez("bars.npz", **files, train_labels=labels[:8], test_labels=labels[8:])
    hub.put("me/digits", model__safetensors=made.model.read_bytes())
    taught = run("train-classes", NAME, "--data", "npz:bars.npz", "--steps", "1", "--quiet")
    assert (taught.result["out"], taught.err) == (f"{OUT}/classes.safetensors", "")
    run("push", f"{OUT}/classes.safetensors", "me/classes")
    card = hub.repositories["me/classes"].files["README.md"].decode()
    assert "| classes | 2: `0`, `1`; see `--label` |" in card
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(workdir / "picture.png")
    seen = run("classify", "hf:me/classes", "picture.png", "--samples", "2")
    assert set(seen.result["images"][0]["probabilities"]) == {"0", "1"}
    assert "Downloading hf:me/classes" in seen.err


def test_a_report_names_models_of_the_hub(hub: FakeHub, run: Run, made: Made) -> None:
    hub.put("me/digits", model__safetensors=made.model.read_bytes())
    hub.put("you/digits", model__safetensors=made.model.read_bytes())
    result = run("report", NAME, "hf:you/digits").result
    assert result["runs"] == [NAME, "hf:you/digits"]
    assert result["out"] == f"{OUT}/report.html"
    assert "its card has the figures" in str(result["missing"][NAME])
    error = run("report", NAME, "hf:me/nothing", code=3).error
    assert error["message"].endswith("has no model me/nothing, or it is private")
    assert "A run is also a folder" not in error["hint"]


def test_the_commands_of_the_page_run(
    hub: FakeHub,
    logged_in: None,
    shipped: Path,
    made: Made,
    workdir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert shipped.is_dir()
    hub.put("their-name/digits", model__safetensors=made.model.read_bytes())
    hub.repositories["their-name/digits"].tags["v1"] = 1
    shown = [shlex.split(line, comments=True) for line in sharing().splitlines()]
    lines = [words[1:] for words in shown if words[:1] == ["npdraw"]]
    assert {words[0] for words in lines} >= {"push", "sample", "info"}
    for words in lines:
        owner = [word.replace("my-name", "me") for word in words]
        assert execute(owner) == 0, f"{shlex.join(words)}: {capsys.readouterr().err}"
    assert (workdir / "runs/their-name/digits/samples.png").is_file()


def test_whole_processes_share_a_model(
    hub: FakeHub, logged_in: None, write_model: Any, workdir: Path, tmp_path: Path
) -> None:
    write_model(workdir / "model.safetensors", "mnist")
    for words, code in (
        (["push", "model.safetensors", "me/digits", "--private"], 0),
        (["sample", NAME, "--seeds", "0-3", "--grid"], 0),
        (["push", "model.safetensors", "you/digits"], 2),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "npdraw", *words],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"HF_HUB_CACHE": str(tmp_path / "cache")},
        )
        assert done.returncode == code, done.stderr
        assert os.environ["HF_TOKEN"] not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    assert (workdir / OUT / "samples.png").is_file()
    assert hub.repositories["me/digits"].private
