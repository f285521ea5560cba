"""What the flags mean: paths, regions, seeds."""

from pathlib import Path

import numpy as np
import pytest

from npdraw.cli import resolve
from npdraw.errors import ArtifactError, UsageError


def test_commands_share_a_folder(tmp_path: Path) -> None:
    given = tmp_path / "parse.safetensors"
    assert resolve.folder(None, None) == Path("runs/glyphs")
    assert resolve.folder(None, "mnist-paper") == Path("runs/mnist-paper")
    assert resolve.folder(None, None, "mnist") == Path("runs/mnist")
    assert resolve.folder(None, None, find="mnist") == Path("runs/mnist")
    assert resolve.folder(given, None) == tmp_path
    assert resolve.folder(given, None, find="mnist") == tmp_path
    colours = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    np.save(tmp_path / "colours.npy", colours)
    assert resolve.folder(None, None, f"npz:{tmp_path / 'colours.npy'}") == Path("runs/pictures")


def test_a_flag_that_would_not_be_read_is_refused() -> None:
    given = Path("a/parse.safetensors")
    with pytest.raises(UsageError, match="--preset mnist says where to look"):
        resolve.folder(given, "mnist")
    with pytest.raises(UsageError, match="--data mnist says where to look"):
        resolve.folder(given, None, "mnist")


def test_an_artifact_is_the_one_given_or_the_one_in_the_folder(tmp_path: Path) -> None:
    there = tmp_path / "prior.safetensors"
    there.touch()
    assert resolve.artifact("prior", None, tmp_path) == there
    # Reading one that exists is left to the stage.
    assert resolve.artifact("parse", there, Path("no/such")) == there
    with pytest.raises(ArtifactError, match="there is no file no/such") as caught:
        resolve.artifact("prior", Path("no/such"), tmp_path)
    assert caught.value.hint == "Make it: npdraw train-prior"


@pytest.mark.parametrize(
    ("folder", "made_from", "hint"),
    [
        ("runs/glyphs", None, "Make it: npdraw train-prior"),
        ("runs/mnist", None, "Make it: npdraw train-prior --preset mnist"),
        ("a b", Path("a b/p"), "Make it: npdraw train-prior 'a b/p'"),
    ],
)
def test_a_missing_artifact_names_the_command_that_makes_it(
    folder: str,
    made_from: Path | None,
    hint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match=r"there is no .*prior\.safetensors") as raised:
        resolve.artifact("prior", None, Path(folder), made_from=made_from)
    assert raised.value.hint == hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", [3]),
        ("0-3", [0, 1, 2, 3]),
        ("7-7", [7]),
        ("0-2,20, 1-4", [0, 1, 2, 20, 3, 4]),
        ("9223372036854775807", [2**63 - 1]),
    ],
)
def test_seeds(text: str, expected: list[int]) -> None:
    assert resolve.seeds(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "-1", "1-", "a", "1,,2", "3-1", "1.5", "0-1000000", "1-2-3", "²", "9223372036854775808"],
)
def test_wrong_seeds(text: str) -> None:
    with pytest.raises(UsageError, match="--seeds"):
        resolve.seeds(text)


def test_regions_are_four_numbers_with_something_between() -> None:
    assert resolve.region(None) is None
    assert resolve.region("0:14,3:28") == (0, 14, 3, 28)


@pytest.mark.parametrize("text", ["0:14", "0:14,0:x", "-1:4,0:4", "4:4,0:9", "0:4,9:3", "0:4,0:4,"])
def test_wrong_regions(text: str) -> None:
    with pytest.raises(UsageError, match="--region"):
        resolve.region(text)


def test_pairs_are_two_numbers_each() -> None:
    assert resolve.numbers("--move", ["3:4", "17:0"]) == [(3, 4), (17, 0)]
    for text in ("3", "3:", "3:-1", "a:b", "3:4:5:6"):
        with pytest.raises(UsageError, match=r"--move .* is not two numbers"):
            resolve.numbers("--move", [text])


def test_strokes_are_two_numbers_or_with_ink_four() -> None:
    result = resolve.numbers("--add", ["3:4", "17:0:5:2"], (2, 4))
    assert result == [(3, 4), (17, 0, 5, 2)]
    for text in ("3", "3:4:5", "3:4:5:-1", "3:4:5:6:7"):
        with pytest.raises(UsageError, match=r"--add .* is not two or four numbers"):
            resolve.numbers("--add", [text], (2, 4))
