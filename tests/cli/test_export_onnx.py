"""`npdraw export --onnx`: what is printed, and what an extra lacks."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from npdraw import extras
from npdraw.cli import execute

RESULT = {"dtype": "fp32", "bytes": 7_042_775, "image_difference": 8.7e-06, "out": "x"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replace the stage; return the models that it is called with."""
    calls: list[Path] = []

    def stage(path: Path, **_: Any) -> dict[str, Any]:
        calls.append(path)
        return RESULT

    fake = SimpleNamespace(export_onnx=stage)
    monkeypatch.setitem(sys.modules, "npdraw.stages.export_onnx", fake)
    return calls


def test_the_figures_of_the_check_are_printed(
    shipped: Path, folder: Path, asked: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["export", "mnist", "--onnx"]) == 0
    out, err = capsys.readouterr()
    assert dict(line.split() for line in out.splitlines()) == {
        "dtype": "fp32",
        "bytes": "7,042,775",
        "image_difference": "8.7e-06",
        "out": "x",
    }
    assert execute(["export", "mnist", "--onnx", "--dtype", "fp32", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"ok": True, "command": "export", **RESULT}
    assert err == ""
    assert asked == [shipped / "mnist.safetensors"] * 2


def test_without_the_extra_a_hint_says_how_to_get_it(
    folder: Path,
    asked: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gone = ["onnxscript", "onnxruntime"]
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name in gone else name)
    assert execute(["export", "mnist", "--onnx", "--json"]) == 2
    out, err = capsys.readouterr()
    message = "--onnx needs packages that are not installed: onnxscript, onnxruntime"
    hint = "Install the extra: pip install 'npdraw[onnx]'"
    assert err.splitlines() == [f"Error: {message}", f"Hint: {hint}"]
    assert json.loads(out)["error"] == {"code": "usage", "message": message, "hint": hint}
    assert asked == []


def test_onnx_files_hold_fp32(
    folder: Path, asked: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["export", "mnist", "--onnx", "--dtype", "bf16"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "Error: --dtype bf16 does not go with --onnx, which stores fp32",
        "Hint: Leave it out.",
    ]
    assert asked == []
