"""Regions of pixels, and the cells inside them."""

import pytest

from npdraw.drawings.drawing_model import DrawingModel
from npdraw.drawings.regions import Region, cells_in
from npdraw.errors import UsageError


def test_a_region_takes_the_cells_that_are_wholly_inside(model: DrawingModel) -> None:
    assert model.layout.window == 5 and model.layout.stride == 4  # rows 0..4 and 4..8
    for region, cells in (
        (Region(0, 8, 0, 8), [True] * 4),
        (Region(0, 99, 0, 99), [True] * 4),
        (Region(0, 5, 0, 8), [True, True, False, False]),
        (Region(0, 8, 4, 8), [False, True, False, True]),
    ):
        assert cells_in(region, model).tolist() == cells, region
    with pytest.raises(UsageError, match="no cell of the grid lies within region 0:4,0:8"):
        cells_in(Region(0, 4, 0, 8), model)
    with pytest.raises(UsageError, match="no cell"):
        cells_in(Region(6, 2, 0, 8), model)
