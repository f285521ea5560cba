"""The tables of strokes with ink, learned from patches."""

import pytest
import torch

from npdraw.errors import UsageError
from npdraw.model.ink import InkBrush
from npdraw.model.layout import Layout
from npdraw.model.palette import build_palette

LAYOUT = Layout(8, 8, 4, 4, finer=(2,))


def generator():
    return torch.Generator().manual_seed(0)


def build(images, layout=LAYOUT, snap="medoid", threshold=0.05, ground=None):
    return build_palette(
        images,
        layout,
        patterns=6,
        inks=5,
        contrasts=3,
        snap=snap,
        threshold=threshold,
        ground=torch.zeros(3) if ground is None else ground,
        generator=generator(),
    )


def noise(images):
    return torch.randint(0, 256, (images, 3, 8, 8), dtype=torch.uint8)


@pytest.mark.parametrize("snap", ["mean", "medoid"])
def test_patterns_have_no_mean_and_length_one_and_contrasts_rise(snap):
    palette = build(noise(60), snap=snap)
    assert [x.shape for x in palette.patterns] == [(6, 3, 4, 4), (6, 3, 2, 2)]
    for patterns in palette.patterns:
        assert torch.allclose(patterns.mean((2, 3)), torch.zeros(()), atol=1e-5)
        assert torch.allclose(patterns.flatten(1).norm(dim=1), torch.ones(()), atol=1e-5)
    assert palette.inks.shape == (2, 5, 3) and palette.contrasts.shape == (2, 3)
    assert (palette.contrasts.diff(dim=1) > 0).all() and (palette.contrasts[:, 0] == 0).all()
    assert palette.inks.abs().max() <= 1


def directions(patches):
    """Return patches [M, 3 * P * P] less their mean colour, of length one."""
    rest = patches.unflatten(1, (3, -1))
    rest = (rest - rest.mean(2, keepdim=True)).flatten(1)
    return rest / rest.norm(dim=1, keepdim=True)


def test_medoids_are_real_patches_of_what_each_layer_is_to_explain():
    images, threshold = noise(60), 0.05
    palette = build(images)
    values, canvas = images.float() / 255, None
    brush = InkBrush(LAYOUT, palette, threshold=threshold)
    for layer, grid in enumerate(LAYOUT.grids):
        real = directions(grid.patches(brush.residual(values, canvas)).flatten(0, 2))
        for snapped in palette.patterns[layer].flatten(1):
            assert (real - snapped).square().sum(1).min() < 1e-8
        canvas = brush.paint_layer(brush.parse_layer(values, layer, canvas), layer, canvas)
    means = build(images, snap="mean").patterns[0].flatten(1)
    real = directions(LAYOUT.grids[0].patches(values).flatten(0, 2))
    assert max(float((real - x).square().sum(1).min()) for x in means) > 1e-3


def test_inks_are_the_mean_colours_of_patches_less_the_ground():
    colours = torch.tensor([[200, 30, 30], [30, 180, 60], [20, 60, 220], [230, 220, 40], [9, 9, 9]])
    images = colours[torch.arange(50) % 5].byte()[:, :, None, None].repeat(1, 1, 8, 8)
    images[:, :, ::2] += 5  # a faint pattern
    ground = torch.tensor([0.5, 0.25, 0.0])
    palette = build(images, ground=ground, threshold=0.001)
    expected = (colours + 2.5) / 255 - ground
    distance = (palette.inks[0][:, None] - expected).abs().amax(2)
    assert distance.amin(0).max() < 1e-3 and distance.amin(1).max() < 1e-3


def test_the_generator_decides():
    images = noise(20)
    one, again = build(images), build(images)
    assert torch.equal(one.patterns[1], again.patterns[1]) and torch.equal(one.inks, again.inks)


def test_few_patches_repeat_themselves():
    images = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    images[0, :, :4, :3] = 200  # one patch that can be painted
    palette = build(images)
    for table in (*palette.patterns, palette.inks, palette.contrasts):
        assert table.isfinite().all()
    brush = InkBrush(LAYOUT, palette, threshold=0.05)
    values = images.float() / 255
    assert (brush.paint(brush.parse(values))[:, :3] - values).square().mean() < 1e-3


def test_finer_layers_may_have_nothing_left_to_paint():
    images = torch.zeros(9, 3, 8, 8, dtype=torch.uint8)
    images[:, :, :4, :4] = 255  # flat squares, explained by the first layer
    palette = build(images)
    brush = InkBrush(LAYOUT, palette, threshold=0.05)
    z = brush.parse(images.float() / 255)
    assert z.whether[:, 0].all() and not z.whether[:, 1:].any()
    for patterns in palette.patterns:
        assert torch.allclose(patterns.mean((2, 3)), torch.zeros(()), atol=1e-5)
    painted = brush.paint(z)[:, :3]  # flat squares stay flat
    assert torch.allclose(painted, images.float() / 255, atol=1e-3)


def test_images_without_anything_to_paint_are_refused():
    with pytest.raises(UsageError, match="all patches of the images are too faint"):
        build(torch.zeros(9, 3, 8, 8, dtype=torch.uint8))


def test_everything_is_computed_on_the_device_of_the_images():
    images, ground = noise(60), torch.zeros(3)
    expected = build(images)
    with torch.device("meta"):  # tensors without data, unless they name another device
        found = build(images, ground=ground)
    tables = [(*x.patterns, x.inks, x.contrasts) for x in (found, expected)]
    assert all(map(torch.equal, *tables))
