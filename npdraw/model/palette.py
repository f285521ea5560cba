"""The tables of strokes with ink, learned from patches of real images (docs/model.md, section 2).

Layer by layer: the images are parsed with the layers made so far, and the next layer is made from
what they leave over.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from npdraw.errors import UsageError
from npdraw.model.clusters import cluster
from npdraw.model.ink import InkBrush, Palette
from npdraw.model.layout import Layout

PATCHES = 1 << 16
"""Most patches of a layer that are clustered."""

IMAGES = 8192
"""Most images whose patches are looked at, evenly spaced over all."""

AT_ONCE = 256
"""Images parsed at once."""

TOLERANCE = 1e-3
"""Relative improvement of an iteration of k-means at which patterns are good enough."""

FLAT = 1e-3
"""Length of a patch less its mean below which it counts as flat, and the least contrast."""


def build_palette(
    images: Tensor,
    layout: Layout,
    *,
    patterns: int,
    inks: int,
    contrasts: int,
    snap: str,
    threshold: float,
    ground: Tensor,
    generator: torch.Generator,
) -> Palette:
    """Learn the tables of every layer of `layout` from uint8 images [N, C, H, W].

    `ground` [C] in [0, 1] is the colour of the empty canvas. Inks are cluster centres of the mean
    colours of patches. A pattern is a patch less its mean colour, scaled to length one; patches
    are drawn with probability proportional to their squared length, so that clusters matter as
    much as they can lower the error, and `snap` "medoid" keeps each pattern a real patch.
    Contrasts are 0, for strokes of one colour, and cluster centres of the lengths along the best
    pattern. Patches that the parser would not paint at `threshold` do not count. Images and
    `ground` share a device, on which all is computed; `generator` is one of the CPU.
    """
    values = images[_evenly(images, IMAGES)].float() / 255
    sizes = patterns, inks, contrasts
    made: list[Tables] = []
    canvases: list[Tensor | None] = [None] * len(values.split(AT_ONCE))
    for layer, grid in enumerate(layout.grids):
        brush = _brush(layout, made, ground, threshold)
        parts = []
        for number, some in enumerate(values.split(AT_ONCE)):
            if layer:
                z = brush.parse_layer(some, layer - 1, canvases[number])
                canvases[number] = brush.paint_layer(z, layer - 1, canvases[number])
            patches = grid.patches(brush.residual(some, canvases[number])).flatten(0, 2)
            parts.append(patches[patches.square().sum(1) > threshold])
        worthwhile = torch.cat(parts)
        if layer and len(worthwhile) == 0:  # nothing is left to paint: any tables will do
            worthwhile, _ = _any_pattern(worthwhile, len(ground))
        made.append(_tables(worthwhile, len(ground), sizes, snap, generator))
    return _palette(made, ground)


Tables = tuple[Tensor, Tensor, Tensor]
"""Patterns [K, C, P, P], inks [I, C] and contrasts [S] of a layer."""


def _brush(layout: Layout, made: list[Tables], ground: Tensor, threshold: float) -> InkBrush:
    """Return a brush for the layers whose tables are made."""
    sides = layout.finer[: max(0, len(made) - 1)]
    brush = InkBrush(replace(layout, finer=sides), _palette(made, ground), threshold=threshold)
    return brush.to(ground.device)


def _palette(made: list[Tables], ground: Tensor) -> Palette:
    """Join the tables of layers."""
    patterns, inks, contrasts = zip(*made, strict=True) if made else ((), (), ())
    none = ground.new_empty(0)
    return Palette(
        tuple(patterns),
        torch.stack(inks) if inks else none,
        torch.stack(contrasts) if contrasts else none,
        ground,
    )


def _tables(
    patches: Tensor,
    channels: int,
    sizes: tuple[int, int, int],
    snap: str,
    generator: torch.Generator,
) -> Tables:
    """Return the tables of a layer from patches [M, C * P * P]."""
    count, inks, contrasts = sizes
    if len(patches) == 0:
        raise UsageError(
            "all patches of the images are too faint to be painted",
            hint="They may all be empty, or all of one colour: try a lower threshold in [parse] of "
            "a file for --config.",
        )
    side = round((patches.shape[1] // channels) ** 0.5)
    means = patches.unflatten(1, (channels, -1)).mean(2)
    cpu, device = generator.device, patches.device
    chosen = torch.randperm(len(means), generator=generator, device=cpu)[:PATCHES]
    palette = cluster(means[chosen.to(device)], inks, snap="mean", generator=generator)

    # Patterns: directions, weighed by what they can explain. Flat patches have none; if all are
    # flat, any pattern will do, at the least contrast.
    rest = (patches.unflatten(1, (channels, -1)) - means[..., None]).flatten(1)
    length = rest.norm(dim=1)
    patterned = (length > FLAT).nonzero().flatten()
    if len(patterned) == 0:
        rest, length = _any_pattern(patches, channels)
        patterned = torch.zeros(1, dtype=torch.int64, device=device)
    weights = length[patterned].square().to(cpu)
    chosen = torch.multinomial(weights, min(len(weights), PATCHES), generator=generator)
    drawn = patterned[chosen.to(device)]
    directions = rest[drawn] / length[drawn, None]
    centres = cluster(directions, count, snap=snap, generator=generator, tolerance=TOLERANCE)
    centres = centres / centres.norm(dim=1, keepdim=True)

    # Contrasts: lengths along the best pattern.
    along = torch.cat([(x @ centres.T).amax(1) for x in rest[drawn].split(AT_ONCE)])
    strengths = cluster(along[:, None], contrasts - 1, snap="mean", generator=generator)
    strengths = strengths.flatten().sort().values.clamp_min(FLAT)
    return (
        centres.view(count, channels, side, side).contiguous(),
        palette,
        F.pad(strengths, (1, 0)),
    )


def _any_pattern(like: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Return a patch [1, C * P * P] without mean, and its length [1], too short to be seen.

    Patches `like` [M, C * P * P] give its size and device.
    """
    ramp = torch.linspace(-1, 1, like.shape[1] // channels, device=like.device)
    ramp = ramp.repeat(channels)[None]
    ramp = FLAT * ramp / ramp.norm()
    return ramp, ramp.norm(dim=1)


def _evenly(images: Tensor, most: int) -> Tensor:
    """Return the indices of at most `most` images, evenly spaced over all."""
    kept = min(len(images), most)
    return torch.arange(kept, device=images.device) * len(images) // kept
