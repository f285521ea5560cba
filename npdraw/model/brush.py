"""Brushes: what strokes look like, how they are painted, and which ones fit an image.

A brush joins a layout with the tables that its strokes are made of. `PartBrush` paints the parts of
a bank, composited by "max" or "over" (paper, section 3.1). `InkBrush` (`npdraw.model.ink`) paints
patterns in ink, layer by layer. Prior, encoder and model reach both through `Brush`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from npdraw.model.canvas import paint, paint_relaxed
from npdraw.model.latents import Latents, Relaxed, blank, join_steps
from npdraw.model.layout import Layout
from npdraw.model.parsing import parse


@dataclass(frozen=True)
class Painting:
    """Drawings as they were painted, so that networks that look at them paint nothing again."""

    canvases: tuple[Tensor, ...] = ()
    """The canvas after each layer, [N, C + 1, H, W]."""
    contents: tuple[Tensor, ...] = ()
    """What the steps of each layer would add if they painted, [N, t, C, P, P]; with ink only."""

    @property
    def canvas(self) -> Tensor | None:
        """The canvas after the last painted layer, or None before the first."""
        return self.canvases[-1] if self.canvases else None


class Brush(nn.Module, ABC):
    """Strokes on the steps of a layout. A layer is what the steps of one of its grids paint."""

    inked: bool
    """Do strokes have ink and contrast?"""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout

    @property
    @abstractmethod
    def channels(self) -> int:
        """C, channels of the image."""

    @property
    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """How many values each choice of a stroke has: where, what, and with ink, ink, contrast."""

    @property
    def numbers(self) -> int:
        """Uniform numbers that decide one step of a hard sample: one for each factor."""
        return 1 + len(self.sizes)

    @property
    def noise_size(self) -> int:
        """Uniform numbers of one step of a relaxed sample: one for whether and for each value."""
        return 1 + sum(self.sizes.values())

    def blank(self, images: int) -> Latents:
        """Return `images` drawings without strokes, on the device of the brush."""
        device = next(self.buffers()).device
        return blank(images, self.layout.steps, device, inked=self.inked)

    def one_hot(self, z: Latents, candidates: Tensor | None = None) -> Relaxed:
        """Return hard drawings, or some of their steps, as relaxed ones.

        `candidates` [N, T, M] lists the parts that `what` shall weigh; None: as the brush prefers.
        """
        del candidates
        return z.one_hot(**self.sizes)

    def paint(self, z: Latents | Relaxed) -> Tensor:
        """Paint whole drawings: the canvas [N, C + 1, H, W], docs/model.md, section 4.

        The last channel is the coverage, 1 where anything was painted.
        """
        return self.painting(z).canvases[-1]

    def painting(self, z: Latents | Relaxed) -> Painting:
        """Paint whole drawings, and keep what was painted."""
        painting = Painting()
        for span in self.layout.spans:
            some = z[:, span] if isinstance(z, Latents) else z.steps(span)
            painting = self.paint_next(some, painting)
        return painting

    def paint_next(self, z: Latents | Relaxed, painting: Painting) -> Painting:
        """Paint the steps of the next layer, `z`, over the layers of a painting."""
        layer = len(painting.canvases)
        content = self.content(z, layer)
        canvas = self.paint_layer(z, layer, painting.canvas, content)
        contents = painting.contents if content is None else (*painting.contents, content)
        return Painting((*painting.canvases, canvas), contents)

    def content(self, z: Latents | Relaxed, layer: int) -> Tensor | None:
        """Return what the steps of a layer would add if they painted; None for plain parts."""
        del z, layer
        return None

    @abstractmethod
    def paint_layer(
        self,
        z: Latents | Relaxed,
        layer: int,
        canvas: Tensor | None,
        content: Tensor | None = None,
    ) -> Tensor:
        """Paint the steps of one layer, `z`, on the canvas of the layers before it.

        `canvas` [N, C + 1, H, W] is None for the first layer; `content` is that of `z`, if it is
        known. Soft drawings are painted differentiably, in fp32; on hard drawings both routes agree
        exactly.
        """

    @abstractmethod
    def parse_layer(self, images: Tensor, layer: int, canvas: Tensor | None) -> Latents:
        """Return the strokes of one layer that best explain images [N, C, H, W] in [0, 1].

        `canvas` is what the layers before it painted, None for the first. Equation (3.1).
        """

    def parse(self, images: Tensor) -> Latents:
        """Parse images [N, C, H, W] in [0, 1] into drawings, layer by layer.

        docs/model.md, section 3.
        """
        canvas, layers = None, []
        for layer in range(len(self.layout.grids)):
            layers.append(self.parse_layer(images, layer, canvas))
            canvas = self.paint_layer(layers[-1], layer, canvas)
        return join_steps(layers)

    @abstractmethod
    def pictures(self) -> list[Tensor]:
        """Return what the parts of each layer look like, [K, C, P, P] in [0, 1].

        Patterns have no colour of their own: they are shown on grey, at their full contrast.
        """

    @abstractmethod
    def tables(self) -> dict[str, Tensor]:
        """Return the tensors that artifacts store of the brush."""


class PartBrush(Brush):
    """The parts of a bank, each painted as it is."""

    inked = False

    def __init__(
        self,
        layout: Layout,
        bank: Tensor,
        compositing: str = "max",
        *,
        threshold: float = 0.5,
        sweeps: int = 5,
    ) -> None:
        """`bank` [K, C, P, P] in [0, 1]; `compositing` "max" or "over"; see `parsing.parse`."""
        super().__init__(layout)
        self.bank: Tensor
        self.register_buffer("bank", bank.clone(), persistent=False)
        self.compositing, self.threshold, self.sweeps = compositing, threshold, sweeps

    @property
    def channels(self) -> int:
        """C, channels of the image."""
        return self.bank.shape[1]

    @property
    def sizes(self) -> dict[str, int]:
        """How many placements and parts there are."""
        return {"where": self.layout.placements, "what": len(self.bank)}

    def paint_layer(
        self, z: Latents | Relaxed, _: int, __: Tensor | None, ___: Tensor | None = None
    ) -> Tensor:
        """Paint drawings; there is one layer."""
        if isinstance(z, Latents):
            return paint(z, self.bank, self.layout, self.compositing)
        return paint_relaxed(z, self.bank, self.layout, self.compositing)

    def parse_layer(self, images: Tensor, _: int, __: Tensor | None) -> Latents:
        """Return the drawings that best explain the images; there is one layer."""
        return self.best(images)

    def best(self, images: Tensor, gains: Tensor | None = None) -> Latents:
        """Return the drawings that best explain images; `gains` as in `parsing.parse`."""
        return parse(
            images,
            self.bank,
            self.layout,
            threshold=self.threshold,
            compositing=self.compositing,
            sweeps=self.sweeps,
            gains=gains,
        )

    def pictures(self) -> list[Tensor]:
        """Return the bank."""
        return [self.bank]

    def tables(self) -> dict[str, Tensor]:
        """Return the bank."""
        return {"bank": self.bank}


def part_usage(z: Latents, brush: Brush) -> Tensor:
    """Return how often each part is painted, int64 [L * K]: the parts of the first layer first."""
    layer, parts = brush.layout.layer_of.to(z.what.device), brush.sizes["what"]
    number = (layer * parts + z.what)[z.whether]
    return torch.bincount(number, minlength=len(brush.layout.grids) * parts)
