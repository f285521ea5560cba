"""The encoder q(z | x), factorised over steps (docs/model.md, section 6; paper, section 3.3).

Its output grid is that of the layout's steps. The parser's gains are added to the logits with
learned scales, so that the encoder starts as a soft parser and learns what to change.

With ink there is one network for each layer, and each sees what the layers before it have painted:
q(z | x) is a product over the layers, q(layer | x, earlier layers).
"""

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from npdraw.model.blocks import residual_blocks
from npdraw.model.brush import Brush, PartBrush
from npdraw.model.factors import Factors
from npdraw.model.ink import Gains, InkBrush
from npdraw.model.latents import Latents
from npdraw.model.layout import Layout
from npdraw.model.parsing import match_gains

Match = Gains | Tensor
"""How well strokes fit: with ink `Gains`, otherwise those of parts at placements, [N, T, O, K]."""

MARGIN = 2
"""Pixels around a cell's window that the first layer sees."""

SLOW = 0.1
"""How fast scales of gains are learned, relative to weights: they move all logits at once."""


def new_encoder(brush: Brush, channels: int, depth: int, gain: float) -> "Encoder":
    """Return the untrained encoder for a brush; see `PartEncoder` and `InkEncoder`."""
    if isinstance(brush, InkBrush):
        return InkEncoder(brush, channels, depth, gain)
    assert isinstance(brush, PartBrush)
    return PartEncoder(brush, channels, depth, gain)


class Encoder(nn.Module, ABC):
    """Maps images to the distributions of the steps of a layer."""

    @abstractmethod
    def gains(self, images: Tensor, layer: int, canvas: Tensor | None) -> Match:
        """Return how well strokes of a layer fit images [N, C, H, W] in [0, 1]; always in fp32.

        `canvas` [N, C + 1, H, W] is what the earlier layers painted; None for the first.
        """

    @abstractmethod
    def parse(self, images: Tensor, gains: Match | None) -> Latents:
        """Return the parse of a layer, equation (3.1), from its gains."""

    @abstractmethod
    def forward(
        self, images: Tensor, layer: int, canvas: Tensor | None, gains: Match | None = None
    ) -> Factors:
        """Return q(layer | x, earlier layers) of images [N, C, H, W] in [0, 1], equation (6.1).

        `canvas` as for `gains`, which are computed if they are not given. No factor depends on
        another of the same layer.
        """


def _stem(layout: Layout, inputs: int, channels: int) -> nn.Conv2d:
    """Return the convolution that sees the window of each cell and `MARGIN` pixels around it."""
    return nn.Conv2d(inputs, channels, layout.window + 2 * MARGIN, layout.stride, padding=MARGIN)


def _heads(channels: int, outputs: int) -> nn.Conv2d:
    """Return a convolution from features to logits, 0 at the start."""
    heads = nn.Conv2d(channels, outputs, 1)
    nn.init.zeros_(heads.weight)
    return heads


def _in_order(seen: Tensor, layout: Layout) -> Tensor:
    """Return the input of a stem: framed, channels last."""
    return layout.to_frame(seen).contiguous(memory_format=torch.channels_last)


class PartEncoder(Encoder):
    """The encoder for the parts of a bank."""

    def __init__(self, brush: PartBrush, channels: int, depth: int, gain: float = 1.0) -> None:
        """`gain` is the initial scale of the match gains, in nats per unit of squared error."""
        super().__init__()
        self.brush, self.parts = brush, len(brush.bank)
        self.stem = _stem(brush.layout, brush.channels, channels)
        self.cells = residual_blocks(channels, depth)
        self.heads = _heads(channels, 1 + brush.layout.placements + self.parts)
        self.gain_scale = nn.Parameter(torch.full((3,), gain))

    def gains(self, images: Tensor, _: int = 0, __: Tensor | None = None) -> Tensor:
        """Return the gains of all parts at all placements, [N, T, O, K]."""
        with torch.autocast(images.device.type, enabled=False):
            return match_gains(images, self.brush.bank, self.brush.layout)

    def parse(self, images: Tensor, gains: Match | None) -> Latents:
        """Return the drawings that best explain the images."""
        assert isinstance(gains, Tensor)
        with torch.autocast(images.device.type, enabled=False):
            return self.brush.best(images, gains)

    def forward(
        self, images: Tensor, _: int = 0, __: Tensor | None = None, gains: Match | None = None
    ) -> Factors:
        """Return q(z | x): there is one layer. What does not depend on where."""
        layout = self.brush.layout
        fit = self.gains(images) if gains is None else gains
        assert isinstance(fit, Tensor)
        features = self.cells(self.stem(_in_order(images, layout)))
        logits = self.heads(F.silu(features)).float().flatten(2).transpose(1, 2)  # [N, T, .]
        with torch.autocast(images.device.type, enabled=False):
            by_part, by_placement = fit.amax(2), fit.amax(3)
            whether, where, what = logits.split([1, layout.placements, self.parts], dim=2)
            scale = self.gain_scale
            return Factors(
                whether.squeeze(2) + scale[0] * by_part.amax(2),
                torch.log_softmax(where + scale[1] * by_placement, 2),
                torch.log_softmax(what + scale[2] * by_part, 2)[:, :, None],
            )


class InkEncoder(Encoder):
    """The encoder for strokes with ink: one network for each layer."""

    def __init__(self, brush: InkBrush, channels: int, depth: int, gain: float = 1.0) -> None:
        """`gain` is the initial scale of the parser's gains, in nats per unit of squared error.

        It is above 0. Logarithms of the scales are learned, since the best ones differ by factors.
        """
        super().__init__()
        self.brush, self.candidates = brush, brush.candidates
        self.outputs = [1, *(size for name, size in brush.sizes.items() if name != "where")]
        self.stems, self.cells, self.heads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for layer, grid in enumerate(brush.layout.grids):
            inputs = brush.channels * (1 if layer == 0 else 2)  # later: the image and what is left
            self.stems.append(_stem(grid, inputs, channels))
            self.cells.append(residual_blocks(channels, depth))
            self.heads.append(_heads(channels, sum(self.outputs)))
        start = math.log(gain) / SLOW
        self.log_scales = nn.Parameter(torch.full((len(self.stems), len(self.outputs)), start))

    def gains(self, images: Tensor, layer: int, canvas: Tensor | None) -> Gains:
        """Return the gains of inks, contrasts and the `candidates` patterns that fit best."""
        with torch.autocast(images.device.type, enabled=False):
            return self.brush.gains(self.brush.residual(images, canvas), layer, self.candidates)

    def parse(self, _: Tensor, gains: Match | None) -> Latents:
        """Return the strokes with the largest gains."""
        assert isinstance(gains, Gains)
        return self.brush.best(gains)

    def forward(
        self, images: Tensor, layer: int, canvas: Tensor | None, gains: Match | None = None
    ) -> Factors:
        """Return q(layer | x, earlier layers), from the image and what the canvas lacks.

        What is one of the `candidates` patterns that fit best.
        """
        brush, fit = self.brush, self.gains(images, layer, canvas) if gains is None else gains
        assert isinstance(fit, Gains)
        grid, residual = brush.layout.grids[layer], brush.residual(images, canvas)
        seen = residual if layer == 0 else torch.cat([images, residual], 1)
        features = self.cells[layer](self.stems[layer](_in_order(seen, grid)))
        logits = self.heads[layer](F.silu(features)).flatten(2).transpose(1, 2)
        with torch.autocast(images.device.type, enabled=False):
            scale = (SLOW * self.log_scales[layer]).exp()
            whether, what, ink, contrast = (x.float() for x in logits.split(self.outputs, dim=2))
            what = what.gather(2, fit.candidates)
            return Factors(
                whether.squeeze(2) + scale[0] * (fit.best - brush.threshold),
                torch.zeros_like(whether),
                torch.log_softmax(what + scale[1] * fit.by_pattern, 2)[:, :, None],
                torch.log_softmax(ink + scale[2] * fit.by_ink, 2),
                torch.log_softmax(contrast + scale[3] * fit.by_contrast, 2),
                fit.candidates,
            )
