"""Strokes of pattern, ink and contrast, added to the canvas layer by layer.

docs/model.md, sections 3 and 4. A stroke on a P x P cell adds

    ink + contrast * pattern

to the canvas. The ink is a colour shift out of a palette, the same for all pixels. The pattern is
a patch of a real image less its mean colour and scaled to length one, and the contrast is one of a
few strengths. So a few tables make many strokes (256 inks, 512 patterns and 8 contrasts: a
million). Since patterns have no mean, the squared error of the best stroke splits into one term for
the ink and one for pattern and contrast, and the parser is exact.

Coarse layers come first; finer ones are added where they pay. Cells of a layer do not overlap.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from npdraw.model.brush import Brush
from npdraw.model.canvas import fold
from npdraw.model.latents import Latents, Relaxed, one_hot
from npdraw.model.layout import Layout

CANDIDATES = 32
"""Patterns that the encoder chooses from in a cell, those that fit best. With thousands of patterns
the others would take most of a training step and next to none of the probability."""


@dataclass(frozen=True)
class Palette:
    """The tables of an `InkBrush`. Letters: L layers, K patterns, I inks, S contrasts."""

    patterns: tuple[Tensor, ...]
    """One [K, C, P, P] for each layer, P that of the layer: zero mean in each channel, length 1."""
    inks: Tensor
    """Colour shifts, [L, I, C] in [-1, 1]; in the first layer, shifts from the ground."""
    contrasts: Tensor
    """[L, S], rising; the first is 0, so that a stroke may have one colour."""
    ground: Tensor
    """Colour of the empty canvas, [C] in [0, 1]."""


@dataclass(frozen=True)
class Gains:
    """How much each choice lowers the squared error of the cells of a layer.

    The gain of a stroke is that of its ink plus that of its pattern at its contrast, exactly.
    """

    by_ink: Tensor
    """[N, t, I]."""
    by_pattern: Tensor
    """Gains of the candidates, each at its best contrast, [N, t, M], the largest first."""
    by_contrast: Tensor
    """Gains of the contrasts with the best pattern, [N, t, S]."""
    candidates: Tensor
    """int64 [N, t, M]: the patterns that fit best, the best first."""

    @property
    def best(self) -> Tensor:
        """The largest gain of a stroke, [N, t]."""
        return self.by_ink.amax(2) + self.by_pattern[:, :, 0]


class InkBrush(Brush):
    """Patterns in ink, on one or more layers."""

    inked = True

    def __init__(self, layout: Layout, palette: Palette, *, threshold: float = 0.5) -> None:
        """A stroke is painted if it lowers the squared error by more than `threshold`."""
        super().__init__(layout)
        self.threshold = threshold
        self.inks: Tensor
        self.contrasts: Tensor
        self.ground: Tensor
        for layer, patterns in enumerate(palette.patterns):
            self.register_buffer(pattern_name(layer), patterns.clone(), persistent=False)
        for name in ("inks", "contrasts", "ground"):
            self.register_buffer(name, getattr(palette, name).clone(), persistent=False)

    def patterns(self, layer: int) -> Tensor:
        """Return the patterns of a layer, [K, C, P, P]."""
        return self.get_buffer(pattern_name(layer))

    @property
    def channels(self) -> int:
        """C, channels of the image."""
        return len(self.ground)

    @property
    def sizes(self) -> dict[str, int]:
        """How many placements (1), patterns, inks and contrasts there are in each layer."""
        return {
            "where": 1,
            "what": len(self.patterns(0)),
            "ink": self.inks.shape[1],
            "contrast": self.contrasts.shape[1],
        }

    @property
    def candidates(self) -> int:
        """M, the patterns of a cell that the encoder chooses from."""
        return min(CANDIDATES, self.sizes["what"])

    @property
    def noise_size(self) -> int:
        """Uniform numbers of one step of a relaxed sample."""
        return super().noise_size - self.sizes["what"] + self.candidates

    def one_hot(self, z: Latents, candidates: Tensor | None = None) -> Relaxed:
        """Return hard drawings as relaxed ones whose only candidate is the pattern they paint.

        With `candidates` [N, T, M], `what` weighs these.
        """
        assert z.ink is not None and z.contrast is not None
        listed = z.what[..., None] if candidates is None else candidates
        return Relaxed(
            z.whether.float(),
            torch.ones_like(z.whether[..., None], dtype=torch.float),
            (listed == z.what[..., None]).float(),
            one_hot(z.ink, self.sizes["ink"]),
            one_hot(z.contrast, self.sizes["contrast"]),
            candidates=listed,
        )

    def content(self, z: Latents | Relaxed, layer: int) -> Tensor:
        """Return what steps of a layer would add if they painted, [..., C, P, P] in fp32.

        `z` has any shape [...].
        """
        table, inks, contrasts = self.patterns(layer), self.inks[layer], self.contrasts[layer]
        assert z.ink is not None and z.contrast is not None
        with torch.autocast(table.device.type, enabled=False):
            if isinstance(z, Latents):
                pattern, ink, contrast = table[z.what], inks[z.ink], contrasts[z.contrast]
            elif z.what.shape[-1] == 1 and z.candidates is not None:
                chosen = table[z.candidates.squeeze(-1)]
                pattern = z.what[..., None, None] * chosen
                ink, contrast = z.ink @ inks, z.contrast @ contrasts
            else:
                assert z.candidates is not None
                # Products with all patterns take less time than to gather those of each cell.
                what = z.what.new_zeros(*z.what.shape[:-1], len(table))
                what = what.scatter(-1, z.candidates, z.what)
                pattern = (what @ table.flatten(1)).unflatten(-1, table.shape[1:])
                ink, contrast = z.ink @ inks, z.contrast @ contrasts
            return ink[..., None, None] + contrast[..., None, None, None] * pattern

    def added(self, z: Latents | Relaxed, layer: int, content: Tensor | None = None) -> Tensor:
        """Return what the steps of a layer add to a canvas, [N, C + 1, H, W] with coverage."""
        grid, shown = self.layout.grids[layer], content
        if shown is None:
            shown = self.content(z, layer)
        with torch.autocast(self.ground.device.type, enabled=False):
            whether = z.whether[..., None, None, None].float()
            windows = F.pad(shown, (0, 0, 0, 0, 0, 1), value=1.0) * whether
            return grid.crop(fold(windows, grid.stride, grid))

    def paint_layer(
        self,
        z: Latents | Relaxed,
        layer: int,
        canvas: Tensor | None,
        content: Tensor | None = None,
    ) -> Tensor:
        """Add the strokes of a layer to the canvas [N, C + 1, H, W], equation (4.3)."""
        added = self.added(z, layer, content)
        before = self._empty(added) if canvas is None else canvas
        image = before[:, :-1] + added[:, :-1]
        return torch.cat([image, torch.maximum(before[:, -1:], added[:, -1:])], 1)

    def _empty(self, like: Tensor) -> Tensor:
        """Return the empty canvas: the ground, and coverage 0."""
        return F.pad(self.ground, (0, 1))[:, None, None].expand_as(like)

    def residual(self, images: Tensor, canvas: Tensor | None) -> Tensor:
        """Return what the canvas lacks, [N, C, H, W]; None stands for the empty canvas."""
        painted = self.ground[:, None, None] if canvas is None else canvas[:, :-1]
        return images - painted

    def gains(self, residual: Tensor, layer: int, candidates: int) -> Gains:
        """Return how much inks and patterns lower the squared error of a cell, equation (3.3).

        `residual` [N, C, H, W] is what the canvas lacks; only the `candidates` patterns that fit a
        cell best are listed. Pixels outside the image do not count as error, but a part that
        reaches outside is weighed as if they were 0.
        """
        grid, table = self.layout.grids[layer], self.patterns(layer)
        inks, contrasts = self.inks[layer], self.contrasts[layer]
        patches = grid.patches(residual).squeeze(2)  # [N, t, C * P * P]
        mean = patches.unflatten(2, (self.channels, -1)).mean(3)
        by_ink = grid.part_size**2 * (2 * mean @ inks.T - inks.square().sum(1))
        # A pattern's gain grows with its product with the patch, at any contrast.
        dots, index = (patches @ table.flatten(1).T).topk(min(candidates, len(table)), dim=2)
        middles = (contrasts[1:] + contrasts[:-1]) / 2
        nearest = contrasts[torch.bucketize(dots.detach(), middles)]
        return Gains(
            by_ink=by_ink,
            by_pattern=nearest * (2 * dots - nearest),
            by_contrast=contrasts * (2 * dots[:, :, :1] - contrasts),
            candidates=index,
        )

    @torch.no_grad()
    def parse_layer(self, images: Tensor, layer: int, canvas: Tensor | None) -> Latents:
        """Return the strokes of one layer that best explain images [N, C, H, W] in [0, 1].

        Each cell takes the combination of ink, pattern and contrast with the largest gain, and
        paints if it exceeds the threshold.
        """
        # Of equal patterns, one that the encoder lists as a candidate.
        return self.best(self.gains(self.residual(images, canvas), layer, self.candidates))

    def best(self, gains: Gains) -> Latents:
        """Return the strokes with the largest gains, as `parse_layer` does."""
        what, where = gains.candidates[:, :, 0], torch.zeros_like(gains.candidates[:, :, 0])
        ink, contrast = gains.by_ink.argmax(2), gains.by_contrast.argmax(2)
        return Latents(gains.best > self.threshold, where, what, ink, contrast).canonical()

    def pictures(self) -> list[Tensor]:
        """Return the patterns on grey, each scaled so that it just reaches black or white."""
        layers = [self.patterns(layer) for layer in range(len(self.layout.grids))]
        return [0.5 + x / (2 * x.abs().amax((1, 2, 3), keepdim=True)) for x in layers]

    def tables(self) -> dict[str, Tensor]:
        """Return patterns, inks, contrasts and ground, as artifacts store them."""
        layers = range(len(self.layout.grids))
        tables = {pattern_name(layer): self.patterns(layer) for layer in layers}
        return tables | {"inks": self.inks, "contrasts": self.contrasts, "ground": self.ground}


def pattern_name(layer: int) -> str:
    """Return the name under which the patterns of a layer are stored."""
    return f"patterns_{layer}"
