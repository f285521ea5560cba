"""The whole model, on layouts small enough to enumerate every drawing."""

from itertools import product

import pytest
import torch

from npdraw.model.importance import log_mean_exp
from npdraw.model.latents import Latents
from npdraw.model.layout import Layout
from npdraw.model.npdraw import Relaxation
from npdraw.model.parsing import parse
from tests.model.tiny_models import PARTS, SETUPS, binary_images, setups


@setups
def test_a_sample_is_weighted_by_its_own_densities(layout, compositing, patch, enumerated):
    e = enumerated(layout, compositing, patch)
    w = e.weighted
    assert torch.allclose(-w.distortion.double(), e.log_likelihood, atol=1e-4)
    assert torch.allclose(w.rate.double(), e.log_q - e.log_p, atol=1e-4)
    assert torch.allclose(w.log_weight, -w.distortion - w.rate)
    assert e.log_likelihood.std() > 0.1 and e.log_p.std() > 0.3 and e.log_q.std() > 0.3


@setups
def test_weights_average_to_the_evidence(layout, compositing, patch, enumerated):
    e = enumerated(layout, compositing, patch)
    assert e.q.sum().item() == pytest.approx(1, abs=1e-5)
    average = torch.logsumexp(e.log_q + e.log_weight, 0)
    assert average.item() == pytest.approx(e.log_evidence.item(), abs=3e-6)


@torch.no_grad()
def test_a_colour_image_larger_than_its_canvas_is_weighted_too(make_model, every_drawing, pin):
    layout = Layout(4, 4, 2, 2)
    model = make_model(layout, "over", 2, channels=3, levels=256, upscale=2)
    values, z = torch.randint(256, (1, 3, 8, 8), dtype=torch.uint8), every_drawing(layout, PARTS)
    image = model.in_unit(values)
    assert torch.equal(image, values / 255)
    q = model.encode(image).repeat(len(z))
    w = model.importance_sample(image.expand(len(z), -1, -1, -1), q, pin(q, z))
    canvas = model.paint(z)
    assert canvas.shape == (len(z), 4, 4, 4)
    large = canvas.repeat_interleave(2, 2).repeat_interleave(2, 3)
    pixels = model.likelihood.log_prob(model.decoder(large), image.expand(len(z), -1, -1, -1))
    assert torch.allclose(-w.distortion, pixels, rtol=1e-5)
    small = image.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    error = (canvas[:, :3] - small).square().mean((1, 2, 3))
    assert torch.allclose(w.canvas_error, error, atol=1e-6)
    evidence = torch.logsumexp(model.prior.log_prob(z).double() + pixels.double(), 0)
    average = torch.logsumexp(q.joint(z).double() + w.log_weight.double(), 0)
    assert average.item() == pytest.approx(evidence.item(), rel=1e-6)
    assert model.decode(canvas).shape == (len(z), 3, 8, 8)


@pytest.mark.parametrize(("layout", "compositing", "patch"), SETUPS[1:2], ids=repr)
def test_all_images_together_have_probability_one(
    layout, compositing, patch, make_model, every_drawing
):
    model, z = make_model(layout, compositing, patch), every_drawing(layout, PARTS)
    images = torch.tensor(list(product([0.0, 1.0], repeat=8))).view(256, 1, 2, 4)
    with torch.no_grad():
        output = model.decoder(model.paint(z))
        log_p = model.prior.log_prob(z).double()
        total = sum(
            (log_p + model.likelihood.log_prob(output, image.expand_as(output)).double())
            .exp()
            .sum()
            for image in images
        )
    assert total.item() == pytest.approx(1, abs=1e-5)


@setups
def test_the_rate_and_its_closed_form_have_the_same_average(layout, compositing, patch, enumerated):
    e = enumerated(layout, compositing, patch)
    divergence = (e.q * (e.log_q - e.log_p)).sum().item()
    assert divergence > 0.1
    assert (e.q * e.weighted.rate.double()).sum().item() == pytest.approx(divergence, abs=1e-4)
    closed = (e.q * e.weighted.analytic_rate.double()).sum().item()
    assert closed == pytest.approx(divergence, abs=1e-4)
    assert (e.weighted.analytic_rate >= 0).all()


def expected_nll(e, samples):
    """Mean and variance of the estimate with one or two samples, by enumeration."""
    if samples == 1:
        value, weight = -e.log_weight, e.q
    else:
        pair = torch.stack(torch.broadcast_tensors(e.log_weight[:, None], e.log_weight[None]))
        value, weight = -log_mean_exp(pair.flatten(1)), torch.outer(e.q, e.q).flatten()
    mean = (weight * value).sum()
    return mean.item(), (weight * (value - mean).square()).sum().item()


@setups
@pytest.mark.parametrize("samples", [1, 2])
def test_sampled_estimates_average_to_the_enumerated_ones(
    layout, compositing, patch, samples, enumerated
):
    e, repeats = enumerated(layout, compositing, patch), 10_000
    with torch.no_grad():
        q = e.model.encode(e.image).repeat(samples * repeats)
        images = e.image.expand(samples * repeats, -1, -1, -1)
        w = e.model.importance_sample(images, q, torch.rand(samples * repeats, layout.steps, 3))
    nll = -log_mean_exp(w.log_weight.double().view(samples, repeats))
    mean, variance = expected_nll(e, samples)
    assert variance > 0.01
    assert abs(nll.mean().item() - mean) < 4 * (variance / repeats) ** 0.5


@setups
def test_estimates_are_bounds_that_fall_with_more_samples(layout, compositing, patch, enumerated):
    e = enumerated(layout, compositing, patch)
    one, _ = expected_nll(e, 1)
    two, _ = expected_nll(e, 2)
    assert -e.log_evidence.item() < two - 1e-3 < one - 1e-2


@setups
@pytest.mark.parametrize(("temperature", "hard_rows"), [(1e-6, 0), (0.6, 16), (0.6, 5)])
def test_rounded_terms_are_those_of_hard_drawings_and_cold_ones_too(
    layout, compositing, patch, temperature, hard_rows, make_model, pin
):
    model = make_model(layout, compositing, patch)
    images = binary_images(layout, 16)
    drawn = parse(images, model.bank, layout, threshold=0.1, compositing=compositing)
    uniform = torch.rand(16, layout.steps, model.noise_size())
    with torch.no_grad():
        terms = model.relaxed(images, drawn, uniform, Relaxation(temperature, hard_rows))
        q = model.encode(images)
        soft = q.relax(uniform, temperature)
        z = Latents(soft.whether > 0.5, soft.where.argmax(2), soft.what.argmax(2)).canonical()
        w = model.importance_sample(images, q, pin(q, z))
    hard = slice(hard_rows or 16)
    squares = w.canvas_error * images[0].numel()
    assert torch.allclose(terms.distortion[hard], w.distortion[hard], atol=1e-4)
    assert torch.allclose(terms.rate[hard], w.analytic_rate[hard], atol=1e-4)
    assert torch.allclose(terms.canvas[hard], squares[hard], atol=1e-4)
    if 0 < hard_rows < 16:  # the others stay soft
        assert ((terms.canvas - squares)[hard_rows:].abs() > 1e-3).all()
    assert torch.allclose(terms.parse, -torch.stack(q.log_prob(drawn)).sum((0, 2)))


@setups
def test_the_canvas_error_is_the_mean_over_pixels(layout, compositing, patch, make_model, pin):
    model = make_model(layout, compositing, patch)
    images = binary_images(layout, 6)
    with torch.no_grad():
        q = model.encode(images)
        uniform = torch.rand(6, layout.steps, 3)
        canvas = model.paint(q.sample(uniform))
        found = model.importance_sample(images, q, uniform).canvas_error
    assert torch.allclose(found, (canvas[:, :1] - images).square().mean((1, 2, 3)))


def test_the_decoder_sees_nothing_but_the_canvas(make_model, pin):
    # The second of two cells covers the first wherever that is inside the image: what the first
    # painted leaves no trace in p(x | z).
    layout = Layout(2, 4, 4, 2)
    model = make_model(layout, "over", 1, parts=3)
    assert layout.positions[:, 0].tolist() == [[-1, -1], [-1, 1]]
    z = Latents(
        torch.ones(3, 2).bool(), torch.zeros(3, 2).long(), torch.tensor([[0, 2], [1, 2], [0, 1]])
    )
    canvas = model.paint(z)
    canvas[:, :, :, 0] = 0.5  # the only column that shows the first
    with torch.no_grad():
        shown = model.decode(canvas)
    assert torch.equal(shown[0], shown[1])
    assert not torch.allclose(shown[0], shown[2], atol=1e-4)


@setups
def test_results_do_not_depend_on_the_other_images(layout, compositing, patch, make_model):
    model = make_model(layout, compositing, patch)
    images = binary_images(layout, 6)
    drawn = parse(images, model.bank, layout, threshold=0.1, compositing=compositing)
    hard, soft = torch.rand(6, layout.steps, 3), torch.rand(6, layout.steps, model.noise_size())
    with torch.no_grad():
        w = model.importance_sample(images, model.encode(images), hard)
        terms = model.relaxed(images, drawn, soft, Relaxation(0.5))
        for i in range(6):
            one = slice(i, i + 1)
            alone = model.importance_sample(images[one], model.encode(images[one]), hard[one])
            for name in ("distortion", "rate", "analytic_rate", "canvas_error"):
                assert torch.allclose(getattr(alone, name), getattr(w, name)[one], atol=1e-5)
            single = model.relaxed(images[one], drawn[one], soft[one], Relaxation(0.5))
            for name in ("distortion", "rate", "parse", "canvas"):
                assert torch.allclose(getattr(single, name), getattr(terms, name)[one], atol=1e-5)


@pytest.mark.parametrize("compositing", ["max", "over"])
def test_every_parameter_learns_from_the_loss(compositing, make_model):
    layout = Layout(6, 6, 2, 2, 2)
    model = make_model(layout, compositing, 2, parts=4)
    images = binary_images(layout, 8)
    drawn = parse(images, model.bank, layout, threshold=0.1, compositing=compositing)
    uniform = torch.rand(8, layout.steps, model.noise_size())
    terms = model.relaxed(images, drawn, uniform, Relaxation(0.6))
    (terms.distortion + terms.rate + terms.parse + terms.canvas).mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("term", ["distortion", "rate", "parse", "canvas"])
def test_every_term_trains_all_three_heads_of_the_encoder(term, make_model):
    layout = Layout(6, 6, 2, 2, 2)
    model = make_model(layout, "max", 1, parts=4)
    images = binary_images(layout, 8)
    drawn = parse(images, model.bank, layout, threshold=0.1)
    uniform = torch.rand(8, layout.steps, model.noise_size())
    getattr(model.relaxed(images, drawn, uniform, Relaxation(0.6)), term).sum().backward()
    gradient = model.encoder.heads.bias.grad
    assert (gradient.abs() > 1e-6).all()  # whether, four placements, four parts


@pytest.mark.parametrize("term", ["distortion", "rate", "parse", "canvas"])
def test_gradients_are_those_of_finite_differences(term, make_model):
    # Through every path: the rate also moves with the sampled steps that the prior sees.
    layout = Layout(6, 6, 2, 2, 2)
    model = make_model(layout, "over", 1, parts=4, scale=0.3)
    images = binary_images(layout, 8)
    drawn = parse(images, model.bank, layout, threshold=0.1)
    uniform = torch.rand(8, layout.steps, model.noise_size())
    bias = model.encoder.heads.bias

    def value():
        return getattr(model.relaxed(images, drawn, uniform, Relaxation(1.0)), term).double().sum()

    (gradient,) = torch.autograd.grad(value(), bias)
    slopes, step = torch.zeros_like(gradient), 1e-2
    with torch.no_grad():
        for i in range(len(bias)):
            bias[i] += step
            above = value()
            bias[i] -= 2 * step
            slopes[i] = (above - value()) / (2 * step)
            bias[i] += step
    for a, b in zip(gradient.split([1, 4, 4]), slopes.split([1, 4, 4]), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=0.005 * a.abs().max().item())


def test_the_bank_and_the_prior_are_part_of_the_model(make_model):
    model = make_model(*SETUPS[0])
    assert torch.equal(model.bank, model.prior.bank)
    names = dict(model.named_parameters())
    assert {name.split(".")[0] for name in names} == {"prior", "encoder", "decoder"}
