"""The study of edits: distances and changes, checked by hand and on a tiny model."""

from pathlib import Path

import pytest
import torch

from benchmarks.studies.edits import distances, edited, mean_changes
from npdraw.drawings.drawing_model import open_model
from npdraw.drawings.regions import Region
from npdraw.runtime.settings import Runtime
from tests.conftest import WriteModel


def test_distances_from_a_region_by_hand() -> None:
    assert distances(Region(1, 2, 1, 3), 3, 5).tolist() == [
        [1, 1, 1, 1, 2],
        [1, 0, 0, 1, 2],
        [1, 1, 1, 1, 2],
    ]


def test_changes_are_means_over_the_pixels_of_a_distance() -> None:
    distance = torch.tensor([[0, 0, 1, 4, 5, 9]])
    changes = torch.tensor([[1.0, 3.0, 0.5, 0.1, 0.2, 0.0]])
    assert mean_changes(changes, distance) == pytest.approx(
        {"inside": 2.0, "near": 0.3, "far": 0.1, "outside": 0.2}
    )


def test_canvases_change_only_inside_the_region(write_model: WriteModel, tmp_path: Path) -> None:
    write_model(tmp_path / "model.safetensors", "glyphs")
    model = open_model(tmp_path / "model.safetensors", Runtime(threads=1))
    side = model.config.parse.image_size
    images = (torch.rand(24, 1, side, side) < 0.5).float()
    result = edited(model, images, 0)
    assert result["edits"] == 12
    assert result["edits_that_change_the_canvas"] > 0
    assert result["canvas_change_outside_largest"] == 0
    # An untrained decoder gives every canvas the same image.
    assert result["decoded_change_mean"]["inside"] == 0
    assert result["inside_over_outside"] is None
