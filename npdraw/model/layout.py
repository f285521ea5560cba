"""Where the parts of a drawing can be placed: one step for each cell of one or more centred grids.

docs/model.md, section 1. The *frame* of a grid is the smallest rectangle that holds every
placement; it contains the image, and what lies outside the image is cropped. A drawing in several
layers has a grid for each, coarse parts before fine ones.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """A grid of cells in raster order, each with `jitter ** 2` placements one pixel apart.

    With `finer`, there are further grids of smaller parts, side by side, whose steps follow. Then
    everything but `steps`, `grids`, `spans`, `positions`, `sides`, `layer_of`, `shrink`, height and
    width describes the first grid.
    """

    height: int
    width: int
    part_size: int
    stride: int
    jitter: int = 1
    finer: tuple[int, ...] = ()
    """Sides of the parts of further layers, pixels."""

    @property
    def window(self) -> int:
        """Side of a cell's window, the square that its placements reach, in pixels."""
        return self.part_size + self.jitter - 1

    @property
    def rows(self) -> int:
        """Rows of cells."""
        return -(-self.height // self.stride)

    @property
    def columns(self) -> int:
        """Columns of cells."""
        return -(-self.width // self.stride)

    @property
    def steps(self) -> int:
        """T, one step for each cell of every grid, equation (1.1)."""
        return sum(grid.rows * grid.columns for grid in self.grids)

    @cached_property
    def grids(self) -> "tuple[Layout, ...]":
        """One layout for each layer; this one if there is only one."""
        if not self.finer:
            return (self,)
        first = Layout(self.height, self.width, self.part_size, self.stride, self.jitter)
        return (first, *(Layout(self.height, self.width, side, side) for side in self.finer))

    @cached_property
    def spans(self) -> list[slice]:
        """The steps of each layer."""
        ends = list(accumulate(grid.rows * grid.columns for grid in self.grids))
        return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]

    @cached_property
    def layer_of(self) -> Tensor:
        """The layer of each step, int64 [T]."""
        counts = torch.tensor([span.stop - span.start for span in self.spans])
        return torch.arange(len(counts)).repeat_interleave(counts)

    @cached_property
    def sides(self) -> Tensor:
        """Side of the part of each step in pixels, int64 [T]."""
        return torch.tensor([grid.part_size for grid in self.grids])[self.layer_of]

    @property
    def placements(self) -> int:
        """O, the placements a step may choose from, equation (1.1)."""
        return self.jitter**2

    @property
    def overlapping(self) -> bool:
        """True if the windows of neighbouring cells overlap."""
        return self.window > self.stride

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width of the frame, pixels; at least those of the image."""
        return (
            (self.rows - 1) * self.stride + self.window,
            (self.columns - 1) * self.stride + self.window,
        )

    @property
    def origin(self) -> tuple[int, int]:
        """Row and column of the image's top-left pixel in the frame."""
        return (self.frame[0] - self.height) // 2, (self.frame[1] - self.width) // 2

    @cached_property
    def positions(self) -> Tensor:
        """Top-left pixel (row, column) of each placement, equation (1.2), int64 [T, O, 2]."""
        if self.finer:
            return torch.cat([grid.positions for grid in self.grids])
        row, column = torch.meshgrid(
            torch.arange(self.rows), torch.arange(self.columns), indexing="ij"
        )
        cells = torch.stack([row, column], -1).view(-1, 1, 2) * self.stride
        dy, dx = torch.meshgrid(torch.arange(self.jitter), torch.arange(self.jitter), indexing="ij")
        offsets = torch.stack([dy, dx], -1).view(1, -1, 2)
        return cells + offsets - torch.tensor(self.origin)

    @cached_property
    def pixels(self) -> Tensor:
        """Flat index in the frame of each pixel of each placement, int64 [T, O, P * P]."""
        corner = self.positions + torch.tensor(self.origin)
        side = torch.arange(self.part_size)
        row = corner[..., 0, None, None] + side[:, None]
        column = corner[..., 1, None, None] + side
        return (row * self.frame[1] + column).flatten(2)

    @cached_property
    def inside(self) -> Tensor:
        """1 where a pixel of a placement is inside the image, else 0, float [T, O, P * P]."""
        ones = self.to_frame(torch.ones(1, 1, self.height, self.width))
        return ones.flatten()[self.pixels]

    def pixels_on(self, device: torch.device) -> Tensor:
        """Return `pixels` on `device`, moved there once."""
        return _moved(self, "pixels", device)

    def inside_on(self, device: torch.device) -> Tensor:
        """Return `inside` on `device`, moved there once."""
        return _moved(self, "inside", device)

    def shrink(self, images: Tensor) -> Tensor:
        """Average squares of pixels of images [N, C, H, W] down to the size of the canvas."""
        factor = images.shape[2] // self.height
        return images if factor == 1 else F.avg_pool2d(images, factor)

    def to_frame(self, images: Tensor) -> Tensor:
        """Pad images [N, C, H, W] with zeros to the frame: [N, C, frame]."""
        top, left = self.origin
        bottom = self.frame[0] - self.height - top
        right = self.frame[1] - self.width - left
        return F.pad(images, (left, right, top, bottom))

    def crop(self, framed: Tensor) -> Tensor:
        """Cut the image out of the frame: [..., frame] -> [..., H, W]."""
        top, left = self.origin
        return framed[..., top : top + self.height, left : left + self.width]

    def patches(self, images: Tensor) -> Tensor:
        """Return the pixels under each placement, zero outside the image.

        Images [N, C, H, W] -> [N, T, O, C * P * P].
        """
        framed = self.to_frame(images).flatten(2)  # [N, C, frame]
        index = self.pixels_on(images.device)
        return framed[:, :, index].permute(0, 2, 3, 1, 4).flatten(3)


@cache
def _moved(layout: Layout, name: str, device: torch.device) -> Tensor:
    """Keep one copy per device: a copy from main memory would stall a GPU every time."""
    tensor: Tensor = getattr(layout, name)
    return tensor.to(device)


def neighbours(layout: Layout) -> Tensor:
    """Return the steps left, above, above left and above right of each step: int64 [T, 4].

    They are in the same grid, and are counted from 1; 0 stands for a neighbour that does not exist.
    Left of a step in the first column is the last step of the row above, which is drawn just before
    it.
    """
    if layout.finer:
        tables = [neighbours(grid) for grid in layout.grids]
        firsts = [span.start for span in layout.spans]
        return torch.cat([t + first * (t > 0) for t, first in zip(tables, firsts, strict=True)])
    step = torch.arange(layout.steps)
    column = step % layout.columns
    source = torch.stack(
        [step - 1, step - layout.columns, step - layout.columns - 1, step - layout.columns + 1], 1
    )
    exists = source >= 0
    exists[:, 2] &= column > 0
    exists[:, 3] &= column < layout.columns - 1
    exists[:, 3] &= source[:, 3] < step  # a grid of one column has no cell above right
    return (source + 1) * exists


def reverse_neighbours(source: Tensor) -> Tensor:
    """Return the steps that each step is the left, ... neighbour of, -1 for none: int64 [T, 4].

    `source` is the table of `neighbours`.
    """
    steps = torch.arange(1, len(source) + 1, device=source.device)
    is_neighbour = source == steps[:, None, None]  # [T, T, 4]: step, of which step, which side
    return torch.where(is_neighbour.any(1), is_neighbour.long().argmax(1), -1)
