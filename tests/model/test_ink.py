"""Strokes with ink: painting, gains and the parser, against brute force."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from npdraw.model import ink as ink_module
from npdraw.model.encoder import InkEncoder
from npdraw.model.ink import CANDIDATES, InkBrush, Palette
from npdraw.model.latents import Latents
from npdraw.model.layout import Layout
from tests.model.tiny_models import ink_brush, random_drawings

LAYOUTS = [
    Layout(4, 4, 4, 4, finer=(2,)),
    Layout(5, 6, 4, 4, finer=(3, 2)),  # no side divides the canvas
    Layout(6, 6, 3, 3),
]
layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=repr)


def slow_paint(brush, z):
    """Add one pixel after the other."""
    layout, channels = brush.layout, brush.channels
    canvas = torch.zeros(len(z), channels + 1, layout.height, layout.width)
    canvas[:, :-1] = brush.ground[:, None, None]
    for n, t in z.whether.nonzero().tolist():
        layer, side = int(layout.layer_of[t]), int(layout.sides[t])
        pattern = brush.patterns(layer)[z.what[n, t]]
        ink, strength = brush.inks[layer, z.ink[n, t]], brush.contrasts[layer, z.contrast[n, t]]
        top, left = layout.positions[t, 0].tolist()
        for dy, dx in product(range(side), repeat=2):
            y, x = top + dy, left + dx
            if 0 <= y < layout.height and 0 <= x < layout.width:
                canvas[n, :-1, y, x] += ink + strength * pattern[:, dy, dx]
                canvas[n, -1, y, x] = 1
    return canvas


@layouts
def test_three_routes_of_painting_agree(layout):
    brush = ink_brush(layout, 5, 4, 3)
    z = random_drawings(layout.steps, brush.sizes, 4)
    expected = slow_paint(brush, z)
    every = torch.arange(5).expand(*z.what.shape, -1)
    for drawn in (z, brush.one_hot(z), brush.one_hot(z, every)):
        assert torch.allclose(brush.paint(drawn), expected, atol=1e-6)
    assert 0 < expected[:, -1].mean() < 1 or not (~z.whether).any()


@layouts
def test_choices_of_steps_that_do_not_paint_do_not_matter(layout, meddle):
    brush = ink_brush(layout, 5, 4, 3)
    z = random_drawings(layout.steps, brush.sizes, 4, 0.3)
    other = meddle(z, 1, 5, 4, 3)
    assert not torch.equal(z.ink, other.ink)
    assert torch.equal(brush.paint(other), brush.paint(z))
    assert torch.equal(brush.paint(brush.one_hot(other)), brush.paint(brush.one_hot(z)))


def framed(brush, layer, residual):
    """Return what is left in each cell, 0 outside the image: [N, t, C, P, P]."""
    grid = brush.layout.grids[layer]
    patches = grid.patches(residual).squeeze(2)
    return patches.unflatten(2, (brush.channels, grid.part_size, grid.part_size))


def every_gain(brush, layer, residual):
    """Return the decrease of squared error by every stroke, [N, t, I, K, S]."""
    inks, contrasts = brush.inks[layer], brush.contrasts[layer]
    left = framed(brush, layer, residual)[:, :, None, None, None]
    shapes = contrasts[:, None, None, None] * brush.patterns(layer)[:, None]  # [K, S, C, P, P]
    strokes = inks[:, None, None, :, None, None] + shapes
    return left.square().sum((5, 6, 7)) - (left - strokes).square().sum((5, 6, 7))


@layouts
def test_gains_add_up_to_the_decrease_of_the_error(layout):
    brush = ink_brush(layout, 5, 4, 3)
    images, canvas = torch.rand(3, 3, layout.height, layout.width), None
    for layer in range(len(layout.grids)):
        residual = brush.residual(images, canvas)
        expected = every_gain(brush, layer, residual)
        gains = brush.gains(residual, layer, 5)
        # A pattern at its best contrast, with any ink.
        by_pattern = torch.empty_like(gains.by_pattern).scatter_(
            2, gains.candidates, gains.by_pattern
        )
        both = gains.by_ink[..., None] + by_pattern[:, :, None]
        assert torch.allclose(both, expected.amax(4), atol=1e-4)
        # A contrast at the best pattern.
        best = gains.candidates[:, :, None, :1, None].expand(-1, -1, 4, -1, 3)
        both = gains.by_ink[..., None] + gains.by_contrast[:, :, None]
        assert torch.allclose(both, expected.gather(3, best).squeeze(3), atol=1e-4)
        assert torch.allclose(gains.best, expected.flatten(2).amax(2), atol=1e-4)
        z = brush.parse_layer(images, layer, canvas)
        canvas = brush.paint_layer(z, layer, canvas)


@layouts
def test_the_parser_takes_the_best_of_all_strokes_and_the_error_never_rises(layout):
    brush = ink_brush(layout, 5, 4, 3, threshold=0.3)
    images, canvas = torch.rand(20, 3, layout.height, layout.width), None
    before, painted = brush.residual(images, None).square().sum((1, 2, 3)), []
    for layer, span in enumerate(layout.spans):
        gains = every_gain(brush, layer, brush.residual(images, canvas))
        z = brush.parse_layer(images, layer, canvas)
        best, index = gains.flatten(2).max(2)
        assert torch.equal(z.whether, best > brush.threshold)
        index = torch.stack([z.ink * 15 + z.what * 3 + z.contrast, index], -1)[z.whether]
        chosen = gains.flatten(2)[z.whether].gather(1, index)
        assert torch.allclose(chosen[:, 0], chosen[:, 1], atol=1e-5)
        assert not z.differs(brush.parse(images)[:, span]).any()
        canvas = brush.paint_layer(z, layer, canvas)
        after = brush.residual(images, canvas).square().sum((1, 2, 3))
        # Pixels outside the image count in the gain, but not in the error.
        assert (after <= before - (best * z.whether).sum(1) + 1e-4).all()
        before = after
        painted.append(z.whether)
    assert 0 < torch.cat(painted, 1).float().mean() < 1


def test_drawings_of_one_layer_are_read_back():
    layout = Layout(6, 6, 3, 3)
    brush = ink_brush(layout, 5, 4, 3, threshold=1e-3)
    z = random_drawings(layout.steps, brush.sizes, 20)
    assert not brush.parse(brush.paint(z)[:, :-1]).differs(z).any()


@layouts
def test_the_candidates_are_the_patterns_that_fit_best(layout, monkeypatch):
    brush, model_images = ink_brush(layout, 9, 4, 3), torch.rand(6, 3, layout.height, layout.width)
    residual = brush.residual(model_images, None)
    expected = every_gain(brush, 0, residual).amax((2, 4))  # [N, t, K]
    few = brush.gains(residual, 0, 3)
    best = expected.topk(3, 2).values - few.by_ink.amax(2, keepdim=True)
    assert torch.allclose(few.by_pattern, best, atol=1e-4)
    monkeypatch.setattr(ink_module, "CANDIDATES", 3)
    assert (brush.candidates, brush.noise_size) == (3, 1 + 1 + 3 + 4 + 3)


def test_a_posterior_of_candidates_is_a_distribution_that_holds_the_parse(make_model, monkeypatch):
    monkeypatch.setattr(ink_module, "CANDIDATES", 3)
    model = make_model(LAYOUTS[1], "ink", 2, parts=9)
    images, brush = torch.rand(4, 3, 5, 6), model.brush
    with torch.no_grad():
        q = model.encode(images)
        assert q.what.shape == (4, 4, 1, 3) and q.candidates.shape == (4, 4, 3)
        best = brush.gains(brush.residual(images, None), 0, 1).candidates[:, :, 0]
        zeros = torch.zeros_like(best)
        z = Latents(torch.ones_like(best, dtype=torch.bool), zeros, best, zeros, zeros)
        nats = torch.stack([q.log_prob(replace(z, what=z.what * 0 + k))["what"] for k in range(9)])
    assert torch.allclose(nats.exp().sum(0), torch.ones(()), atol=1e-5)
    assert ((nats > -torch.inf).sum(0) == 3).all()
    assert (q.joint(z) > -torch.inf).all()  # what the parser would take
    drawn = q.sample(torch.rand(4, 4, brush.numbers))
    assert (drawn.what[..., None] == q.candidates).any(2)[drawn.whether].all()
    assert (q.joint(drawn) > -torch.inf).all()


def test_pictures_of_patterns_reach_black_or_white():
    for pictures in ink_brush(LAYOUTS[1], 5).pictures():
        assert pictures.amin() >= -1e-6 and pictures.amax() <= 1 + 1e-6
        reach = (pictures - 0.5).abs().amax((1, 2, 3))
        assert torch.allclose(reach, torch.full((5,), 0.5))


def test_of_equal_patterns_the_parse_takes_one_that_the_encoder_lists():
    layout = Layout(8, 8, 4, 4)
    one = ink_brush(layout, patterns=1)
    patterns = one.patterns(0).expand(3 * CANDIDATES, -1, -1, -1)
    palette = Palette((patterns,), one.inks, one.contrasts, one.ground)
    brush = InkBrush(layout, palette, threshold=0.0)
    images = torch.rand(16, 3, 8, 8)
    q = InkEncoder(brush, 4, 1)(images, 0, None)
    assert torch.isfinite(q.joint(brush.parse_layer(images, 0, None))).all()
