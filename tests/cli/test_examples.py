"""The examples of every help page, unmodified, in the order in which they chain."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from npdraw.cli import app, execute
from npdraw.hub import HubModel
from npdraw.hub.upload import Uploaded
from tests.datasets.own_pictures import drawings

ORDER = (
    *("parse", "train-prior", "train-decoder", "eval-nll", "sample", "run", ""),
    *("animate", "reconstruct", "complete", "edit", "decode", "interpolate"),
    *("eval-samples", "train-features", "train-classes", "classify"),
    *("report", "export", "push", "info"),
    *("data", "data ls", "data look", "data download", "data doctor"),
)


ENDLESS = ("studio",)
"""Commands that serve until Ctrl-C: tests/studio/test_server.py starts and stops them."""


def examples(page: str) -> list[str]:
    command: Any = typer.main.get_command(app)
    for word in page.split():
        command = command.commands[word]
    return [line.strip() for line in command.help.splitlines() if line.startswith("    npdraw ")]


def test_every_page_is_run_or_endless() -> None:
    command: Any = typer.main.get_command(app)
    names = {""}
    for name, page in command.commands.items():
        names |= {name, *(f"{name} {below}" for below in getattr(page, "commands", ()))}
    assert names == {*ORDER, *ENDLESS}


def test_the_examples_of_every_page_work(
    folder: Path, shipped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawings(folder / "my-pictures")
    fetched, shared = [], []
    # What they need a network for.
    monkeypatch.setattr("npdraw.datasets.download", lambda name, root: fetched.append(name))

    def upload(model: HubModel, *_: Any, **__: Any) -> Uploaded:
        shared.append(str(model))
        return Uploaded("https://hub.example", private=True, commit="c", up_to_date=False)

    monkeypatch.setattr("npdraw.stages.push.upload", upload)
    for page in ORDER:
        shown = examples(page)
        assert len(shown) == 2
        for example in shown:
            arguments = shlex.split(example)[1:]
            code = execute(arguments)
            out, err = capsys.readouterr()
            assert code == 0, f"{example}: {err}"
            assert "\x1b" not in out + err
            if "--json" in arguments:
                assert json.loads(out)["ok"] is True
            else:
                assert out
    assert fetched == ["mnist", "omniglot"]
    assert shared == ["hf:my-name/glyphs"]
    assert (folder / "runs/glyphs/samples.png").is_file()
    assert (folder / "runs/quick/model.safetensors").is_file()
    assert (folder / "runs/glyphs/export.safetensors").is_file()
    assert len(list(shipped.iterdir())) == 6  # nothing was written there
    assert len(list((folder / "runs/drawn").glob("*.png"))) == 11
