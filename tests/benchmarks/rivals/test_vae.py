"""The VAE: its densities, its bound against an integral, and its samples."""

import pytest
import torch
from torch import nn

from benchmarks.rivals.rival import bound
from benchmarks.rivals.vae import VAE, Gaussian, standard_normal

SHAPE = 1, 4, 4


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny(latents: int) -> VAE:
    """Return a VAE with all weights nonzero and posteriors that are not too narrow."""
    torch.manual_seed(0)
    vae = VAE(SHAPE, levels=2, latents=latents, channels=(4, 8), depth=1, patch=1)
    for parameter in vae.parameters():
        nn.init.normal_(parameter, std=0.3)
    nn.init.normal_(vae.encoder.head.weight, std=0.05)
    return vae.eval()


def images(count: int) -> torch.Tensor:
    return (torch.rand(count, *SHAPE, generator=generator(5)) < 0.4).float()


@torch.no_grad()
def test_importance_samples_estimate_the_integral_over_the_latent() -> None:
    vae, x, count = tiny(1), images(3), 1000
    grid = torch.linspace(-9, 9, 801)[:, None]
    weights = vae.log_weight(x.repeat(count, 1, 1, 1), generator()).view(count, 3).double().exp()
    for number, image in enumerate(x):
        log_joint = vae.log_likelihood(image.expand(len(grid), -1, -1, -1), grid)
        log_joint = (log_joint + standard_normal(grid)).double()
        exact = torch.trapezoid(log_joint.exp(), grid[:, 0].double())
        error = weights[:, number].std() / count**0.5
        assert error < 0.1 * exact
        assert abs(weights[:, number].mean() - exact) < 4 * error
    # With more samples the bound gets tighter.
    many = images(50)
    assert bound(vae, many, 50, generator()).mean() < bound(vae, many, 1, generator()).mean()


@torch.no_grad()
def test_the_loss_is_the_negative_elbo() -> None:
    vae, x = tiny(3), images(1).expand(20_000, -1, -1, -1)
    loss, weight = vae.loss(x, generator(), 1.0), vae.log_weight(x, generator(1))
    error = ((loss.var() + weight.var()) / len(x)).sqrt()
    assert abs(loss.mean() + weight.mean()) < 4 * error
    start = vae.loss(x, generator(), 0.0)  # without the KL at first
    assert torch.allclose(loss - start, vae.encode(x).kl(), atol=1e-3)


def test_kl_has_its_closed_form() -> None:
    q = Gaussian(torch.tensor([[0.5, -1.0]]), torch.tensor([[0.3, -0.7]]))
    p = torch.distributions.Normal(0.0, 1.0)
    other = torch.distributions.Normal(q.mean, q.log_scale.exp())
    assert q.kl() == pytest.approx(float(torch.distributions.kl_divergence(other, p).sum()))
    z = q.sample(torch.tensor([[0.2, 1.1]]))
    assert q.log_prob(z) == pytest.approx(float(other.log_prob(z).sum()))
    assert standard_normal(z) == pytest.approx(float(p.log_prob(z).sum()))


@torch.no_grad()
def test_training_starts_at_the_mean_of_each_pixel() -> None:
    vae = VAE(SHAPE, levels=2, latents=2, channels=(4, 8), depth=1, patch=1)
    grey = torch.randint(0, 256, (50, *SHAPE), dtype=torch.uint8)
    vae.start_from(grey)
    result = vae.likelihood.mean(vae.decoder(torch.randn(3, 2), vae.drop))
    counted = (grey.float().sum(0) / 255 + 0.5) / 51
    assert torch.allclose(result, counted.expand_as(result), atol=1e-5)


@torch.no_grad()
def test_samples_have_the_means_of_what_is_decoded() -> None:
    vae = tiny(2)
    drawn = vae.sample(20_000, generator())
    z = torch.randn(20_000, 2, generator=generator(7))
    expected = vae.likelihood.mean(vae.decoder(z, vae.drop)).mean(0)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(drawn.mean(0), expected, atol=0.02)


def test_a_latent_may_become_a_canvas_whose_pixels_are_decoded_in_slices() -> None:
    shape = 3, 4, 4
    vae = VAE(shape, levels=256, latents=2, channels=(4, 8), depth=1, patch=2, error=0.07)
    vae.start_from(torch.zeros(1, *shape))
    x, z = torch.rand(3, *shape), torch.randn(3, 2)
    canvas = vae.decoder(z, vae.drop)
    assert vae.pixels is not None and torch.equal(canvas, torch.full((3, 4, 4, 4), 0.5))
    assert torch.equal(vae.log_likelihood(x, z), vae.pixels.log_prob(canvas, x))
    assert vae.sample(5, generator()).shape == (5, *shape)
