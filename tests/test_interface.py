"""docs/interface.md lists every command, setting, exit code and JSON key."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer

from npdraw import errors
from npdraw.cli import app, execute
from npdraw.config import SECTIONS, Config
from tests.prose import ROOT
from tests.tiny_pipeline import Made

PAGE = (ROOT / "docs/interface.md").read_text(encoding="utf-8")


def part(number: int) -> str:
    """Return one section of docs/interface.md."""
    _, _, below = PAGE.partition(f"\n## {number}. ")
    return below.partition("\n## ")[0]


def test_every_setting_is_listed_with_default_range_and_meaning() -> None:
    rows = []
    for section in SECTIONS:
        settings = getattr(Config(), section)
        for declared in fields(settings):
            default = declared.default
            shown: Any = list(default) if isinstance(default, tuple) else default
            shown = str(shown).lower() if isinstance(shown, bool) else shown
            allowed = str(declared.metadata["allowed"]) or "true or false"
            cells = f"`{section}.{declared.name}`", f"`{shown}`", allowed
            rows.append(f"| {' | '.join(cells)} | {declared.metadata['meaning']} |")
    assert re.findall(r"^\| `.*\|$", part(9), re.MULTILINE) == rows


def commands() -> list[str]:
    top = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return [
        f"{name} {sub}".strip()
        for name, command in top.items()
        for sub in getattr(command, "commands", {"": None})
    ]


def test_every_command_is_listed() -> None:
    assert sorted(re.findall(r"^\| `npdraw ([a-z -]+[a-z])", part(1), re.MULTILINE)) == sorted(
        commands()
    )


def test_every_exit_code_is_listed() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.NpdrawError)
    ]
    for kind in kinds:
        if kind is errors.NpdrawError:
            continue
        number = "128 + n" if kind is errors.StoppedError else kind.exit_code
        assert f"| {number} | `{kind.code}` |" in part(8)
    assert {130, 143, 129} <= set(map(int, re.findall(r"\d+", part(8))))


def keys_of(command: str) -> set[str]:
    """Return the keys that docs/interface.md, section 7, lists for a command, nested ones too."""
    for row in part(7).splitlines():
        cells = row.split(" | ")
        if row.startswith("|") and f"`{command}`" in cells[0]:
            return set(re.findall(r"`(\w+)`", cells[1]))
    raise AssertionError(command)


def test_keys_of_the_pipeline_are_listed(made: Made) -> None:
    for name, command in (
        ("parse", "parse"),
        ("prior", "train-prior"),
        ("model", "train-decoder"),
    ):
        assert set(made.results[name]) | {"up_to_date"} == keys_of(command)


DRAWING = ["seed:1"]
CHEAP = {
    "info": [],
    "eval-nll": ["--samples", "2", "--images", "4", "--out", "eval.json"],
    "eval-samples": [
        *("--samples", "8", "--images", "8", "--out", "quality.json"),
        *("--features", str(ROOT / "data/features/glyphs.safetensors")),
    ],
    "sample": ["--seeds", "0", "--out", "samples"],
    "animate": ["--seeds", "0", "--out", "x.gif"],
    "interpolate": ["seed:0", "seed:1", "--out", "y.gif"],
    "complete": ["--seeds", "0", "--out", "c.png"],
    "edit": [*DRAWING, "--from", "seed:2", "--region", "0:8,0:8", "--out", "e.png"],
    "decode": [*DRAWING, "--out", "d.png"],
    "export": ["--out", "export.safetensors"],
    "report": ["--out", "report.html"],
}
"""Arguments behind MODEL that make little work."""


@pytest.mark.parametrize("command", CHEAP)
def test_keys_of_a_command_are_listed(
    command: str, made: Made, workdir: Path, capsys: pytest.CaptureFixture[str], stages: Any
) -> None:
    extra = ["--data", stages.source] if command.startswith("eval-") else []
    arguments = [command, str(made.model), *CHEAP[command], *extra, "--json"]
    printed: set[str] = set()
    for _ in range(2):  # the second time it is up to date
        assert execute(arguments) == 0
        printed |= set(json.loads(capsys.readouterr().out.splitlines()[-1]))
    listed = keys_of(command)
    assert printed - {"ok", "command"} <= listed
    assert listed - printed <= keys_of_rows(command)


def test_keys_of_train_features_are_listed(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert workdir.is_dir()
    for _ in range(2):
        assert execute(["train-features", "--steps", "1", "--json", "--quiet"]) == 0
        printed = set(json.loads(capsys.readouterr().out))
    assert printed - {"ok", "command"} == keys_of("train-features")


def keys_of_rows(command: str) -> set[str]:
    """Return the keys that stand in brackets, of nested objects, and those of formats not used."""
    row = next(r for r in part(7).splitlines() if f"`{command}`" in r.split(" | ")[0])
    nested = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"\(([^)]*)\)", row))))
    return nested | {"up_to_date"}


@pytest.mark.parametrize("command", ["data ls", "data doctor"])
def test_keys_of_data_commands_are_listed(
    command: str, shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shipped.is_dir()
    assert execute([*command.split(), "--data-root", str(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    nested = {key for group in ("sets", "models") for row in result[group].values() for key in row}
    assert (set(result) | nested) - {"ok", "command"} == keys_of(command)
