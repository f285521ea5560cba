"""PixelCNN: what a pixel sees, probabilities that add up to 1, and samples that follow them."""

from itertools import product

import pytest
import torch
from torch import nn

from benchmarks.rivals.pixelcnn import PixelCNN, _Seen
from benchmarks.rivals.rival import bound


def tiny(shape: tuple[int, int, int], levels: int = 2) -> PixelCNN:
    torch.manual_seed(0)
    model = PixelCNN(shape, levels=levels, width=6, depth=2)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model.eval().double()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_pixel_sees_all_pixels_before_it_and_no_other(channels: int) -> None:
    model = PixelCNN((channels, 5, 6), levels=256, width=6, depth=4).double()
    nn.init.normal_(model.head.weight)  # it starts at 0
    images = torch.rand(1, channels, 5, 6, dtype=torch.double, requires_grad=True)
    output = model(images)
    for row, column in product(range(5), range(6)):
        (slope,) = torch.autograd.grad(output[0, :, row, column].sum(), images, retain_graph=True)
        seen = slope[0].abs().sum(0).flatten() > 0
        here = row * 6 + column
        assert seen[:here].all() and not seen[here:].any()


def test_probabilities_of_all_images_add_up_to_1() -> None:
    model = tiny((1, 2, 3))
    images = torch.tensor(list(product((0.0, 1.0), repeat=6)), dtype=torch.double)
    log_prob = -bound(model, images.view(-1, 1, 2, 3), 7, generator())
    assert float(log_prob.exp().sum()) == pytest.approx(1, abs=1e-6)
    assert log_prob.exp().max() > 2 / 64  # not uniform


def test_samples_follow_the_probabilities() -> None:
    model, count = tiny((1, 2, 2)), 20_000
    images = torch.tensor(list(product((0.0, 1.0), repeat=4)), dtype=torch.double)
    expected = (-bound(model, images.view(-1, 1, 2, 2), 1, generator())).exp()
    drawn = model.float().sample(count, generator()).flatten(1) @ torch.tensor([8.0, 4, 2, 1])
    found = torch.bincount(drawn.long(), minlength=16) / count
    assert ((found - expected).abs() < 4.5 * (expected * (1 - expected) / count).sqrt()).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_remembered_of_pixels_gives_the_same_parameters(channels: int) -> None:
    shape = channels, 5, 6
    model = tiny(shape, levels=256)
    images = torch.rand(2, *shape, dtype=torch.double)
    expected = model(images)
    seen = _Seen(model.float(), 2, torch.device("cpu"))
    for row in range(5):
        for column in range(6):
            found = seen.parameters(column)[:, :, 0, 0].double()
            assert torch.allclose(found, expected[:, :, row, column], atol=1e-3)
            seen.add_pixel(images[:, :, row, column, None, None].float())
        seen.add_row(images[:, :, row : row + 1].float())
