"""The report says how pictures of your own were read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from npdraw.cli import execute
from npdraw.report.provenance import provenance
from npdraw.report.runs import find_runs
from tests.datasets.own_pictures import drawings
from tests.report.pages import ODD, Page


@pytest.fixture
def own(workdir: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, list[str]]:
    """A parse of dark strokes on white in two classes, and what the command said about them."""
    for name in ("cat", "dog"):
        drawings(workdir / "secret/own" / name, 20, size=(60, 28), ground=255, ink=0)
    (workdir / "secret/own/cat/bad.png").write_bytes(b"no picture")
    (workdir / "secret/own/cat/note.txt").write_text("x")
    source = f"folder:{workdir / 'secret/own'}"
    assert execute(["parse", "--data", source, "--out", "run/parse.safetensors"]) == 0
    said = capsys.readouterr().err.splitlines()
    return workdir / "run", [line for line in said if not line.startswith("parse ")]


def images_of(run: Path) -> list[str]:
    return list(provenance(find_runs([run])[0])[0].notes)


def test_it_shows_what_the_parse_said(
    own: tuple[Path, list[str]], written: Callable[..., Page]
) -> None:
    run, said = own
    assert images_of(run) == said
    text = " ".join(said)
    for part in ("inverted", "padded with white", "2 classes", "left out", "parts of 4 x 4"):
        assert part in text
    page = written(run)
    for line in said:
        assert line in page.texts["p"]
    assert "secret" not in page.content.decode()


def test_the_record_says_it_where_no_notes_are(own: tuple[Path, list[str]]) -> None:
    run, _ = own
    config = run / "parse.safetensors.run/config.json"
    config.unlink()
    expected = [
        "inverted; transparent pixels put on white; pictures that are not square padded with "
        "white; 0 becomes black, 255 white",
        "2 classes: cat, dog",
    ]
    assert images_of(run) == expected
    for notes in (None, 5, [1, {}], "x"):
        config.write_text(json.dumps({"notes": notes}))
        assert images_of(run) == expected


def test_notes_are_escaped_and_limited(
    own: tuple[Path, list[str]], written: Callable[..., Page]
) -> None:
    run, _ = own
    config = run / "parse.safetensors.run/config.json"
    config.write_text(json.dumps({"notes": [ODD, "x" * 10_000, *["y"] * 1000]}))
    notes = images_of(run)
    assert (len(notes), len(notes[1])) == (20, 2000)
    page = written(run)
    assert ODD in page.texts["p"]
    assert ODD not in page.content.decode().replace("&#39;", "'")
