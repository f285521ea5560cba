"""Drawings as JSON: exact round trips, and nothing else is taken for one."""

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from npdraw.drawings.strokes import as_json, fingerprint, read_drawing, strokes_of, write_drawing
from npdraw.errors import ArtifactError
from npdraw.model.brush import PartBrush
from npdraw.model.latents import Latents
from npdraw.model.layout import Layout

LAYOUT, PARTS = Layout(8, 8, part_size=4, stride=3, jitter=2), 5
BANK = torch.linspace(0, 1, PARTS * 16).view(PARTS, 1, 4, 4)
BRUSH, OTHER = PartBrush(LAYOUT, BANK), PartBrush(LAYOUT, 1 - BANK)


@pytest.fixture
def random_drawing() -> Callable[[], Latents]:
    def draw() -> Latents:
        size = 1, LAYOUT.steps
        whether = torch.rand(size) < 0.6
        where, what = torch.randint(LAYOUT.placements, size), torch.randint(PARTS, size)
        return Latents(whether, where, what).canonical()

    return draw


def test_a_drawing_comes_back_exactly(
    tmp_path: Path, random_drawing: Callable[[], Latents]
) -> None:
    torch.manual_seed(0)
    for number in range(20):
        z, path = random_drawing(), tmp_path / f"{number}.json"
        write_drawing(path, z, BRUSH)
        found = read_drawing(path, BRUSH)
        for name in ("whether", "where", "what"):
            assert torch.equal(getattr(found, name), getattr(z, name))
        assert fingerprint(found) == fingerprint(z)


def test_strokes_have_the_positions_of_their_parts(random_drawing: Callable[[], Latents]) -> None:
    torch.manual_seed(1)
    z = random_drawing()
    strokes = strokes_of(z, LAYOUT)
    assert [stroke["step"] for stroke in strokes] == z.whether[0].nonzero().flatten().tolist()
    first = LAYOUT.positions[0, 0].tolist()
    for stroke in strokes:
        cell, where = divmod(stroke["step"], LAYOUT.columns), int(z.where[0, stroke["step"]])
        offset = divmod(where, LAYOUT.jitter)
        assert stroke["row"] == first[0] + 3 * cell[0] + offset[0]
        assert stroke["column"] == first[1] + 3 * cell[1] + offset[1]


def test_equal_drawings_have_one_fingerprint(random_drawing: Callable[[], Latents]) -> None:
    torch.manual_seed(2)
    z = random_drawing()
    other = Latents(z.whether, z.where + ~z.whether, z.what + 2 * ~z.whether)
    assert fingerprint(z) == fingerprint(other)
    z.what[z.whether] = (z.what[z.whether] + 1) % PARTS
    assert fingerprint(z) != fingerprint(other)


def stroke(**values: Any) -> dict[str, Any]:
    first = LAYOUT.positions[2, 1].tolist()
    return {"step": 2, "row": first[0], "column": first[1], "part": 4} | values


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "mark": ({"npdraw": "painting"}, 'it has no "npdraw"'),
    "schema": ({"schema": 2}, "its schema is 2, expected 1"),
    "true schema": ({"schema": True}, "its schema is True"),
    "canvas": ({"canvas": [8, 9]}, "canvas [8, 9], expected [8, 8]"),
    "part size": ({"part_size": 5}, "part_size 5, expected 4"),
    "surplus": ({"colour": 1}, "unknown 'colour'"),
    "no list": ({"strokes": {}}, "its strokes are not a list"),
    "no stroke": ({"strokes": [7]}, "stroke 0 is not an object with step, row"),
    "entry": ({"strokes": [stroke(ink=1)]}, "stroke 0 has the unknown entry 'ink'"),
    "text": ({"strokes": [stroke(part="4")]}, "part of stroke 0 is '4', not a whole number"),
    "true": ({"strokes": [stroke(part=True)]}, "part of stroke 0 is True"),
    "step": ({"strokes": [stroke(step=9)]}, "step of stroke 0 is 9, not in 0..8"),
    "part": ({"strokes": [stroke(part=-1)]}, "part of stroke 0 is -1, not in 0..4"),
    "place": ({"strokes": [stroke(row=4)]}, "where step 2 cannot place it"),
    "twice": ({"strokes": [stroke(), stroke(part=1)]}, "stroke 1 is at step 2, after that of"),
}


@pytest.mark.parametrize("name", WRONG)
def test_anything_else_is_refused(
    name: str, tmp_path: Path, random_drawing: Callable[[], Latents]
) -> None:
    change, words = WRONG[name]
    values = copy.deepcopy(as_json(random_drawing(), BRUSH)) | change
    path = tmp_path / "x.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ArtifactError) as caught:
        read_drawing(path, BRUSH)
    assert words in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2]", b"[" * 200_000, b"NaN"])
def test_files_of_any_kind_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"x\.json is not a drawing for this model"):
        read_drawing(path, BRUSH)


def test_reading_a_pipe_or_folder_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.json")
    (tmp_path / "y.json").mkdir()
    for name in ("x.json", "y.json"):
        with pytest.raises(ArtifactError, match="it is not a regular file"):
            read_drawing(tmp_path / name, BRUSH)


def test_a_missing_file_and_a_drawing_of_another_bank_are_refused(
    tmp_path: Path, random_drawing: Callable[[], Latents]
) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(ArtifactError, match="cannot read"):
        read_drawing(path, BRUSH)
    write_drawing(path, random_drawing(), OTHER)
    with pytest.raises(ArtifactError) as caught:
        read_drawing(path, BRUSH)
    for brush in (BRUSH, OTHER):
        assert as_json(random_drawing(), brush)["bank"][:6] in caught.value.message
