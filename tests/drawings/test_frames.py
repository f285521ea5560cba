"""Frames and pictures of drawings."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from npdraw.drawings.animate import animate, interpolate
from npdraw.drawings.complete import complete
from npdraw.drawings.drawing_model import DrawingModel
from npdraw.drawings.edit import Changes, decode, edit
from npdraw.drawings.frames import prefixes, rendered, transitions
from npdraw.drawings.reconstruct import reconstruct
from npdraw.drawings.strokes import fingerprint
from npdraw.errors import UsageError
from npdraw.runtime.settings import Runtime


def test_prefixes_and_transitions_go_step_by_step(model: DrawingModel) -> None:
    for a, b in zip(model.sample(20), model.sample(20, seed=50), strict=True):
        one, other = a[None] if a.whether.ndim == 1 else a, b[None] if b.whether.ndim == 1 else b
        z, steps = prefixes(one)
        assert not z.whether[0].any() and fingerprint(z[-1:]) == fingerprint(one)
        for row, step in enumerate(steps):
            grown = z.whether[row + 1] & ~z.whether[row]
            assert grown.nonzero().flatten().tolist() == [step]
        way, steps = transitions(one, other)
        assert fingerprint(way[:1]) == fingerprint(one)
        assert fingerprint(way[-1:]) == fingerprint(other)
        for row, step in enumerate(steps):
            _, between = transitions(way[row : row + 1], way[row + 1 : row + 2])
            assert between == [step]


def test_pictures_are_drawn_with_the_runtime_given(model: DrawingModel) -> None:
    z = model.sample(3)
    lower = replace(model, runtime=Runtime(precision="bf16"))
    exact, rounded = rendered(model, z)[1].int(), rendered(lower, z)[1].int()
    assert 0 < (exact - rounded).abs().max() < 16


def test_a_picture_that_cannot_be_written_is_refused_before_a_model_is_read(
    stages: Any, command: dict[str, Any], tmp_path: Path
) -> None:
    nowhere, theirs = tmp_path / "no-model", tmp_path / "theirs.png"
    Image.new("L", (8, 8)).save(theirs)
    drawn = {"seeds": [0], "temperature": 1.0, "progress": stages.Recorder()}
    commands: list[tuple[Callable[..., Any], dict[str, Any]]] = [
        (animate, {"names": ["seed:0"], "fps": 8.0}),
        (interpolate, {"names": ("seed:0", "seed:1"), "fps": 8.0}),
        (reconstruct, {"names": ["test:0"], "samples": 1}),
        (complete, {"name": None, "prefix": None, "region": None, **drawn}),
        (decode, {"drawing": "seed:0"}),
        (edit, {"name": "seed:0", "other": None, "region": None, "changes": Changes()}),
    ]
    for out, words in (
        (tmp_path / "x.txt", "does not end in"),
        (theirs, "is not a picture that npdraw made"),
        (tmp_path, "it is a folder"),
    ):
        for make, given in commands:
            with pytest.raises(UsageError, match=words):
                make(nowhere, **given, out=out, **command)
