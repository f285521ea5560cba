"""Each wrong input gives one line, a hint and an exit code, and leaves the artifacts alone."""

from pathlib import Path

import pytest

from tests.pipeline.commands import RUNTIME, Command


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
        ("parse --data folder:empty", 4, "there is no picture in empty", ""),
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
    exit_code, printed = command(*line.split())
    assert exit_code == code
    assert message in printed["error"]["message"]
    assert hint in printed["error"]["hint"]
    assert printed["error"]["message"]
    assert "\n" not in printed["error"]["message"] + printed["error"]["hint"]
    assert {path: path.read_bytes() for path in folder.glob("*.safetensors")} == before
