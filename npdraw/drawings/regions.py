"""Rectangles of an image, and the cells of the grid that lie within them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from npdraw.drawings.drawing_model import DrawingModel
from npdraw.errors import UsageError


@dataclass(frozen=True)
class Region:
    """A rectangle of pixels, ends excluded; what lies beyond the image does not count."""

    top: int
    bottom: int
    left: int
    right: int

    def __str__(self) -> str:
        return f"{self.top}:{self.bottom},{self.left}:{self.right}"


def cells_in(region: Region, model: DrawingModel) -> Tensor:
    """Return which cells can only paint inside the region, at any of their placements: bool [T].

    What a part has outside the image is cropped, and does not count.

    Raises:
        UsageError: no cell lies inside the region.
    """
    layout, scale = model.layout, model.network.upscale
    height, width = layout.height * scale, layout.width * scale
    first = layout.positions * scale  # [T, O, 2]
    last = first + layout.sides[:, None, None] * scale
    size = torch.tensor([height, width])
    first, last = first.clamp_min(0), torch.minimum(last, size)
    low = torch.tensor([region.top, region.left])
    high = torch.tensor([region.bottom, region.right])
    inside = ((first >= low) & (last <= high)).all(2).all(1)
    if not inside.any():
        smallest = int(layout.sides.min()) * scale
        raise UsageError(
            f"no cell of the grid lies within region {region}",
            hint=f"{'The smallest cells' if layout.finer else 'Cells'} are {smallest} pixels wide, "
            f"the image has {height} x {width}.",
        )
    return inside
