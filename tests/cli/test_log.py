"""`--log tensorboard`: which commands have it, and what an extra lacks."""

import json
from pathlib import Path

import pytest

from npdraw import extras
from npdraw.cli import execute


@pytest.mark.parametrize("command", ["train-prior", "train-decoder", "train-classes", "run"])
def test_without_the_extra_a_hint_says_how_to_get_it(
    command: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert execute([command, "--log", "tensorboard", "--json"]) == 2
    out, err = capsys.readouterr()
    message = "--log tensorboard needs packages that are not installed: tensorboard"
    hint = "Install the extra: pip install 'npdraw[tensorboard]'"
    assert err.splitlines() == [f"Error: {message}", f"Hint: {hint}"]
    assert json.loads(out)["error"] == {"code": "usage", "message": message, "hint": hint}
    assert list(folder.iterdir()) == []


def test_a_log_is_one_that_is_known(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["train-prior", "--log", "notebook"]) == 2
    assert "--log" in capsys.readouterr().err
