"""Drawings and distributions that the tests of the model share."""

from collections.abc import Callable
from itertools import product
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from npdraw.model.latents import Factors, Latents
from npdraw.model.layout import Layout
from npdraw.model.npdraw import NPDraw
from npdraw.model.prior import Prior
from tests.model.tiny_models import PARTS, binary_images


@pytest.fixture
def drawings() -> Callable[..., Latents]:
    """Return a function that makes random drawings."""

    def draw(layout: Layout, parts: int, images: int, painted: float = 0.6) -> Latents:
        size = images, layout.steps
        return Latents(
            torch.rand(size) < painted,
            torch.randint(layout.placements, size),
            torch.randint(parts, size),
        ).canonical()

    return draw


@pytest.fixture
def every_drawing() -> Callable[[Layout, int], Latents]:
    """Return a function that lists every drawing once: (1 + O * K) ** T of them."""

    def enumerate_all(layout: Layout, parts: int) -> Latents:
        painted = product([1], range(layout.placements), range(parts))
        table = torch.tensor(list(product([(0, 0, 0), *painted], repeat=layout.steps)))
        return Latents(table[:, :, 0].bool(), table[:, :, 1], table[:, :, 2])

    return enumerate_all


@pytest.fixture
def same() -> Callable[[Latents, Latents], bool]:
    """Return a function that says whether drawings are equal, bit for bit."""

    def equal(a: Latents, b: Latents) -> bool:
        return (
            torch.equal(a.whether, b.whether)
            and torch.equal(a.where, b.where)
            and torch.equal(a.what, b.what)
        )

    return equal


@pytest.fixture
def meddle() -> Callable[[Latents, int, int], Latents]:
    """Return a function that writes arbitrary where and what into steps that do not paint."""

    def change(z: Latents, placements: int, parts: int) -> Latents:
        where = torch.randint_like(z.where, placements)
        what = torch.randint_like(z.what, parts)
        return Latents(
            z.whether,
            torch.where(z.whether, z.where, where),
            torch.where(z.whether, z.what, what),
        )

    return change


@pytest.fixture
def shaken() -> Callable[..., nn.Module]:
    """Return a function that moves every parameter, so that none keeps a special initial value."""

    def shake(module: nn.Module, scale: float = 0.3) -> nn.Module:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(scale * torch.randn_like(parameter))
        return module.eval()

    return shake


@pytest.fixture
def pin() -> Callable[[Factors, Latents], Tensor]:
    """Return a function that gives uniforms [N, T, 3] with which `Factors.sample` gives `z`."""

    def middle(log_prob: Tensor, index: Tensor) -> Tensor:
        prob = log_prob.double().exp()
        upto = prob.cumsum(-1).gather(-1, index[..., None]).squeeze(-1)
        return upto - prob.gather(-1, index[..., None]).squeeze(-1) / 2

    def uniforms(factors: Factors, z: Latents) -> Tensor:
        paint = torch.sigmoid(factors.whether.double())
        placement = z.where if factors.what.shape[2] > 1 else torch.zeros_like(z.where)
        index = placement[..., None, None].expand(-1, -1, 1, factors.what.shape[3])
        what = factors.what.gather(2, index).squeeze(2)
        return torch.stack(
            [
                torch.where(z.whether, paint / 2, (1 + paint) / 2),
                middle(factors.where, z.where),
                middle(what, z.what),
            ],
            -1,
        ).float()

    return uniforms


@pytest.fixture
def make_model(shaken):
    def make(layout, compositing, patch, parts=PARTS, scale=0.2, channels=1, levels=2, upscale=1):
        bank = torch.rand(parts, channels, layout.part_size, layout.part_size)
        prior = Prior(layout, bank, width=8, depth=1, heads=2, head_width=4, mlp_width=16)
        model = NPDraw(
            layout,
            bank,
            prior,
            compositing=compositing,
            levels=levels,
            upscale=upscale,
            encoder_channels=6,
            encoder_depth=1,
            encoder_gain=1.0,
            decoder_channels=(4, 6),
            decoder_depth=1,
            decoder_patch=patch,
        )
        return shaken(model, scale)

    return make


@pytest.fixture
def enumerated(make_model, every_drawing, pin):
    """Return a function that weights one image by every drawing, in double."""

    def weigh_all(layout, compositing, patch):
        model = make_model(layout, compositing, patch)
        image, z = binary_images(layout, 1), every_drawing(layout, PARTS)
        with torch.no_grad():
            q = model.encode(image).repeat(len(z))
            w = model.importance_sample(image.expand(len(z), -1, -1, -1), q, pin(q, z))
            log_q = torch.stack(q.log_prob(z)).double().sum((0, 2))
            log_p = model.prior.log_prob(z).double()
            ink = torch.sigmoid(model.decoder(model.paint(z)).double())
            pixels = torch.where(image > 0, ink, 1 - ink).log().sum((1, 2, 3))
        return SimpleNamespace(
            model=model,
            image=image,
            q=log_q.exp(),
            log_q=log_q,
            log_p=log_p,
            log_likelihood=pixels,
            weighted=w,
            log_weight=w.log_weight.double(),
            log_evidence=torch.logsumexp(log_p + pixels, 0),
        )

    return weigh_all
