"""Painting: three routes that agree, gradients, and what covers what."""

from collections.abc import Callable

import pytest
import torch

from npdraw.model.canvas import last_painter, paint, paint_relaxed
from npdraw.model.latents import Latents, Relaxed
from npdraw.model.layout import Layout

LAYOUTS = [
    Layout(4, 4, 2, 2),  # nothing overlaps, nothing is cropped
    Layout(7, 8, 3, 3),  # cropped
    Layout(7, 5, 4, 2),  # every part overlaps eight others
    Layout(6, 7, 4, 3),
    Layout(5, 6, 2, 2, 3),  # jitter up to the widest window
    Layout(9, 9, 3, 3, 3),
    Layout(8, 8, 2, 4, 3),  # jitter without overlap
    Layout(3, 9, 4, 3),  # one row
    Layout(7, 3, 3, 3, 3),  # one column
    Layout(3, 3, 3, 3, 2),  # one cell
]
PARTS = 5

both = pytest.mark.parametrize("compositing", ["max", "over"])
all_layouts = pytest.mark.parametrize(
    "layout", LAYOUTS, ids=lambda x: f"{x.height}x{x.width} {x.part_size}/{x.stride} {x.jitter}"
)


def make_bank(layout, channels=1, dtype=torch.float32):
    """Parts with few different values, so that layers are often equal, and often black."""
    values = torch.tensor([0.0, 0.1, 0.3, 0.7, 1.0], dtype=dtype)
    size = PARTS, channels, layout.part_size, layout.part_size
    return values[torch.randint(len(values), size)]


def slow_paint(z, bank, layout, compositing):
    """Paint one pixel after the other."""
    channels = bank.shape[1]
    canvas = torch.zeros(len(z), channels + 1, layout.height, layout.width)
    for n in range(len(z)):
        for t in range(layout.steps):
            if not z.whether[n, t]:
                continue
            part = bank[z.what[n, t]]
            top, left = layout.positions[t, z.where[n, t]].tolist()
            for dy in range(layout.part_size):
                for dx in range(layout.part_size):
                    y, x = top + dy, left + dx
                    if not (0 <= y < layout.height and 0 <= x < layout.width):
                        continue
                    for c in range(channels):
                        below = canvas[n, c, y, x] if compositing == "max" else 0.0
                        canvas[n, c, y, x] = max(float(part[c, dy, dx]), float(below))
                    canvas[n, channels, y, x] = 1
    return canvas


def relaxed_canvas(z, bank, layout, compositing):
    return paint_relaxed(
        z.one_hot(where=layout.placements, what=len(bank)), bank, layout, compositing
    )


@all_layouts
@both
@pytest.mark.parametrize("channels", [1, 3])
def test_three_routes_agree_exactly(layout, compositing, channels, drawings: Callable):
    bank = make_bank(layout, channels)
    z = drawings(layout, PARTS, 3, 0.8)
    expected = slow_paint(z, bank, layout, compositing)
    assert torch.equal(paint(z, bank, layout, compositing), expected)
    assert torch.equal(relaxed_canvas(z, bank, layout, compositing), expected)


@both
def test_equal_layers_over_one_pixel_keep_their_value(compositing):
    layout = Layout(6, 6, 4, 2)
    ones = torch.ones(1, layout.steps, dtype=torch.bool)
    z = Latents(ones, ones.long() * 0, ones.long() * 0)
    for value in torch.linspace(0.01, 1, 50):
        bank = value.expand(1, 1, 4, 4)
        canvas = relaxed_canvas(z, bank, layout, compositing)
        assert torch.equal(canvas, paint(z, bank, layout, compositing))
        assert (canvas[:, 0] == value).all()


@all_layouts
@both
def test_steps_painted_one_by_one_make_the_canvas(layout, compositing, drawings):
    bank = make_bank(layout)
    z = drawings(layout, PARTS, 3)
    canvas, steps = torch.zeros(3, 2, layout.height, layout.width), torch.arange(layout.steps)
    for t in range(layout.steps):
        layer = paint(z.only(steps == t), bank, layout, compositing)
        assert not layer[~z.whether[:, t]].any()
        if compositing == "over":
            canvas = torch.where(layer[:, -1:] > 0, layer, canvas)
        else:
            canvas = torch.maximum(canvas, layer)
    assert torch.equal(canvas, paint(z, bank, layout, compositing))


@all_layouts
@both
def test_where_and_what_of_steps_that_do_not_paint_do_not_matter(
    layout, compositing, drawings, meddle
):
    bank = make_bank(layout)
    z = drawings(layout, PARTS, 4, 0.3)
    other = meddle(z, layout.placements, PARTS)
    assert not torch.equal(other.what, z.what)
    canvas = paint(z, bank, layout, compositing)
    assert torch.equal(paint(other, bank, layout, compositing), canvas)
    assert torch.equal(relaxed_canvas(other, bank, layout, compositing), canvas)


@all_layouts
def test_the_last_painter_of_a_pixel_is_the_last_step_over_it(layout, drawings):
    z = drawings(layout, PARTS, 3)
    expected = torch.zeros(3, 1, layout.height, layout.width, dtype=torch.int64)
    for n, t in z.whether.nonzero().tolist():  # in step order
        top, left = layout.positions[t, z.where[n, t]].tolist()
        rows = slice(max(top, 0), max(top + layout.part_size, 0))
        columns = slice(max(left, 0), max(left + layout.part_size, 0))
        expected[n, 0, rows, columns] = t + 1
    assert torch.equal(last_painter(z, layout), expected)
    coverage = paint(z, make_bank(layout), layout)[:, -1:]
    assert torch.equal(coverage, (expected > 0).float())


def test_a_black_part_covers_in_over_and_is_nothing_but_coverage_in_max():
    layout = Layout(2, 4, 4, 2)  # two cells that share columns
    bank = torch.stack([torch.ones(1, 4, 4), torch.zeros(1, 4, 4)])
    z = Latents(torch.ones(1, 2).bool(), torch.zeros(1, 2).long(), torch.tensor([[0, 1]]))
    white = paint(z, bank, layout, "max")
    assert torch.equal(white[0, 0, 0], torch.tensor([1.0, 1, 1, 0]))
    black = paint(z, bank, layout, "over")
    assert torch.equal(black[0, 0, 0], torch.tensor([1.0, 0, 0, 0]))
    assert white[:, 1].all() and black[:, 1].all()


def soft_drawings(layout, images):
    """Random soft drawings in double, as a list of leaves."""
    size = images, layout.steps
    return [
        torch.rand(size, dtype=torch.float64) * 0.8 + 0.1,
        torch.randn(*size, layout.placements, dtype=torch.float64).softmax(2),
        torch.randn(*size, PARTS, dtype=torch.float64).softmax(2),
    ]


def slow_relaxed(z, bank, layout, compositing):
    """docs/model.md, section 4: `sum_i c_i a_i prod_{j later} (1 - a_j)`, or `max_i c_i a_i`."""
    images, channels = len(z.whether), bank.shape[1] + 1
    white = torch.cat([bank, torch.ones_like(bank[:, :1])], 1)  # coverage paints ones
    layers = white.new_zeros(layout.steps, images, channels, layout.height, layout.width)
    alphas = torch.zeros_like(layers)
    for t in range(layout.steps):
        part = torch.einsum("nk,kcyx->ncyx", z.what[:, t], white)
        for place in range(layout.placements):
            weight = (z.whether[:, t] * z.where[:, t, place])[:, None]
            top, left = layout.positions[t, place].tolist()
            for dy in range(layout.part_size):
                for dx in range(layout.part_size):
                    y, x = top + dy, left + dx
                    if 0 <= y < layout.height and 0 <= x < layout.width:
                        layers[t, :, :, y, x] += weight * part[:, :, dy, dx]
                        alphas[t, :, :, y, x] += weight
    if compositing == "max":
        return layers.amax(0)
    return sum(layers[t] * (1 - alphas[t + 1 :]).prod(0) for t in range(layout.steps))


@pytest.mark.parametrize("layout", [LAYOUTS[i] for i in (1, 2, 3, 4, 7, 8)], ids=repr)
@both
def test_soft_canvases_follow_the_formula(layout, compositing):
    bank = torch.rand(PARTS, 2, layout.part_size, layout.part_size, dtype=torch.float64)
    z = Relaxed(*soft_drawings(layout, 2))
    found = paint_relaxed(z, bank, layout, compositing)
    assert torch.allclose(found, slow_relaxed(z, bank, layout, compositing), atol=1e-12, rtol=0)


@pytest.mark.parametrize("layout", [Layout(4, 5, 3, 2, 2), Layout(3, 5, 2, 2)], ids=repr)
@both
def test_gradients_are_those_of_finite_differences(layout, compositing):
    bank = torch.rand(PARTS, 1, layout.part_size, layout.part_size, dtype=torch.float64)
    leaves = [x.requires_grad_() for x in soft_drawings(layout, 1)]
    assert torch.autograd.gradcheck(
        lambda *z: paint_relaxed(Relaxed(*z), bank, layout, compositing), leaves, atol=1e-8
    )


@all_layouts
@both
@pytest.mark.parametrize("painted", [0.0, 0.5])
def test_an_unpainted_cell_gets_the_whole_gradient_of_painting_it(
    layout, compositing, painted, drawings
):
    # Where nothing is painted, all layers are equal; each cell must still feel its whole effect.
    bank = make_bank(layout, dtype=torch.float64)
    z = drawings(layout, PARTS, 1, painted)
    soft = z.one_hot(where=layout.placements, what=PARTS)
    soft = Relaxed(soft.whether.double(), soft.where.double(), soft.what.double())
    direction = torch.randn(2, layout.height, layout.width, dtype=torch.float64)

    def projected(whether):
        canvas = paint_relaxed(Relaxed(whether, soft.where, soft.what), bank, layout, compositing)
        return (canvas[0] * direction).sum()

    whether = soft.whether.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(projected(whether), whether)
    step = 1e-4  # less than the smallest value over which a layer could win
    for t in (~z.whether[0]).nonzero().flatten():
        moved = soft.whether.clone()
        moved[0, t] += step
        slope = (projected(moved) - projected(soft.whether)) / step
        assert gradient[0, t].item() == pytest.approx(slope.item(), abs=1e-8)


@both
def test_every_step_placement_and_part_gets_a_gradient(compositing):
    layout = Layout(6, 6, 2, 2, 2)
    bank = torch.rand(PARTS, 1, 2, 2)
    leaves = [x.float().requires_grad_() for x in soft_drawings(layout, 20)]
    canvas = paint_relaxed(Relaxed(*leaves), bank, layout, compositing)
    (canvas - torch.rand_like(canvas)).square().sum().backward()
    for leaf in leaves:
        assert (leaf.grad != 0).any(0).all()
