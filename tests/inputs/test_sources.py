"""From the flags about pictures to settings and reading, and what is said about them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from npdraw.cli import execute
from npdraw.errors import UsageError
from npdraw.inputs.brushes import brush_of, layout_of, table_shapes
from npdraw.inputs.models import new_model
from npdraw.inputs.sources import UNUSED, Chosen, choose
from npdraw.presets import MOST_CELLS
from npdraw.reading import Reading, Wanted
from tests.datasets.own_pictures import drawings, shaded


@pytest.fixture
def paper(tmp_path: Path) -> str:
    """A folder of dark strokes on white."""
    return f"folder:{drawings(tmp_path / 'paper', ground=255, ink=0)}"


def chosen(data: str | None, preset: str | None = None, **flags: Any) -> Chosen:
    file, parse = flags.pop("file", None), flags.pop("parse", {})
    return choose(preset, data, file, Wanted(**flags), None, parse=parse)


def settings(result: Chosen) -> tuple[str, int, bool, bool]:
    assert result.reading is not None
    parse = result.config.parse
    return result.config.preset, parse.channels, parse.binarize, result.reading.invert


def test_the_preset_follows_from_the_pictures(paper: str, tmp_path: Path) -> None:
    result = chosen(paper)
    assert settings(result) == ("glyphs", 1, True, True)
    assert result.notes[0] == (
        "20 pictures, 28 x 28, grey, two-valued (--pixels levels for all greys); "
        "dark strokes on a light ground: inverted (--invert no keeps them)"
    )
    red = f"folder:{drawings(tmp_path / 'red', mode='RGB', ink=(255, 0, 0))}"
    assert settings(chosen(red)) == ("pictures", 3, False, False)
    (tmp_path / "grey").mkdir()
    for number in range(6):
        shaded(number).save(tmp_path / f"grey/{number}.png")
    assert settings(chosen(f"folder:{tmp_path / 'grey'}")) == ("textures", 1, False, False)


def test_flags_win_and_are_not_offered_again(paper: str) -> None:
    assert settings(chosen(paper, pixels="levels")) == ("textures", 1, False, False)
    assert settings(chosen(paper, channels="3")) == ("pictures", 3, False, False)
    result = chosen(paper, invert="no", background="#ff0000", fit="pad", pixels="binary")
    assert settings(result) == ("glyphs", 1, True, False)
    assert result.reading == Reading("#ff0000", fit="pad")
    assert "--" not in result.notes[0]


def test_a_preset_or_a_file_fixes_what_it_says(paper: str, tmp_path: Path) -> None:
    assert settings(chosen(paper, "mnist")) == ("mnist", 1, True, True)
    assert settings(chosen(paper, "cifar10")) == ("cifar10", 3, False, False)
    assert settings(chosen(paper, "cifar10-paper", pixels="binary"))[1:] == (1, True, True)
    with pytest.raises(UsageError, match="binary pixels with inks"):
        chosen(paper, "cifar10", pixels="binary")
    assert settings(chosen(paper, "mnist", channels="3"))[1:] == (3, False, False)
    file = tmp_path / "x.toml"
    file.write_text("[parse]\nbinarize = false\nparts = 7\n")
    result = chosen(paper, file=file, parse={"image_size": 16})
    assert settings(result) == ("textures", 1, False, False)
    assert (result.config.parse.parts, result.config.parse.image_size) == (7, 16)


@pytest.mark.parametrize("channels", ["1", "3"])
@pytest.mark.parametrize(
    ("side", "strokes", "levels"),  # part sides of the presets for strokes, and for all levels
    [
        *((16, [4], [8, 4, 4]), (28, [4], [8, 4, 4]), (32, [4], [8, 4, 4])),
        *((48, [4], [16, 8, 8]), (64, [4], [16, 8, 8]), (90, [6], [24, 12, 12])),
        *((96, [6], [24, 12, 12]), (128, [8], [32, 16, 16]), (256, [16], [64, 32, 32])),
    ],
)
def test_parts_suit_the_size_of_the_images(
    paper: str, side: int, strokes: list[int], levels: list[int], channels: str
) -> None:
    for pixels in ("levels", "binary")[: 2 if channels == "1" else 1]:
        result = chosen(paper, channels=channels, pixels=pixels, parse={"image_size": side})
        parse = result.config.parse
        expected = strokes if pixels == "binary" else levels
        assert [parse.part_size, *parse.finer] == expected
        assert parse.stride == parse.part_size
        layout = layout_of(parse)
        assert layout.steps <= (MOST_CELLS if pixels == "binary" else 144)
        sizes = ", ".join(f"{part} x {part}" for part in expected)
        assert result.notes[-1] == (
            f"parts of {sizes} pixels, {layout.steps} cells (--config for others)"
        )
        shapes = table_shapes(parse).items()
        brush = brush_of(parse, {name: torch.empty(shape, device="meta") for name, shape in shapes})
        assert len(brush.layout.layer_of) == layout.steps  # on the CPU, before the weights
        with torch.device("meta"):
            assert new_model(result.config, brush).layout == layout


@pytest.mark.parametrize(
    ("side", "sides"), [(16, (8, 4, 4)), (32, (8, 4, 4)), (48, (16, 8, 8)), (128, (32, 16, 16))]
)
def test_parts_with_ink_grow_with_the_canvas(paper: str, side: int, sides: tuple[int, ...]) -> None:
    result = chosen(paper, "cifar10", parse={"image_size": side})
    parse = result.config.parse
    assert (parse.part_size, parse.stride, *parse.finer) == (sides[0], *sides)
    shown = ", ".join(f"{part} x {part}" for part in sides)
    assert result.notes[-1].startswith(f"parts of {shown} pixels, {layout_of(parse).steps} cells")


def test_small_pictures_keep_their_size_and_larger_ones_are_shrunk(tmp_path: Path) -> None:
    for size, side in (((16, 16), 16), ((48, 48), 32), ((6, 6), 8), ((30, 300), 32)):
        source = f"folder:{drawings(tmp_path / str(size[0]), size=size)}"
        result = chosen(source)
        assert result.config.parse.image_size == side
        changed = f"{max(size)} to {side} pixels"
        assert any(changed in note for note in result.notes) == (size[0] != side)
        assert chosen(source, parse={"image_size": 20}).config.parse.image_size == 20
        assert chosen(source, "mnist").config.parse.image_size == 28
    file = tmp_path / "x.toml"
    for text in ("image_size = 28", "canvas_size = 14"):
        file.write_text(f"[parse]\n{text}\n")
        assert chosen(source, file=file).config.parse.image_size == 28


def test_the_parts_of_flags_files_and_named_sets_stay(paper: str, tmp_path: Path) -> None:
    big = {"image_size": 128}
    parse = chosen(paper, parse=big | {"part_size": 5, "stride": None}).config.parse
    assert (parse.part_size, parse.stride) == (5, 4)
    file = tmp_path / "x.toml"
    for text, sides in (
        ("stride = 8\npart_size = 8", (8, 8)),
        ("image_size = 128\ncanvas_size = 64", (4, 4)),
    ):
        file.write_text(f"[parse]\n{text}\n")
        result = chosen(paper, file=file, parse=dict(big))
        assert (result.config.parse.part_size, result.config.parse.stride) == sides
        assert "parts of" not in result.notes[-1]
    assert chosen("mnist", parse=dict(big)).config.parse.part_size == 4
    parse = chosen(paper, "celeba-paper", parse=dict(big)).config.parse
    assert (parse.canvas_size, parse.part_size) == (32, 4)
    flags = {"part_size": None, "stride": None}
    assert chosen(paper, parse=dict(flags)).notes[-1] == (
        "parts of 4 x 4 pixels, 49 cells (--part-size and --stride for others)"
    )


def test_named_sets_take_settings_but_no_reading() -> None:
    result = chosen("mnist")
    assert (result.config.preset, result.reading, result.notes) == ("mnist", None, ())
    assert chosen("glyphs", pixels="levels").config.parse.binarize is False
    result = chosen(None, channels="3")
    assert (result.config.parse.channels, result.config.parse.binarize) == (3, False)
    for name, value in (("background", "white"), ("invert", "yes"), ("fit", "pad")):
        with pytest.raises(UsageError, match=f"--{name} is for pictures and arrays of your own"):
            chosen("mnist", **{name: value})


def test_parse_says_what_it_sees(
    paper: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["parse", "--data", paper, "--dry-run", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["settings"]["preset"] == "glyphs"
    assert "dark strokes on a light ground: inverted" in shown.err
    assert execute(["parse", "--data", paper, "--invert", "no", "--dry-run", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--background", "red"), 2, "--background red is not a colour"),
        (("--channels", "3", "--pixels", "binary"), 2, "colour is not binary"),
        (("--data", "folder:missing"), 4, "there is no folder missing"),
    ],
)
def test_wrong_flags_and_sources_end_with_their_code(
    flags: tuple[str, ...],
    code: int,
    message: str,
    paper: str,
    workdir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert execute(["parse", "--data", paper, *flags]) == code
    assert message in capsys.readouterr().err


def test_black_pictures_are_a_data_error(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawings(workdir / "black", ink=0)
    assert execute(["run", "--data", "folder:black"]) == 4
    assert "all images of black are black" in capsys.readouterr().err
    assert not (workdir / "runs").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parse = 5", "parse in x.toml is not a section of settings"),
        ('parse = "ab"', "parse in x.toml is not a section of settings"),
        ("parse = [1]", "parse in x.toml is not a section of settings"),
        ("[parse]\nchannels = true", "parse.channels in x.toml is True, expected int"),
        ("[parse]\nchannels = 1.0", "parse.channels in x.toml is 1.0, expected int"),
        ("[parse]\nchannels = [3]", "parse.channels in x.toml is [3], expected int"),
        ("[parse]\nchannels = 2", "parse.channels is 2"),
        ("[parse]\nbinarize = 1", "parse.binarize in x.toml is 1, expected bool"),
        ("[parse]\nparts = 'x'", "parse.parts in x.toml is 'x', expected int"),
        ("[parse]\nimage_size = '28'", "parse.image_size in x.toml is '28', expected int"),
        ("[parse]\ncanvas_size = [28]", "parse.canvas_size in x.toml is [28], expected int"),
        ("[parse]\npart_size = {}", "parse.part_size in x.toml is {}, expected int"),
        ("[parse]\nchannels = 3\nbinarize = true", "colour is not binary"),
    ],
)
def test_a_file_with_wrong_values_is_an_ordinary_error(
    text: str, message: str, paper: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "x.toml").write_text(text)
    for command in ("parse", "run"):
        assert execute([command, "--data", paper, "--config", "x.toml", "--dry-run"]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "flags", "expected"),
    [
        ("channels = 3", {}, ("pictures", 3, False, False)),
        ("channels = 1", {}, ("glyphs", 1, True, True)),
        ("binarize = false", {}, ("textures", 1, False, False)),
        ("binarize = true", {}, ("glyphs", 1, True, True)),
        ("channels = 3\nbinarize = false", {}, ("pictures", 3, False, False)),
        # Flags replace what the file says.
        ("channels = 3", {"channels": "1"}, ("glyphs", 1, True, True)),
        ("channels = 3", {"pixels": "binary"}, ("glyphs", 1, True, True)),
        ("binarize = true", {"pixels": "levels"}, ("textures", 1, False, False)),
        ("binarize = true", {"channels": "3"}, ("pictures", 3, False, False)),
    ],
)
def test_a_file_may_fix_channels_and_levels(
    text: str, flags: dict[str, str], expected: tuple[Any, ...], paper: str, tmp_path: Path
) -> None:
    (tmp_path / "x.toml").write_text(f"[parse]\n{text}\n")
    assert settings(chosen(paper, file=tmp_path / "x.toml", **flags)) == expected
    with_preset = chosen(paper, "mnist", file=tmp_path / "x.toml", **flags)
    assert settings(with_preset)[1:] == expected[1:]


def test_a_section_of_another_command_is_noted(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    for content, notes in (("[classes]\nsteps = 3", (UNUSED,)), ("[prior]\nsteps = 3", ())):
        file.write_text(content)
        assert chosen("glyphs", file=file).notes == notes
