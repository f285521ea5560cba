"""DRAW: its filters, and its bound against the integral over two latent numbers."""

import math

import pytest
import torch
from torch import nn

from benchmarks.rivals.draw import DRAW, Window, read, write
from benchmarks.rivals.rival import bound
from benchmarks.rivals.vae import standard_normal

SHAPE = 1, 4, 5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny() -> DRAW:
    torch.manual_seed(1)
    model = DRAW(SHAPE, levels=2, steps=2, latents=1, states=6, read_size=2, write_size=3)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    for parameter in model.posterior_head.parameters():  # not too narrow: weights would be extreme
        nn.init.normal_(parameter, std=0.1)
    return model.eval()


def images(count: int) -> torch.Tensor:
    return (torch.rand(count, *SHAPE, generator=generator(5)) < 0.5).float()


def window(size: int, variance: float, zoom: float = 1.0, side: int = 9) -> Window:
    """Return a window that looks at the middle, at any state."""
    made = Window(3, size, side, side)
    nn.init.zeros_(made.head.weight)
    bias = [0.0, 0.0, math.log(variance), math.log(zoom), math.log(2.0)]
    made.head.bias = nn.Parameter(torch.tensor(bias))
    return made


@torch.no_grad()
def test_narrow_filters_read_pixels() -> None:
    # Five filters over nine pixels are two apart, from the first to the last.
    rows, columns, intensity = window(5, 1e-3)(torch.rand(2, 3))
    picture = torch.rand(2, 1, 9, 9)
    assert torch.allclose(read(picture, rows, columns), picture[:, :, ::2, ::2], atol=1e-5)
    assert torch.allclose(intensity, torch.tensor(2.0))
    # Zoomed in by half, they are neighbours.
    rows, columns, _ = window(5, 1e-3, zoom=0.5)(torch.rand(2, 3))
    assert torch.allclose(read(picture, rows, columns), picture[:, :, 2:7, 2:7], atol=1e-5)


@torch.no_grad()
def test_filters_are_averages_and_writing_is_the_transpose_of_reading() -> None:
    rows, columns, _ = window(4, 2.0)(torch.rand(2, 3))
    assert torch.allclose(rows.sum(2), torch.ones(()), atol=1e-5)
    picture, patch = torch.rand(2, 3, 9, 9), torch.rand(2, 3, 4, 4)
    product = (read(picture, rows, columns) * patch).sum()
    assert float((picture * write(patch, rows, columns)).sum()) == pytest.approx(float(product))


@torch.no_grad()
def test_importance_samples_estimate_the_integral_over_the_latents() -> None:
    model, x, count = tiny(), images(3), 4000
    axis = torch.linspace(-6, 6, 121)
    grid = torch.cartesian_prod(axis, axis)[..., None]  # [121 * 121, steps, 1]
    canvases, log_prior = model.decode(grid), standard_normal(grid).sum(1)
    noise = generator()
    weights = model.log_weight(x.repeat(count, 1, 1, 1), noise).view(count, 3).double().exp()
    for number, image in enumerate(x):
        log_joint = model.likelihood.log_prob(canvases, image.expand(len(grid), -1, -1, -1))
        exact = float((log_joint + log_prior).double().exp().sum()) * float(axis[1] - axis[0]) ** 2
        mean, error = float(weights[:, number].mean()), float(weights[:, number].std())
        error /= count**0.5
        assert error < 0.1 * exact
        assert abs(mean - exact) < 4 * error
    # With more samples the bound gets tighter; one sample's is the negative ELBO on average.
    many = x.repeat(2000, 1, 1, 1)
    loss = model.loss(many, noise, 1.0).view(-1, 3).mean(0)
    single = bound(model, many, 1, noise).view(-1, 3).mean(0)
    assert torch.allclose(loss.double(), single, atol=0.2)
    assert (bound(model, x, 200, noise) < single).all()


def test_the_weight_of_the_kl_rises() -> None:
    model, x = tiny(), images(2)
    model.warmup = 0.5
    losses = [model.loss(x, generator(), done) for done in (0.0, 0.25, 0.5, 1.0)]
    assert torch.allclose(losses[1], (losses[0] + losses[2]) / 2)
    assert torch.equal(losses[2], losses[3])
    assert (losses[2] > losses[0]).all()


def test_samples_have_the_means_of_their_canvases() -> None:
    model = tiny()
    with torch.no_grad():
        drawn = model.sample(20_000, generator())
        z = torch.randn(20_000, 2, 1, generator=generator(7))
        expected = model.likelihood.mean(model.decode(z)).mean(0)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(drawn.mean(0), expected, atol=0.02)
