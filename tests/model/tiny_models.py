"""Models small enough to enumerate every drawing."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from npdraw.model.brush import PartBrush
from npdraw.model.factors import Factors
from npdraw.model.ink import InkBrush, Palette
from npdraw.model.latents import Latents
from npdraw.model.layout import Layout

PARTS = 2
INKS = 2
CONTRASTS = 2


SETUPS = [
    (Layout(4, 4, 2, 2), "max", 1),  # 3 ** 4 drawings
    (Layout(2, 4, 2, 2, 2), "over", 2),  # 9 ** 2, jitter, overlapping
    (Layout(3, 3, 3, 2), "max", 1),  # overlapping
    (Layout(2, 4, 4, 4, finer=(2,)), "ink", 2),  # 9 ** 3, two layers, the first cropped
    (Layout(3, 3, 4, 4, finer=(3,)), "ink", 2),  # 9 ** 2, no side divides the canvas
]
"""Layout, what is painted and how ("max" and "over" composite parts), and the decoder's patch."""


setups = pytest.mark.parametrize(
    ("layout", "kind", "patch"), SETUPS, ids=lambda x: repr(x) if x is not None else ""
)


def part_brush(layout, parts=PARTS, compositing="max", channels=1, **options):
    """Return a brush of random parts."""
    bank = torch.rand(parts, channels, layout.part_size, layout.part_size)
    return PartBrush(layout, bank, compositing, **options)


def ink_brush(layout, patterns=PARTS, inks=INKS, contrasts=CONTRASTS, channels=3, threshold=0.05):
    """Return a brush of random patterns, inks and contrasts."""
    layers = len(layout.grids)
    made = []
    for grid in layout.grids:
        pattern = torch.randn(patterns, channels, grid.part_size, grid.part_size)
        pattern = pattern - pattern.mean((2, 3), keepdim=True)
        made.append(pattern / pattern.flatten(1).norm(dim=1)[:, None, None, None])
    palette = Palette(
        tuple(made),
        torch.rand(layers, inks, channels) - 0.5,
        torch.rand(layers, contrasts).sort(1).values + 0.2,
        torch.rand(channels),
    )
    return InkBrush(layout, palette, threshold=threshold)


def brush_for(layout, parts=PARTS):
    """Return a brush of parts, or with ink if the layout has several grids."""
    return ink_brush(layout, parts) if layout.finer else part_brush(layout, parts)


def new_brush(layout, kind, parts=PARTS, channels=1):
    """Return a brush of a kind of `SETUPS`; those with ink have three channels."""
    return ink_brush(layout, parts) if kind == "ink" else part_brush(layout, parts, kind, channels)


def binary_images(layout, images):
    return torch.rand(images, 1, layout.height, layout.width).round()


def images_for(model, images):
    """Return random images of the values and channels of a model, as large as its canvas."""
    layout, levels = model.layout, model.levels
    values = torch.randint(levels, (images, model.brush.channels, layout.height, layout.width))
    return model.in_unit(values)


def random_drawings(steps, sizes, images, painted=0.6):
    """Return random drawings whose choices have these `sizes` (`Brush.sizes`)."""
    choices = {name: torch.randint(size, (images, steps)) for name, size in sizes.items()}
    return Latents(torch.rand(images, steps) < painted, **choices).canonical()


def all_drawings(steps, sizes):
    """Return every drawing once: (1 + product of the sizes) ** T of them."""
    painted = product([1], *(range(size) for size in sizes.values()))
    table = torch.tensor(list(product([(0,) * (1 + len(sizes)), *painted], repeat=steps)))
    choices = {name: table[:, :, 1 + place] for place, name in enumerate(sizes)}
    return Latents(table[:, :, 0].bool(), **choices)


def hidden_drawings(steps, sizes):
    """Return every drawing with every value of the choices of steps that do not paint, too."""
    events = list(product(range(2), *(range(size) for size in sizes.values())))
    table = torch.tensor(list(product(events, repeat=steps)))
    choices = {name: table[:, :, 1 + place] for place, name in enumerate(sizes)}
    return Latents(table[:, :, 0].bool(), **choices)


def factors(images, steps, placements, parts, *, chained, inks=0, contrasts=0):
    """Random distributions; in `chained` ones what depends on where."""
    colours = {
        name: torch.randn(images, steps, size).log_softmax(2)
        for name, size in (("ink", inks), ("contrast", contrasts))
        if size
    }
    return Factors(
        torch.randn(images, steps),
        torch.randn(images, steps, placements).log_softmax(2),
        torch.randn(images, steps, placements if chained else 1, parts).log_softmax(3),
        **colours,
    )


def factors_of(prior, z):
    """Return the factors of hard drawings under a prior, of all parts in their order."""
    brush = prior.brush
    every = torch.arange(brush.sizes["what"]).expand(*z.what.shape, -1)
    with torch.no_grad():
        p = prior(brush.one_hot(z, every))
    return replace(p, candidates=None)


def rounded(soft):
    """Return the corners nearest to relaxed drawings, steps that do not paint included."""
    choices = {
        name: x.argmax(2)
        for name, x in soft.tensors().items()
        if name not in ("whether", "candidates")
    }
    if soft.candidates is not None:
        choices["what"] = soft.candidates.gather(2, choices["what"][..., None]).squeeze(2)
    return Latents(soft.whether > 0.5, **choices)
