"""The parser: gains, sweeps, and parses close to the best drawing."""

from itertools import pairwise

import pytest
import torch

from npdraw.model.canvas import paint
from npdraw.model.latents import Latents, blank, concatenate
from npdraw.model.layout import Layout
from npdraw.model.parsing import match_gains, parse

APART = [
    Layout(6, 9, 3, 3),  # the frame is the image: nothing is cropped
    Layout(8, 8, 3, 4, 2),
    Layout(6, 6, 2, 3, 2),
]
OVERLAPPING = [Layout(7, 8, 4, 2), Layout(6, 6, 3, 3, 2), Layout(8, 5, 4, 3), Layout(6, 6, 2, 2, 3)]
PARTS = 4

both = pytest.mark.parametrize("compositing", ["max", "over"])


def make_bank(layout):
    return torch.rand(PARTS, 1, layout.part_size, layout.part_size)


def objective(z, images, bank, layout, compositing, threshold):
    """`squared error of the canvas + threshold * parts painted`, [N]."""
    canvas = paint(z, bank, layout, compositing)[:, : images.shape[1]]
    return (canvas - images).square().flatten(1).sum(1) + threshold * z.whether.sum(1)


def scribbles(layout, images):
    """Binary images with large spots, so that many candidates come close to each other."""
    coarse = torch.rand(images, 1, -(-layout.height // 2), -(-layout.width // 2)) < 0.5
    fine = coarse.float().repeat_interleave(2, 2).repeat_interleave(2, 3)
    return fine[:, :, : layout.height, : layout.width]


@pytest.mark.parametrize("layout", APART + OVERLAPPING, ids=repr)
@pytest.mark.parametrize("channels", [1, 3])
def test_gains_are_the_decrease_of_the_error_by_one_part_alone(layout, channels):
    images = torch.rand(2, channels, layout.height, layout.width)
    bank = torch.rand(PARTS, channels, layout.part_size, layout.part_size)
    gains = match_gains(images, bank, layout)
    assert gains.shape == (2, layout.steps, layout.placements, PARTS)
    nothing = images.square().flatten(1).sum(1)
    z = blank(2, layout.steps)
    for t in range(0, layout.steps, 2):
        for place in range(layout.placements):
            for part in range(PARTS):
                whether = z.whether.clone()
                whether[:, t] = True
                alone = Latents(whether, z.where + place, z.what + part)
                left = objective(alone, images, bank, layout, "max", 0)
                assert torch.allclose(gains[:, t, place, part], nothing - left, atol=1e-4)


@pytest.mark.parametrize("layout", APART, ids=repr)
@both
def test_drawings_that_do_not_overlap_are_read_back(layout, compositing, drawings, same):
    z = drawings(layout, PARTS, 20)
    bank = make_bank(layout)
    images = paint(z, bank, layout, compositing)[:, :1]
    assert same(parse(images, bank, layout, threshold=0.1, compositing=compositing), z)


@pytest.mark.parametrize("layout", OVERLAPPING, ids=repr)
@both
def test_the_objective_never_rises_from_sweep_to_sweep(layout, compositing):
    images, bank, threshold = scribbles(layout, 16), (make_bank(layout) < 0.7).float(), 0.3
    options = {"threshold": threshold, "compositing": compositing}
    found = [blank(16, layout.steps)]
    found += [parse(images, bank, layout, sweeps=n, **options) for n in range(1, 7)]
    values = [objective(z, images, bank, layout, compositing, threshold) for z in found]
    assert values[1].sum() < values[0].sum()
    for before, after in pairwise(values):
        assert (after <= before + 1e-4).all()


@pytest.mark.parametrize("layout", OVERLAPPING, ids=repr)
@both
def test_at_the_end_no_single_step_can_be_improved(layout, compositing):
    images, bank, threshold = scribbles(layout, 6), make_bank(layout), 0.3
    options = {"threshold": threshold, "compositing": compositing, "sweeps": 50}
    z = parse(images, bank, layout, **options)
    best = objective(z, images, bank, layout, compositing, threshold)
    for t in range(layout.steps):
        for whether in (False, True):
            for place in range(layout.placements):
                for part in range(PARTS):
                    other = Latents(z.whether.clone(), z.where.clone(), z.what.clone())
                    other.whether[:, t], other.where[:, t], other.what[:, t] = whether, place, part
                    value = objective(other, images, bank, layout, compositing, threshold)
                    assert (value >= best - 1e-4).all()


@both
@pytest.mark.parametrize("layout", [Layout(4, 4, 3, 2), Layout(2, 4, 2, 2, 2)], ids=repr)
def test_parses_are_close_to_the_best_of_all_drawings(layout, compositing, every_drawing):
    images, bank, threshold = scribbles(layout, 30), torch.rand(2, 1, layout.part_size, 1), 0.2
    bank = bank.expand(-1, -1, -1, layout.part_size).contiguous()
    everything = every_drawing(layout, 2)
    canvases = paint(everything, bank, layout, compositing)[:, :1]
    error = (canvases[:, None] - images[None]).square().flatten(2).sum(2)
    best = (error + threshold * everything.whether.sum(1)[:, None]).amin(0)
    z = parse(images, bank, layout, threshold=threshold, compositing=compositing, sweeps=50)
    found = objective(z, images, bank, layout, compositing, threshold)
    assert (found >= best - 1e-4).all()
    assert (found <= best + 1e-4).float().mean() > 0.5  # descent along coordinates often gets there
    nothing = images.square().flatten(1).sum(1)
    assert ((nothing - found).sum() / (nothing - best).sum()) > 0.9


@pytest.mark.parametrize("layout", [Layout(4, 4, 2, 2), Layout(4, 4, 3, 2)], ids=repr)
@both
def test_a_part_is_painted_if_it_gains_more_than_the_threshold(layout, compositing):
    bank = torch.ones(1, 1, layout.part_size, layout.part_size)
    first = blank(1, layout.steps)
    first.whether[0, 0] = True
    images = paint(first, bank, layout)[:, :1]
    gain = match_gains(images, bank, layout)[0, 0, 0, 0].item()
    assert gain == images.sum()
    for threshold, painted in ((gain - 0.01, 1), (gain, 0), (gain + 0.01, 0)):
        z = parse(images, bank, layout, threshold=threshold, compositing=compositing)
        assert z.whether.sum() == painted


@pytest.mark.parametrize("layout", [APART[1], OVERLAPPING[0], OVERLAPPING[3]], ids=repr)
@both
def test_a_parse_does_not_depend_on_the_other_images(layout, compositing, same):
    images, bank = scribbles(layout, 6), make_bank(layout)
    options = {"threshold": 0.3, "compositing": compositing}
    alone = [parse(image[None], bank, layout, **options) for image in images]
    assert same(parse(images, bank, layout, **options), concatenate(alone))


@pytest.mark.parametrize("layout", [APART[1], OVERLAPPING[0], OVERLAPPING[3]], ids=repr)
@both
def test_parses_are_canonical(layout, compositing, same):
    z = parse(
        scribbles(layout, 6), make_bank(layout), layout, threshold=2.0, compositing=compositing
    )
    assert not z.whether.all()
    assert same(z, z.canonical())
