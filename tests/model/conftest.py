"""Drawings and distributions that the tests of the model share."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from npdraw.model.factors import Factors
from npdraw.model.ink_prior import InkPrior
from npdraw.model.latents import Latents
from npdraw.model.layout import Layout
from npdraw.model.npdraw import NPDraw
from npdraw.model.part_prior import PartPrior
from tests.model.tiny_models import PARTS, all_drawings, images_for, new_brush, random_drawings


@pytest.fixture
def drawings() -> Callable[..., Latents]:
    """Return a function that makes random drawings of parts."""

    def draw(layout: Layout, parts: int, images: int, painted: float = 0.6) -> Latents:
        sizes = {"where": layout.placements, "what": parts}
        return random_drawings(layout.steps, sizes, images, painted)

    return draw


@pytest.fixture
def every_drawing() -> Callable[[Layout, int], Latents]:
    """Return a function that lists every drawing of parts once: (1 + O * K) ** T of them."""

    def enumerate_all(layout: Layout, parts: int) -> Latents:
        return all_drawings(layout.steps, {"where": layout.placements, "what": parts})

    return enumerate_all


@pytest.fixture
def same() -> Callable[[Latents, Latents], bool]:
    """Return a function that says whether drawings are equal, bit for bit."""

    def equal(a: Latents, b: Latents) -> bool:
        x, y = a.tensors(), b.tensors()
        return x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)

    return equal


@pytest.fixture
def meddle() -> Callable[..., Latents]:
    """Return a function that writes arbitrary choices into steps that do not paint."""

    def change(
        z: Latents, placements: int, parts: int, inks: int = 0, strengths: int = 0
    ) -> Latents:
        sizes = {"where": placements, "what": parts, "ink": inks, "contrast": strengths}
        choices = {
            name: torch.where(z.whether, x, torch.randint_like(x, sizes[name]))
            for name, x in z.tensors().items()
            if name != "whether"
        }
        return Latents(z.whether, **choices)

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
    """Return a function that gives uniforms with which `Factors.sample` gives `z`."""

    def middle(log_prob: Tensor, index: Tensor) -> Tensor:
        prob = log_prob.double().exp()
        upto = prob.cumsum(-1).gather(-1, index[..., None]).squeeze(-1)
        return upto - prob.gather(-1, index[..., None]).squeeze(-1) / 2

    def uniforms(factors: Factors, z: Latents) -> Tensor:
        paint = torch.sigmoid(factors.whether.double())
        placement = z.where if factors.what.shape[2] > 1 else torch.zeros_like(z.where)
        index = placement[..., None, None].expand(-1, -1, 1, factors.what.shape[3])
        what = z.what
        if factors.candidates is not None:  # its place among them
            what = (factors.candidates == what[..., None]).int().argmax(2)
        numbers = [
            torch.where(z.whether, paint / 2, (1 + paint) / 2),
            middle(factors.where, z.where),
            middle(factors.what.gather(2, index).squeeze(2), what),
        ]
        if z.ink is not None:
            numbers += [middle(factors.ink, z.ink), middle(factors.contrast, z.contrast)]
        return torch.stack(numbers, -1).float()

    return uniforms


@pytest.fixture
def make_prior(shaken):
    """Return a function that makes the prior of a brush, shaken."""

    def make(brush, scale=0.3, **changes):
        sizes = {"width": 8, "depth": 2, "heads": 2, "head_width": 4, "mlp_width": 16}
        kind = InkPrior if brush.inked else PartPrior
        return shaken(kind(brush, **sizes | changes), scale)

    return make


@pytest.fixture
def make_model(shaken, make_prior):
    """Return a function that makes a model, shaken; with ink it is one of colours."""

    def make(layout, kind, patch, parts=PARTS, scale=0.2, channels=1, levels=0, upscale=1):
        brush = new_brush(layout, kind, parts, channels)
        model = NPDraw(
            brush,
            make_prior(brush, 0.0, depth=1),
            levels=levels or (256 if brush.inked else 2),
            upscale=upscale,
            encoder_channels=6,
            encoder_depth=1,
            encoder_gain=1.0,
            decoder_channels=(4, 6),
            decoder_depth=1,
            decoder_patch=patch,
            canvas_error=0.3,
        )
        return shaken(model, scale)

    return make


def _log_likelihood(model, z, image):
    """Return log p(image | z) in double, from the definition for binary images, [N]."""
    canvas = model.paint(z)
    if model.levels == 2:
        ink = torch.sigmoid(model.decoder(canvas).double())
        return torch.where(image > 0, ink, 1 - ink).log().sum((1, 2, 3))
    return model.decoder.log_prob(canvas, image.expand(len(z), -1, -1, -1)).double()


@pytest.fixture
def enumerated(make_model, pin):
    """Return a function that weights one image by every drawing, in double."""

    def weigh_all(layout, kind, patch):
        model = make_model(layout, kind, patch)
        image, z = images_for(model, 1), all_drawings(layout.steps, model.brush.sizes)
        images, spans = image.expand(len(z), -1, -1, -1), layout.spans
        with torch.no_grad():
            # Layer by layer, each given what the drawing has in the layers before it.
            q, _, _ = model.posterior(images, lambda _, layer, __: z[:, spans[layer]])
            first = model.encode(image).repeat(len(z))
            w = model.importance_sample(images, first, pin(q, z))
            log_q = torch.stack(list(q.log_prob(z).values())).double().sum((0, 2))
            log_p = model.prior.log_prob(z).double()
            pixels = _log_likelihood(model, z, image)
        return SimpleNamespace(
            model=model,
            image=image,
            z=z,
            q=log_q.exp(),
            log_q=log_q,
            log_p=log_p,
            log_likelihood=pixels,
            weighted=w,
            log_weight=w.log_weight.double(),
            log_evidence=torch.logsumexp(log_p + pixels, 0),
        )

    return weigh_all
