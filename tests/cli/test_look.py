"""`npdraw data look`: what it prints, as text and as JSON, and what it refuses."""

import json
from pathlib import Path

import pytest
from PIL import Image

from npdraw.cli import execute
from tests.datasets.own_pictures import drawings
from tests.test_interface import keys_of


@pytest.fixture
def own(folder: Path) -> str:
    """Two classes of dark strokes on white, and a file that is not a picture."""
    for name, width in (("cat", 2), ("dog", 4)):
        drawings(folder / "own" / name, 15, ground=255, ink=0, width=width)
    (folder / "own/read.txt").touch()
    return "folder:own"


def test_it_prints_the_facts_and_the_choices(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["data", "look", own]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    table, _, notes = out.partition("\n\n")
    rows = dict(line.split("  ", 1) for line in table.splitlines())
    facts = {name: value.strip() for name, value in rows.items()}
    assert facts["pictures"] == "30"
    assert facts["left out"] == ".txt 1"
    assert facts["classes"] == "cat 15, dog 15"
    assert facts["becomes"] == "28 x 28, grey, binary"
    assert facts["inverted"] == "yes"
    assert facts["preset"] == "glyphs"
    assert facts["sheet"] == "runs/look.png, 27 images"
    assert "dark strokes on a light ground: inverted (--invert no keeps them)" in notes
    assert Path("runs/look.png").is_file()


def test_its_json_has_the_keys_of_the_interface(
    own: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["data", "look", own, "--invert", "no", "--out", "x.png", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result.pop("ok"), result.pop("command")) == (True, "data look")
    nested = {*result["sizes"], *result["reading"]}
    assert set(result) | nested == keys_of("data look")
    assert result["classes"] == {"cat": 15, "dog": 15}
    assert result["reading"]["invert"] is False
    assert result["out"] == "x.png"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["mnist"], 2, "mnist is a data set that npdraw knows"),
        (["own"], 2, "Write folder:own."),
        (["folder:missing"], 4, "there is no folder missing"),
        (["folder:own", "--out", "x.jpg"], 2, "x.jpg does not end in .png"),
        (["folder:own", "--out", "mine.png"], 2, "is not a picture that npdraw made"),
        (["folder:own", "--fit", "pads"], 2, "'pads' is not one of"),
    ],
)
def test_it_refuses_what_it_cannot_do(
    arguments: list[str],
    code: int,
    message: str,
    own: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.new("L", (4, 4)).save("mine.png")
    assert execute(["data", "look", *arguments]) == code
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()
