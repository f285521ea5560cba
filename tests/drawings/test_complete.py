"""Completions keep what is given."""

from pathlib import Path
from typing import Any

import pytest

from npdraw.drawings.complete import complete
from npdraw.drawings.drawing_model import DrawingModel
from npdraw.drawings.named import named_drawing
from npdraw.drawings.regions import Region
from npdraw.errors import UsageError
from npdraw.model.latents import Latents


def test_completions_keep_strokes_or_regions(
    model: DrawingModel, stages: Any, trained: Any, command: dict[str, Any], tmp_path: Path
) -> None:
    given = named_drawing("test:0", model, command["root"]).drawing
    seen = stages.Recorder()
    more = {"seeds": [0, 1, 2], "temperature": 1.0, "out": tmp_path / "x.png", **command}
    more["progress"] = seen
    nothing = complete(trained.model, name=None, prefix=None, region=None, **more)
    _same(nothing, model.sample(3))
    assert seen.tasks[0][:2] == ("complete", 3) and seen.counts == [1, 2, 3, -1]
    strokes = int(given.whether.sum())
    assert strokes > 1
    all_of_it = complete(trained.model, name="test:0", prefix=strokes, region=None, **more)
    assert all(d["strokes"] == all_of_it["given"] for d in all_of_it["drawings"])
    one = complete(trained.model, name="test:0", prefix=1, region=None, **more)
    assert len(one["given"]) == 1
    assert all(d["strokes"][0] == one["given"][0] for d in one["drawings"])
    region = complete(trained.model, name="test:0", prefix=None, region=Region(4, 8, 0, 8), **more)
    for found in region["drawings"]:
        below = [s for s in found["strokes"] if s["step"] >= 2]
        assert below == region["given"]
    kept = complete(trained.model, name="test:0", prefix=None, region=None, **more)
    assert len(kept["given"]) == strokes
    assert all(s in d["strokes"] for d in kept["drawings"] for s in kept["given"])
    for wrong in (
        {"name": "test:0", "prefix": 99, "region": None},
        {"name": "test:0", "prefix": 1, "region": Region(0, 8, 0, 8)},
        {"name": None, "prefix": 1, "region": None},
    ):
        with pytest.raises(UsageError) as caught:
            complete(trained.model, **wrong, **more)
        assert caught.value.hint


def _same(result: dict[str, Any], z: Latents) -> None:
    for row, found in enumerate(result["drawings"]):
        assert [s["step"] for s in found["strokes"]] == z.whether[row].nonzero().flatten().tolist()
        assert [s["part"] for s in found["strokes"]] == z.what[row][z.whether[row]].tolist()
