"""Pixels in slices, each given the slices before it: docs/model.md, section 6, equation (6.16).

Given nothing but a canvas, pixels would be independent, and what the canvas misses would be paid
for pixel by pixel. Here every fourth pixel of every fourth row comes first, then the pixels between
those that are known, as in the multiscale model of Reed et al. (2017) and in subscale pixel
networks (Menick and Kalchbrenner 2019). There are seven slices, so that an image of any size is
decoded in seven passes of small networks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from npdraw.model.likelihood import MixtureOfLogistics

COARSEST = 4
"""The largest stride; sides of padded images are multiples of it."""

Size = tuple[int, int]
"""Height and width, pixels."""


@dataclass(frozen=True)
class Slice:
    """The pixels of every `stride`-th row and column, from `row` and `column` on."""

    stride: int
    row: int
    column: int
    known: tuple[tuple[int, int], ...]
    """First row and column of the pixels that are known by then, with the same stride."""

    def of(self, images: Tensor) -> Tensor:
        """Return its pixels of images [N, C, H, W], as a view."""
        return images[:, :, self.row :: self.stride, self.column :: self.stride]

    def before(self, images: Tensor) -> list[Tensor]:
        """Return the known pixels of images [N, C, H, W], as views."""
        return [
            images[:, :, row :: self.stride, column :: self.stride] for row, column in self.known
        ]


def _slices() -> Iterator[Slice]:
    """Yield coarse slices before fine ones, and diagonal neighbours before adjacent ones."""
    for stride in (COARSEST, COARSEST // 2):
        half = stride // 2
        corners = (0, 0), (half, half), (0, half), (half, 0)
        for i, (row, column) in enumerate(corners):
            if i > 0 or stride == COARSEST:
                yield Slice(stride, row, column, corners[:i])


SLICES = tuple(_slices())
"""The seven slices that make an image, in the order in which they are decoded."""

SCALE = 16.0
"""What differences between pixels and the canvas are multiplied by, to be of order 1."""


class Slices(nn.Module):
    """The distribution of an image's pixels, given features of every other row and column.

    Means start as an image, `start`, such as the canvas. `start` [N, C, H, W] has sides that are
    multiples of `COARSEST`, features are [N, width, H / 2, W / 2], and images [N, C, h, w] in
    [0, 1] are their upper left part.
    """

    def __init__(self, width: int, colours: int, error: float) -> None:
        """Images have `colours` channels; `error` as in `Likelihood.start`."""
        super().__init__()
        self.likelihood = MixtureOfLogistics()
        outputs = self.likelihood.outputs(colours)
        self.shrink = nn.Conv2d(width, width, 2, stride=2)
        self.mix, self.refine = nn.ModuleList(), nn.ModuleList()
        self.heads, self.direct_heads = nn.ModuleList(), nn.ModuleList()
        for piece in SLICES:
            seen = colours * (2 * len(piece.known) + 1)
            refine, head = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, outputs, 1)
            direct = nn.Conv2d(seen, outputs, 3, padding=1, bias=False)
            for layer in (refine, head, direct):
                nn.init.zeros_(layer.weight)
            head.bias = nn.Parameter(self.likelihood.start(colours, error))
            self.mix.append(nn.Conv2d(width + seen, width, 3, padding=1))
            self.refine.append(refine)
            self.heads.append(head)
            self.direct_heads.append(direct)

    def log_prob(self, features: Tensor, start: Tensor, images: Tensor) -> Tensor:
        """Return log p(x) in nats, [N]: the sum over slices, equation (6.16)."""
        height, width = images.shape[2:]
        inside = start[:, :, :height, :width]
        padding = (0, start.shape[3] - width, 0, start.shape[2] - height)
        differences = F.pad(images - inside, padding)
        total = images.new_zeros(len(images))
        for piece, parameters in self._each(features, start, differences, (height, width)):
            total = total + self.likelihood.log_prob(parameters, piece.of(images), piece.of(inside))
        return total

    def decode(
        self,
        features: Tensor,
        start: Tensor,
        size: Size,
        pixels: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Return images of `size`, made slice by slice.

        `pixels` makes the pixels of a slice, [N, C, h, w], from their parameters and their origin,
        as `MixtureOfLogistics.mean` does; each slice is given what was made before it.
        """
        images, differences = start.clone(), torch.zeros_like(start)
        for piece, parameters in self._each(features, start, differences, size):
            rows, columns = parameters.shape[2:]
            origin = piece.of(start)[:, :, :rows, :columns]
            made = pixels(parameters, origin)
            piece.of(images)[:, :, :rows, :columns] = made
            piece.of(differences)[:, :, :rows, :columns] = made - origin
        return images[:, :, : size[0], : size[1]]

    def _each(
        self, features: Tensor, start: Tensor, differences: Tensor, size: Size
    ) -> Iterator[tuple[Slice, Tensor]]:
        """Yield each slice with pixels in images of `size`, and the parameters of these pixels.

        `differences` [N, C, H, W] are those between image and `start`; those of a slice are not
        read before the next one.
        """
        fine = F.silu(features)
        given = {COARSEST: F.silu(self.shrink(fine)), COARSEST // 2: fine}
        for k, piece in enumerate(SLICES):
            rows = -(-(size[0] - piece.row) // piece.stride)
            columns = -(-(size[1] - piece.column) // piece.stride)
            if rows <= 0 or columns <= 0:
                continue
            here = piece.of(start)
            known = [SCALE * x for x in piece.before(differences)]
            # The canvas around a pixel, of order 1 as well: it varies more than what it misses.
            around = [4 * (x - here) for x in piece.before(start)]
            seen = torch.cat([*known, *around, 2 * here - 1], 1).to(fine.dtype)
            seen = seen.contiguous(memory_format=torch.channels_last)
            h = self.mix[k](torch.cat([given[piece.stride], seen], 1))
            h = h + self.refine[k](F.silu(h))
            parameters = self.heads[k](F.silu(h)) + self.direct_heads[k](seen)
            yield piece, parameters[:, :, :rows, :columns]
