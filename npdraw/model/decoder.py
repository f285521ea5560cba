"""The decoder p(x | canvas): a convolutional U from the canvas to the pixel distribution.

docs/model.md, section 6; paper, section 3.3. It sees nothing of the drawing but the canvas, image
and coverage.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from math import lcm

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from npdraw.model.blocks import residual_blocks
from npdraw.model.likelihood import Likelihood
from npdraw.model.slices import COARSEST, Slices

LEAST_WIDTH = 32
"""Least number of features of every other pixel, where a decoder works at a quarter of the size."""


def new_decoder(
    likelihood: Likelihood,
    colours: int,
    channels: tuple[int, ...],
    depth: int,
    patch: int,
    error: float | None = None,
) -> "Decoder":
    """Return an untrained decoder.

    If the mean squared `error` of the canvases is given, it starts as the canvas.
    """
    if error is None:
        return PixelDecoder(likelihood, colours, channels, depth, patch)
    return SliceDecoder(colours, channels, depth, patch, error)


class Decoder(nn.Module, ABC):
    """Residual blocks at each size, halving and doubling, with skip connections.

    With `patch` 2 or more, squares of `patch` x `patch` pixels become channels of one position, so
    that no block works at full size. A wide layer at half size costs as much as a narrow one at
    full size and learns more (LOG.md, 2026-11-22).
    """

    def __init__(self, colours: int, channels: tuple[int, ...], depth: int, patch: int) -> None:
        """Images have `colours` channels; `depth` residual blocks for each of `channels`."""
        super().__init__()
        self.patch = patch
        self.multiple = patch * 2 ** (len(channels) - 1)
        pairs = list(pairwise(channels))
        self.stem = nn.Conv2d((colours + 1) * patch**2, channels[0], 3, padding=1)
        self.down = nn.ModuleList(residual_blocks(c, depth) for c in channels[:-1])
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
        self.middle = residual_blocks(channels[-1], depth)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairs)
        self.up = nn.ModuleList(residual_blocks(c, depth) for c in channels[:-1])

    @abstractmethod
    def log_prob(self, canvas: Tensor, images: Tensor) -> Tensor:
        """Return log p(x | canvas) in nats, [N], of images [N, C, H, W] in [0, 1].

        `canvas` [N, C + 1, H, W] has the size of the images.
        """

    @abstractmethod
    def mean(self, canvas: Tensor) -> Tensor:
        """Return the expected images of canvases [N, C + 1, H, W], [N, C, H, W] in [0, 1]."""

    @abstractmethod
    def sample(self, canvas: Tensor, noise: torch.Generator) -> Tensor:
        """Draw images from p(x | canvas), [N, C, H, W] in [0, 1]."""

    def padded(self, images: Tensor) -> Tensor:
        """Return images [N, channels, H, W] with sides that can be halved evenly; 0 outside."""
        height, width = images.shape[2:]
        return F.pad(images, (0, -width % self.multiple, 0, -height % self.multiple))

    def features(self, canvas: Tensor) -> Tensor:
        """Return features of padded canvases, [N, channels[0], H / patch, W / patch]."""
        patches = F.pixel_unshuffle(canvas, self.patch)
        h: Tensor = self.stem(patches.contiguous(memory_format=torch.channels_last))
        skips = []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            skips.append(blocks(h))
            h = shrink(skips[-1])
        h = self.middle(h)
        for blocks, grow, skip in zip(self.up[::-1], self.grow[::-1], skips[::-1], strict=True):
            h = blocks(grow(h) + skip)
        return h


class PixelDecoder(Decoder):
    """A decoder of plain parts: given the canvas, pixels are independent.

    A last pair of convolutions at full size joins the features with the canvas again.
    """

    def __init__(
        self,
        likelihood: Likelihood,
        colours: int,
        channels: tuple[int, ...],
        depth: int,
        patch: int,
    ) -> None:
        super().__init__(colours, channels, depth, patch)
        self.likelihood = likelihood
        fine = max(8, channels[0] // patch**2)
        self.unpatch = nn.Conv2d(channels[0], fine * patch**2, 1)
        self.join = nn.Conv2d(fine + colours + 1, 2 * fine, 3, padding=1)
        self.head = nn.Conv2d(2 * fine, likelihood.outputs(colours), 3, padding=1)
        nn.init.zeros_(self.head.weight)
        start = likelihood.start(colours)
        if start is not None:
            self.head.bias = nn.Parameter(start)

    def forward(self, canvas: Tensor) -> Tensor:
        """Return the parameters of the likelihood, [N, outputs, H, W], from canvases.

        Type and memory order are those of the last convolution: the likelihood converts a few
        images at a time, since all at once would take more memory than anything else in a training
        step.
        """
        height, width = canvas.shape[2:]
        padded = self.padded(canvas)
        fine = F.pixel_shuffle(self.unpatch(F.silu(self.features(padded))), self.patch)
        features = self.join(torch.cat([F.silu(fine), padded.to(fine.dtype)], 1))
        output: Tensor = self.head(F.silu(features))[:, :, :height, :width]
        return output

    def log_prob(self, canvas: Tensor, images: Tensor) -> Tensor:
        """Return log p(x | canvas) in nats, [N], of images [N, C, H, W] in [0, 1]."""
        return self.likelihood.log_prob(self(canvas), images)

    def mean(self, canvas: Tensor) -> Tensor:
        """Return the expected images of canvases, [N, C, H, W] in [0, 1]."""
        return self.likelihood.mean(self(canvas))

    def sample(self, canvas: Tensor, noise: torch.Generator) -> Tensor:
        """Draw images from p(x | canvas), [N, C, H, W] in [0, 1]."""
        return self.likelihood.sample(self(canvas), noise)


class SliceDecoder(Decoder):
    """A decoder of strokes with ink, which starts as the canvas: pixels are decoded in slices."""

    def __init__(
        self, colours: int, channels: tuple[int, ...], depth: int, patch: int, error: float
    ) -> None:
        """`patch` is even; `error` is the mean squared error of the canvases, above 0."""
        super().__init__(colours, channels, depth, patch)
        self.multiple, self.side = lcm(self.multiple, COARSEST), patch // 2
        width = max(channels[0] // self.side**2, LEAST_WIDTH)
        self.unpatch = nn.Conv2d(channels[0], width * self.side**2, 1)
        self.slices = Slices(width, colours, error)

    def forward(self, canvas: Tensor) -> Tensor:
        """Return features of every other pixel of padded canvases, [N, width, H / 2, W / 2]."""
        return F.pixel_shuffle(self.unpatch(F.silu(self.features(canvas))), self.side)

    def log_prob(self, canvas: Tensor, images: Tensor) -> Tensor:
        """Return log p(x | canvas) in nats, [N], of images [N, C, H, W] in [0, 1]."""
        padded = self.padded(canvas)
        return self.slices.log_prob(self(padded), padded[:, :-1], images)

    def mean(self, canvas: Tensor) -> Tensor:
        """Return the expected images of canvases, [N, C, H, W] in [0, 1].

        A slice is expected given the canvas and what was expected of the slices before it.
        """
        return self._decode(canvas, self.slices.likelihood.mean)

    def sample(self, canvas: Tensor, noise: torch.Generator) -> Tensor:
        """Draw images from p(x | canvas), [N, C, H, W] in [0, 1], slice by slice."""
        draw = self.slices.likelihood.sample
        return self._decode(canvas, lambda parameters, origin: draw(parameters, noise, origin))

    def _decode(self, canvas: Tensor, pixels: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        padded, (height, width) = self.padded(canvas), canvas.shape[2:]
        return self.slices.decode(self(padded), padded[:, :-1], (height, width), pixels)
