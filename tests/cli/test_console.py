"""What is printed: results for people and programs, and errors."""

import json
from pathlib import Path

import pytest

from npdraw.cli import console
from npdraw.errors import UsageError


def test_figures_are_aligned_and_have_units() -> None:
    result = {
        "nll": 80.614,
        "nll_se": 0.2138,
        "images": 10_000,
        "out": "runs/[/data]/x",
        "files": [f"{i}.png" for i in range(20)],
        "metrics": {"canvas_mse": 0.03112, "ready": True, "none": None},
        "seed": 12345,
    }
    assert console.figures(result) == [
        "nll                 80.61 ± 0.21 nats",
        "images              10,000",
        "out                 runs/[/data]/x",
        "files               0.png, 1.png, 2.png, ..., 19.png",
        "metrics.canvas_mse  0.0311",
        "metrics.ready       yes",
        "metrics.none        -",
        "seed                12345",
    ]


def test_json_is_one_object_without_numbers_it_cannot_hold(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = {"nll": float("inf"), "list": [float("nan"), 1.5], "out": Path("a/b"), "s": "ä"}
    console.show("eval-nll", result, as_json=True)
    line, end = capsys.readouterr().out.split("\n")
    assert end == ""
    assert json.loads(line) == {
        "ok": True,
        "command": "eval-nll",
        "nll": None,
        "list": [None, 1.5],
        "out": "a/b",
        "s": "ä",
    }


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    error = UsageError("cannot read \x1b[31mred\x9b.png\nor ä", hint="a\rb")
    console.show_error("parse", error, as_json=False)
    shown = r"Error: cannot read \x1b[31mred\x9b.png or ä" + "\nHint: a b\n"
    assert capsys.readouterr().err == shown
