"""What the flags mean together: presets, data sets, paths, settings, seeds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from npdraw.cli import resolve
from npdraw.errors import ArtifactError, DataError, UsageError
from npdraw.presets import PRESETS


@pytest.mark.parametrize(
    ("preset", "data", "expected"),
    [
        (None, None, ("glyphs", "glyphs")),
        (None, "mnist", ("mnist", "mnist")),
        ("mnist-paper", None, ("mnist-paper", "mnist")),
        ("mnist-paper", "omniglot", ("mnist-paper", "omniglot")),
        ("mnist", "npz:a.npz", ("mnist", "npz:a.npz")),
    ],
)
def test_preset_and_data_follow_from_each_other(
    preset: str | None, data: str | None, expected: tuple[str, str]
) -> None:
    assert resolve.preset_and_data(preset, data) == expected


@pytest.mark.parametrize("data", ["folder:/x/y", "npz:a.npz"])
def test_missing_pictures_have_no_preset(data: str) -> None:
    with pytest.raises(DataError, match="there is no"):
        resolve.preset_and_data(None, data)


def test_the_preset_of_pictures_follows_from_a_look_at_them(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    (tmp_path / "grey").mkdir()
    (tmp_path / "coloured").mkdir()
    (tmp_path / "drawn").mkdir()
    for number, picture in enumerate(colours):
        Image.fromarray(picture).convert("L").convert("RGB").save(f"{tmp_path}/grey/{number}.png")
        Image.fromarray(picture).save(f"{tmp_path}/coloured/{number}.png")
        drawn = (picture[..., 0] > 99).astype(np.uint8) * 255
        Image.fromarray(drawn).save(f"{tmp_path}/drawn/{number}.png")
    (tmp_path / "coloured/1.png").write_bytes(b"none")
    np.savez(tmp_path / "grey.npz", train=colours[..., 0], test=colours[..., 0])
    np.savez(tmp_path / "coloured.npz", train=colours, test=colours)
    for source, expected in {
        "folder:drawn": "glyphs",
        "folder:grey": "textures",
        "folder:coloured": "pictures",
        "npz:grey.npz": "textures",
        "npz:coloured.npz": "pictures",
    }.items():
        kind, _, name = source.partition(":")
        data = f"{kind}:{tmp_path / name}"
        assert resolve.preset_and_data(None, data) == (expected, data)
        assert resolve.preset_and_data("mnist", data) == ("mnist", data)
        assert resolve.folder(None, None, data) == Path("runs") / expected


def test_settings_are_preset_then_file_then_flags(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("[parse]\nparts = 7\nstride = 4\n[prior]\nsteps = 3\n")
    config = resolve.config("mnist", "glyphs", file, parse={"parts": 9, "snap": None})
    assert (config.preset, config.data) == ("mnist", "glyphs")
    assert (config.parse.parts, config.parse.stride, config.prior.steps) == (9, 4, 3)
    assert config.decoder == PRESETS["mnist"].decoder
    assert resolve.changes(file, prior={"steps": None, "batch_size": 5}, parse={"parts": 9}) == {
        "parse": {"parts": 9, "stride": 4},
        "prior": {"steps": 3, "batch_size": 5},
    }


def test_an_unknown_setting_names_the_file_and_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("[parse]\npart = 7\n")
    with pytest.raises(UsageError, match=r"unknown setting parse\.part in .*x\.toml") as raised:
        resolve.config("mnist", "mnist", file)
    assert "'parts'" in raised.value.hint
    file.write_text("parse = 3\n")
    with pytest.raises(UsageError, match="not a section"):
        resolve.changes(file, parse={"parts": 9})


def test_commands_share_a_folder(tmp_path: Path) -> None:
    given = tmp_path / "parse.safetensors"
    assert resolve.folder(None, None) == Path("runs/glyphs")
    assert resolve.folder(None, "mnist-paper") == Path("runs/mnist-paper")
    assert resolve.folder(None, None, "mnist") == Path("runs/mnist")
    assert resolve.folder(None, None, find="mnist") == Path("runs/mnist")
    assert resolve.folder(given, None) == tmp_path
    assert resolve.folder(given, None, find="mnist") == tmp_path


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
