"""What inks and strokes with ink look like on their own."""

import torch
from torch import Tensor

from npdraw.model.ink import InkBrush
from npdraw.model.latents import Latents
from npdraw.pictures.sheet import to_uint8

GREY = 0.5
"""Level on which strokes of later layers are shown: they only shift what is below them."""


def ink_colours(brush: InkBrush, layer: int) -> Tensor:
    """Return the colours of the inks of a layer, uint8 [I, C].

    Inks of the first layer are shown on the ground of the canvas, others on grey.
    """
    return to_uint8((_below(brush, layer) + brush.inks[layer]).clamp(0, 1)).cpu()


def hexadecimal(colours: Tensor) -> list[str]:
    """Return colours, uint8 [I, C], as #rrggbb; grey ones have one channel."""
    return [f"#{bytes(row.tolist()).hex()}" for row in colours.expand(-1, 3)]


def stroke_pictures(brush: InkBrush, layer: int, ink: int, contrast: int) -> Tensor:
    """Return strokes of all parts of a layer in one ink and contrast, [K, C, P, P] in [0, 1].

    They are shown on what `ink_colours` shows inks on.
    """
    what = torch.arange(brush.sizes["what"], device=brush.ground.device)
    painted = torch.ones_like(what, dtype=torch.bool)
    z = Latents(
        painted,
        torch.zeros_like(what),
        what,
        torch.full_like(what, ink),
        torch.full_like(what, contrast),
    )
    below = _below(brush, layer)[:, None, None]
    return (below + brush.content(z, layer)).clamp(0, 1).cpu()


def _below(brush: InkBrush, layer: int) -> Tensor:
    """Return the colour on which strokes of a layer are shown, [C]."""
    return torch.full_like(brush.ground, GREY) if layer else brush.ground
