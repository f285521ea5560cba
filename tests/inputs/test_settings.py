"""What a preset, a data set, settings that are given and flags mean together."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from npdraw.errors import DataError, UsageError
from npdraw.inputs import settings
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
    assert settings.preset_and_data(preset, data) == expected


@pytest.mark.parametrize("data", ["folder:/x/y", "npz:a.npz"])
def test_missing_pictures_have_no_preset(data: str) -> None:
    with pytest.raises(DataError, match="there is no"):
        settings.preset_and_data(None, data)


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
        assert settings.preset_and_data(None, data) == (expected, data)
        assert settings.preset_and_data("mnist", data) == ("mnist", data)


def test_settings_are_preset_then_file_then_flags(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("[parse]\nparts = 7\nstride = 4\n[prior]\nsteps = 3\n")
    config = settings.resolved("mnist", "glyphs", file, parse={"parts": 9, "snap": None})
    assert (config.preset, config.data) == ("mnist", "glyphs")
    assert (config.parse.parts, config.parse.stride, config.prior.steps) == (9, 4, 3)
    assert config.decoder == PRESETS["mnist"].decoder
    assert settings.changes(file, prior={"steps": None, "batch_size": 5}, parse={"parts": 9}) == {
        "parse": {"parts": 9, "stride": 4},
        "prior": {"steps": 3, "batch_size": 5},
    }


def test_an_unknown_setting_names_the_file_and_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("[parse]\npart = 7\n")
    with pytest.raises(UsageError, match=r"unknown setting parse\.part in .*x\.toml") as raised:
        settings.resolved("mnist", "mnist", file)
    assert "'parts'" in raised.value.hint
    file.write_text("parse = 3\n")
    with pytest.raises(UsageError, match="not a section"):
        settings.changes(file, parse={"parts": 9})
