"""Reconstructions show images, parses and posteriors, and their figures."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from npdraw.drawings.drawing_model import DrawingModel
from npdraw.drawings.named import named_drawing
from npdraw.drawings.reconstruct import reconstruct
from npdraw.errors import DataError, UsageError


def test_reconstructions_have_the_figures_of_each_image(
    model: DrawingModel, trained: Any, command: dict[str, Any], tmp_path: Path
) -> None:
    more = {"samples": 3, "out": tmp_path / "x.png", **command}
    result = reconstruct(trained.model, names=["test:0", "test:5"], **more)
    assert json.loads(json.dumps(result["figures"])) == result["figures"]
    images = torch.cat(
        [named_drawing(w, model, command["root"]).image for w in ("test:0", "test:5")]
    )
    for name, z in (("parse", model.parse(images)), ("posterior", model.encode(images))):
        error = (model.paint(z)[:, :1] - images).square().mean((1, 2, 3))
        assert [row[f"{name}_canvas_mse"] for row in result["figures"]] == error.tolist()
        assert [row[f"{name}_parts"] for row in result["figures"]] == z.whether.sum(1).tolist()
    # Each is of its image alone, wherever that stands in the list.
    assert [row["nll"] for row in result["figures"]] == [
        model.nll(image, 3).item() for image in images.split(1)
    ]
    assert reconstruct(trained.model, names=["test:0", "test:5"], **more)["up_to_date"]
    paths = [tmp_path / f"{name}.png" for name in "ab"]  # other images of one drawing
    for path, value in zip(paths, (0, 255), strict=True):
        Image.new("L", (8, 8), value).save(path)
    first, second = (
        reconstruct(trained.model, names=[str(path)], **more | {"out": tmp_path / "y.png"})
        for path in paths
    )
    assert "up_to_date" not in first and "up_to_date" not in second
    with pytest.raises(UsageError, match="seed:0 is a drawing, not an image"):
        reconstruct(trained.model, names=["seed:0"], **more)
    with pytest.raises(DataError) as caught:
        reconstruct(trained.model, names=["missing.png"], **more)
    assert caught.value.hint == "Name a picture, or test:N for a test image."
