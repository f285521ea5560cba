"""The commands of README.md, run in a new folder; its settings and file map, looked up.

Trainings are shortened by flags added at the end (the last of two equal flags counts); nothing else
is changed.
"""

import json
import os
import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from npdraw.cli import execute
from npdraw.config import override
from npdraw.drawings.strokes import bank_digest, from_json, strokes_of
from npdraw.model.layout import Layout
from npdraw.presets import preset

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUICK = {
    "parse": ["--limit", "600"],
    "train-prior": ["--steps", "2"],
    "train-decoder": ["--steps", "2"],
    "eval-nll": ["--samples", "2", "--images", "20"],
    "run": ["--steps", "2", "--samples", "2", "--images", "2"],
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    found = [shlex.split(line, comments=True) for line in lines]
    # The studio serves until Ctrl-C: tests/studio/test_server.py starts and stops it.
    return [w[1:] for w in found if w and w[0] == "npdraw" and w[1] != "studio"]


def quick(words: list[str]) -> list[str]:
    quiet = ["--quiet"] if words[0] in (*QUICK, "sample") else []  # the others never say much
    return [*words, *QUICK.get(words[0], []), *quiet]


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^\s*make ([a-z-]+)", "\n".join(blocks("sh")), re.MULTILINE)
    assert "demo" in targets
    assert "test" in targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_commands_on_the_embedded_data_and_on_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NPDRAW_DATA", raising=False)
    (tmp_path / "my-pictures").mkdir()
    rng = np.random.default_rng(0)
    for index in range(40):
        pixels = rng.integers(0, 256, (30 + index % 3, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "my-pictures" / f"{index}.png")
    own = [words for words in commands() if "mnist" not in words]
    assert {words[0] for words in own} >= {*QUICK, "sample", "export", "data"}
    for words in own:
        code = execute(quick(words))
        assert code == 0, f"{shlex.join(words)}: {capsys.readouterr().err}"
    assert (tmp_path / "runs/glyphs/samples.png").is_file()
    assert (tmp_path / "runs/mine/model.safetensors").is_file()


def test_commands_on_mnist(
    npdraw_data: Path,
    shipped: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NPDRAW_DATA", os.fspath(npdraw_data.absolute()))
    stages = [words for words in commands() if "mnist" in words and words[0] != "data"]
    assert {words[0] for words in stages} >= {*QUICK} - {"run"}
    for words in stages:
        code = execute(quick(words))
        assert code == 0, f"{shlex.join(words)}: {capsys.readouterr().err}"


def test_the_python_of_the_readme_runs(shipped: Path) -> None:
    (code,) = blocks("python")
    # The shipped models of tests draw images of 8 x 8.
    found: dict[str, object] = {}
    exec(compile(code.replace("28", "8"), "README.md", "exec"), found)
    for name, count in (("drawings", 9), ("images", 9), ("nats", 9), ("variants", 4)):
        assert len(found[name]) == count  # type: ignore[arg-type]


def test_the_drawing_of_the_readme_is_one() -> None:
    (text,) = blocks("json")
    drawing = json.loads(text)
    layout = Layout(28, 28, part_size=4, stride=4)
    (stroke,) = drawing["strokes"]
    bank = torch.zeros(50, 1, 4, 4)
    drawing["bank"] = bank_digest(bank)
    assert strokes_of(from_json(drawing, bank, layout), layout) == [stroke]


def test_settings_of_the_readme_are_settings() -> None:
    for block in blocks("toml"):
        assert override(preset("glyphs"), tomllib.loads(block), source="README.md")


def test_named_files_exist() -> None:
    names = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    names += re.findall(r"^\| `([^`]+)`", README.partition("\n## Files\n")[2], re.MULTILINE)
    assert len(names) > 8
    for name in names:
        assert (ROOT / name).exists(), name
