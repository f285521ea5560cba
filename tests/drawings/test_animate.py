"""Animations show every stroke."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from npdraw.drawings.animate import animate, interpolate
from npdraw.drawings.drawing_model import DrawingModel
from npdraw.drawings.named import named_drawing
from npdraw.errors import UsageError


def test_animations_have_a_frame_for_each_stroke(
    model: DrawingModel,
    trained: Any,
    command: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ["seed:0", "test:1"]
    out = tmp_path / "x.apng"
    result = animate(trained.model, names=names, fps=8.0, out=out, **command)
    strokes = [int(named_drawing(w, model, command["root"]).drawing.whether.sum()) for w in names]
    assert result["steps"] == strokes
    with Image.open(out) as picture:
        assert picture.n_frames == result["frames"] == 1 + max(strokes)
    assert animate(trained.model, names=names, fps=8.0, out=out, **command)["up_to_date"]
    # Many strokes are shown faster, unless `fps` is given.
    for longest, expected in ((15, 125), (max(strokes) / 20, 1000 // (20 + 20 / max(strokes)))):
        monkeypatch.setattr("npdraw.drawings.frames.LONGEST", longest)
        animate(trained.model, names=names, fps=None, out=tmp_path / "z.apng", **command)
        with Image.open(tmp_path / "z.apng") as picture:
            assert abs(picture.info["duration"] - expected) <= 1
    gif = tmp_path / "y.gif"
    told = interpolate(trained.model, names=("seed:0", "seed:1"), fps=4.0, out=gif, **command)
    assert told["frames"] == 1 + told["steps"][0]
    for wrong in ({"fps": 0.0}, {"fps": 0.01}, {"fps": 51.0}, {"names": ["seed:0"] * 17}):
        with pytest.raises(UsageError):
            animate(trained.model, **{"names": names, "fps": 8.0, "out": out, **wrong}, **command)
