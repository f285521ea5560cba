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
        return images[..., self.row :: self.stride, self.column :: self.stride]

    def before(self, images: Tensor) -> list[Tensor]:
        """Return the known pixels of images [N, C, H, W], as views."""
        return [
            images[..., row :: self.stride, column :: self.stride] for row, column in self.known
        ]


CORNERS = (0, 0), (1, 1), (0, 1), (1, 0)
"""Row and column of four neighbouring pixels, in the order in which they become known."""


def _slices() -> Iterator[Slice]:
    """Yield coarse slices before fine ones, and diagonal neighbours before adjacent ones."""
    for stride in (COARSEST, COARSEST // 2):
        half = stride // 2
        corners = tuple((half * row, half * column) for row, column in CORNERS)
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

        def before(piece: Slice) -> list[Tensor]:
            return piece.before(differences)

        for piece, parameters in self._each(features, start, before, (height, width)):
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
        images: list[Tensor] = []
        differences: list[Tensor] = []
        pieces = self._each(features, start, lambda _: differences, size)
        for piece, parameters in pieces:
            rows, columns = parameters.shape[2:]
            whole = piece.of(start)
            origin = whole[..., :rows, :columns]
            made = pixels(parameters, origin)
            images.append(_padded(made, whole))
            differences.append(_padded(made - origin, whole))
            if len(images) == len(CORNERS):
                images[:], differences[:] = [_interleaved(images)], [_interleaved(differences)]
        return images[0][..., : size[0], : size[1]]

    def _each(
        self,
        features: Tensor,
        start: Tensor,
        before: Callable[[Slice], list[Tensor]],
        size: Size,
    ) -> Iterator[tuple[Slice, Tensor]]:
        """Yield each slice and the parameters of its pixels in images of `size`.

        `before` returns the differences between image and `start` at the known pixels of a slice;
        it is asked when the caller is done with the slices before.
        """
        fine = F.silu(features)
        given = {COARSEST: F.silu(self.shrink(fine)), COARSEST // 2: fine}
        for k, piece in enumerate(SLICES):
            rows = max(0, -(-(size[0] - piece.row) // piece.stride))
            columns = max(0, -(-(size[1] - piece.column) // piece.stride))
            here = piece.of(start)
            known = [SCALE * x for x in before(piece)]
            # The canvas around a pixel, of order 1 as well: it varies more than what it misses.
            around = [4 * (x - here) for x in piece.before(start)]
            seen = torch.cat([*known, *around, 2 * here - 1], 1).to(fine.dtype)
            seen = seen.contiguous(memory_format=torch.channels_last)
            h = self.mix[k](torch.cat([given[piece.stride], seen], 1))
            h = h + self.refine[k](F.silu(h))
            parameters = self.heads[k](F.silu(h)) + self.direct_heads[k](seen)
            yield piece, parameters[..., :rows, :columns]


def _padded(pixels: Tensor, whole: Tensor) -> Tensor:
    """Return pixels [N, C, h, w] with zeros below and to the right, as large as `whole`."""
    rows, columns = (whole.shape[axis] - pixels.shape[axis] for axis in (2, 3))
    return F.pad(pixels, (0, columns, 0, rows)) if rows or columns else pixels


def _interleaved(slices: list[Tensor]) -> Tensor:
    """Return images [N, C, 2 h, 2 w] of four slices [N, C, h, w], those of `CORNERS` in order."""
    by_corner = dict(zip(CORNERS, slices, strict=True))
    in_rows = [by_corner[corner] for corner in sorted(by_corner)]
    return F.pixel_shuffle(torch.stack(in_rows, 2).flatten(1, 2), 2)
