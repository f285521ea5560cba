"""What the loss of relaxed samples teaches every part of the model."""

import pytest
import torch

from npdraw.model.layout import Layout
from npdraw.model.terms import Relaxation
from tests.model.tiny_models import images_for

THREE = [(Layout(6, 6, 2, 2, 2), kind) for kind in ("max", "over")]
THREE += [(Layout(6, 6, 4, 4, finer=(3, 2)), "ink")]


def relaxed_terms(model, images, uniform, temperature=0.6):
    return model.relaxed(images, uniform, Relaxation(temperature, imitate=True))


@pytest.mark.parametrize(("layout", "kind"), THREE, ids=repr)
def test_every_parameter_learns_from_the_loss(layout, kind, make_model):
    model = make_model(layout, kind, 2, parts=4)
    uniform = torch.rand(8, layout.steps, model.brush.noise_size)
    terms = relaxed_terms(model, images_for(model, 8), uniform)
    (terms.distortion + terms.rate + terms.parse + terms.canvas).mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def biases(model):
    """Return the biases of the heads of the encoder, of one or more layers."""
    heads = model.encoder.heads if model.brush.inked else [model.encoder.heads]
    return [head.bias for head in heads]


ONE_SIZE, TWO_SIZES = Layout(6, 6, 3, 3), Layout(6, 6, 4, 4, finer=(2,))
TERMS = pytest.mark.parametrize("term", ["distortion", "rate", "parse", "canvas"])


@TERMS
@pytest.mark.parametrize(("layout", "kind"), THREE[1:], ids=repr)
def test_every_term_trains_all_heads_of_the_encoder(layout, kind, term, make_model):
    model = make_model(layout, kind, 2, parts=4)
    uniform = torch.rand(8, layout.steps, model.brush.noise_size)
    getattr(relaxed_terms(model, images_for(model, 8), uniform), term).sum().backward()
    for bias in biases(model):  # whether, and each value of each choice
        assert (bias.grad.abs() > 1e-6).all()


@pytest.mark.parametrize(
    ("layout", "kind", "term"),
    [
        *((*THREE[1], term) for term in ("distortion", "rate", "parse", "canvas")),
        *((TWO_SIZES, "ink", term) for term in ("distortion", "rate", "canvas")),
        (ONE_SIZE, "ink", "parse"),  # with two, what is imitated jumps with the canvas
    ],
    ids=repr,
)
def test_gradients_are_those_of_finite_differences(layout, kind, term, make_model):
    # Through every path: the rate also moves with the sampled steps that the prior sees, and all
    # terms with the canvas of earlier layers that the encoder sees.
    # The nats of 256 values are more rounded and more curved.
    model = make_model(layout, kind, 2, parts=4, scale=0.3)
    images, bias = images_for(model, 8), biases(model)[0]
    tolerance, noise, step = (0.02, 2e-3, 3e-3) if kind == "ink" else (0.005, 0.0, 1e-2)
    uniform = torch.rand(8, layout.steps, model.brush.noise_size)

    def value():
        return getattr(relaxed_terms(model, images, uniform, 1.0), term).double().sum()

    (gradient,) = torch.autograd.grad(value(), bias)
    slopes = torch.zeros_like(gradient)
    with torch.no_grad():
        for i in range(len(bias)):
            bias[i] += step
            above = value()
            bias[i] -= 2 * step
            slopes[i] = (above - value()) / (2 * step)
            bias[i] += step
    sizes = [1, *(size for size in model.brush.sizes.values() if size > 1)]
    noise *= gradient.abs().max().item()
    for a, b in zip(gradient.split(sizes), slopes.split(sizes), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=tolerance * a.abs().max().item() + noise)
