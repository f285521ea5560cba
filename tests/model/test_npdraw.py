"""The whole model, on layouts small enough to enumerate every drawing."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from npdraw.model import likelihood, npdraw
from npdraw.model.importance import log_mean_exp
from npdraw.model.latents import Latents
from npdraw.model.layout import Layout
from npdraw.model.terms import Relaxation
from tests.model.tiny_models import PARTS, SETUPS, hidden_drawings, images_for, rounded, setups


@setups
def test_a_sample_is_weighted_by_its_own_densities(layout, kind, patch, enumerated):
    e = enumerated(layout, kind, patch)
    w = e.weighted
    assert torch.allclose(-w.distortion.double(), e.log_likelihood, atol=1e-4)
    assert torch.allclose(w.rate.double(), e.log_q - e.log_p, atol=1e-4)
    assert torch.allclose(w.log_weight, -w.distortion - w.rate)
    assert e.log_likelihood.std() > 0.1 and e.log_p.std() > 0.3 and e.log_q.std() > 0.3


@setups
def test_weights_average_to_the_evidence(layout, kind, patch, enumerated):
    e = enumerated(layout, kind, patch)
    assert e.q.sum().item() == pytest.approx(1, abs=1e-5)
    average = torch.logsumexp(e.log_q + e.log_weight, 0)
    assert average.item() == pytest.approx(e.log_evidence.item(), rel=3e-7, abs=3e-6)


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
    pixels = model.decoder.log_prob(large, image.expand(len(z), -1, -1, -1))
    assert torch.allclose(-w.distortion, pixels, rtol=1e-5)
    small = image.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    error = (canvas[:, :3] - small).square().mean((1, 2, 3))
    assert torch.allclose(w.canvas_error, error, atol=1e-6)
    evidence = torch.logsumexp(model.prior.log_prob(z).double() + pixels.double(), 0)
    average = torch.logsumexp(q.joint(z).double() + w.log_weight.double(), 0)
    assert average.item() == pytest.approx(evidence.item(), rel=1e-6)
    assert model.decode(canvas).shape == (len(z), 3, 8, 8)


@torch.no_grad()
def test_few_images_are_decoded_at_once_and_each_has_its_own_result(make_model, monkeypatch):
    model = make_model(Layout(4, 4, 2, 2), "over", 2, channels=3, levels=256, upscale=2)
    canvas, images = torch.rand(5, 4, 4, 4), torch.randint(256, (5, 3, 8, 8)) / 255
    expected = model.decode(canvas), model.log_likelihood(canvas, images)
    sizes, decoder = [], model.decoder.forward
    monkeypatch.setattr(model.decoder, "forward", lambda x: sizes.append(len(x)) or decoder(x))
    monkeypatch.setattr(npdraw, "DECODED_NUMBERS", 2 * 100 * 8 * 8)
    monkeypatch.setattr(likelihood, "CHUNK", 8 * 8)
    found = model.decode(canvas), model.log_likelihood(canvas, images)
    assert sizes == 2 * [2, 2, 1]
    assert all(torch.allclose(*pair, atol=1e-4) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize(("layout", "kind", "patch"), SETUPS[1:2], ids=repr)
def test_all_images_together_have_probability_one(layout, kind, patch, make_model, every_drawing):
    model, z = make_model(layout, kind, patch), every_drawing(layout, PARTS)
    images = torch.tensor(list(product([0.0, 1.0], repeat=8))).view(256, 1, 2, 4)
    with torch.no_grad():
        canvas, log_p = model.paint(z), model.prior.log_prob(z).double()
        total = sum(
            (log_p + model.decoder.log_prob(canvas, image.expand(len(z), 1, -1, -1)).double())
            .exp()
            .sum()
            for image in images
        )
    assert total.item() == pytest.approx(1, abs=1e-5)


def posterior_of(model, images, z):
    """Return q(z | x) of all steps, each layer given what `z` has in the layers before it."""
    spans = model.layout.spans
    return model.posterior(images, lambda _, layer, __: z[:, spans[layer]])[0]


@setups
def test_the_rate_and_its_closed_form_have_the_same_average(layout, kind, patch, enumerated, pin):
    e = enumerated(layout, kind, patch)
    divergence = (e.q * (e.log_q - e.log_p)).sum().item()
    assert divergence > 0.1
    assert (e.q * e.weighted.rate.double()).sum().item() == pytest.approx(divergence, abs=1e-4)
    # The closed form averages over whether, and so over strokes that are not painted, too.
    model, brush = e.model, e.model.brush
    z = hidden_drawings(layout.steps, brush.sizes)
    images = e.image.expand(len(z), -1, -1, -1)
    with torch.no_grad():
        q = posterior_of(model, images, z)
        w = model.importance_sample(images, model.encode(e.image).repeat(len(z)), pin(q, z))
    painting = replace(z, whether=torch.ones_like(z.whether))
    nats = q.log_prob(painting) | {"whether": q.log_prob(z)["whether"]}
    chance = torch.stack(list(nats.values())).double().sum((0, 2)).exp()
    assert chance.sum().item() == pytest.approx(1, abs=1e-5)
    closed = (chance * w.analytic_rate.double()).sum().item()
    assert closed == pytest.approx(divergence, abs=1e-4)
    assert (w.analytic_rate >= 0).all()


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
def test_sampled_estimates_average_to_the_enumerated_ones(layout, kind, patch, samples, enumerated):
    e, repeats = enumerated(layout, kind, patch), 10_000
    with torch.no_grad():
        q = e.model.encode(e.image).repeat(samples * repeats)
        images = e.image.expand(samples * repeats, -1, -1, -1)
        w = e.model.importance_sample(
            images, q, torch.rand(samples * repeats, layout.steps, e.model.brush.numbers)
        )
    nll = -log_mean_exp(w.log_weight.double().view(samples, repeats))
    mean, variance = expected_nll(e, samples)
    assert variance > 0.01
    assert abs(nll.mean().item() - mean) < 4 * (variance / repeats) ** 0.5


@setups
def test_estimates_are_bounds_that_fall_with_more_samples(layout, kind, patch, enumerated):
    e = enumerated(layout, kind, patch)
    one, _ = expected_nll(e, 1)
    two, _ = expected_nll(e, 2)
    assert -e.log_evidence.item() < two - 1e-3 < one - 1e-2


def cold(model, images, uniform, temperature):
    """Return the corners nearest to relaxed samples, each layer given those before it."""
    z = model.brush.blank(len(images))
    for span in model.layout.spans:
        q = posterior_of(model, images, z)[:, span]
        z[:, span] = rounded(q.relax(uniform[:, span], temperature))
    return z


@setups
@pytest.mark.parametrize(("temperature", "hard_rows"), [(1e-6, 0), (0.6, 16), (0.6, 5)])
def test_rounded_terms_are_those_of_hard_drawings_and_cold_ones_too(
    layout, kind, patch, temperature, hard_rows, make_model
):
    model = make_model(layout, kind, patch)
    images = images_for(model, 16)
    uniform = torch.rand(16, layout.steps, model.brush.noise_size)
    with torch.no_grad():
        terms = model.relaxed(images, uniform, Relaxation(temperature, hard_rows))
        z = cold(model, images, uniform, temperature)
        # Not canonical: the factors of a step in p are given its ink even if it does not paint.
        q = posterior_of(model, images, z)
        p = model.prior(model.brush.one_hot(z, q.candidates))
        canvas = model.paint(z)
        distortion = -model.log_likelihood(canvas, images)
        squares = (canvas[:, :-1] - images).square().sum((1, 2, 3))
    hard = slice(hard_rows or 16)
    assert torch.allclose(terms.distortion[hard], distortion[hard], atol=1e-4)
    assert torch.allclose(terms.rate[hard], q.kl(p).sum(1)[hard], atol=1e-4)
    assert torch.allclose(terms.canvas[hard], squares[hard], atol=1e-4)
    assert torch.allclose(terms.strokes[hard], q.whether.sigmoid().sum(1)[hard], atol=1e-4)
    if 0 < hard_rows < 16:  # the others stay soft
        least = 1e-4 if kind == "ink" else 1e-3
        assert ((terms.canvas - squares)[hard_rows:].abs() > least).all()
    assert not terms.parse.any()


@setups
def test_the_parse_term_is_the_cross_entropy_of_each_layer_given_the_canvas_before_it(
    layout, kind, patch, make_model
):
    model = make_model(layout, kind, patch)
    images = images_for(model, 16)
    uniform = torch.rand(16, layout.steps, model.brush.noise_size)
    with torch.no_grad():
        found = model.relaxed(images, uniform, Relaxation(0.6, 16, imitate=True)).parse
        z = cold(model, images, uniform, 0.6)
        q, canvas, expected = posterior_of(model, images, z), None, 0.0
        for layer, span in enumerate(layout.spans):
            drawn = model.brush.parse_layer(images, layer, canvas)
            expected = expected - torch.stack(list(q[:, span].log_prob(drawn).values())).sum((0, 2))
            canvas = model.brush.paint_layer(z[:, span], layer, canvas)
    assert (found > 0).all()
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("imitate", [False, True])
def test_only_the_parse_term_brings_back_a_layer_that_has_stopped_painting(make_model, imitate):
    layout = Layout(8, 8, part_size=4, stride=4, finer=(2,))
    model = make_model(layout, "ink", 2)
    head = model.encoder.heads[0]
    with torch.no_grad():
        head.bias[0] = -1e4  # the sigmoid is 0, and so is its slope
    images = images_for(model, 8)
    uniform = torch.rand(8, layout.steps, model.brush.noise_size)
    terms = model.relaxed(images, uniform, Relaxation(0.6, 8, imitate=imitate))
    loss = terms.distortion + terms.rate + terms.canvas + 0.01 * terms.parse
    loss.sum().backward()
    painted = int(model.brush.parse_layer(images, 0, None).whether.sum())
    assert painted > 0
    assert head.bias.grad[0].item() == pytest.approx(-0.01 * painted if imitate else 0.0, rel=1e-4)


@setups
def test_a_step_of_the_decoder_alone_sees_a_hard_sample_and_trains_nothing_else(
    layout, kind, patch, make_model
):
    model = make_model(layout, kind, patch)
    images, numbers = images_for(model, 5), (layout.steps, model.brush.numbers)
    noise = torch.rand(5, *numbers)
    distortion = model.decoder_alone(images, noise)
    hard = model.importance_sample(images, model.encode(images), noise)
    assert distortion.tolist() == pytest.approx(hard.distortion.tolist(), rel=1e-5)
    distortion.sum().backward()
    assert any(p.grad is not None for p in model.decoder.parameters())
    rest = [*model.encoder.parameters(), *model.prior.parameters()]
    assert all(p.grad is None for p in rest)


@setups
def test_the_canvas_error_is_the_mean_over_pixels(layout, kind, patch, make_model):
    model = make_model(layout, kind, patch)
    images = images_for(model, 6)
    with torch.no_grad():
        uniform = torch.rand(6, layout.steps, model.brush.numbers)
        w = model.importance_sample(images, model.encode(images), uniform)
    squares = (model.paint(w.z)[:, :-1] - images).square()
    assert torch.allclose(w.canvas_error, squares.mean((1, 2, 3)))


@setups
def test_samples_are_those_of_q_layer_by_layer(layout, kind, patch, make_model, same):
    model = make_model(layout, kind, patch)
    images, z = images_for(model, 20), model.brush.blank(20)
    uniform = torch.rand(20, layout.steps, model.brush.numbers)
    with torch.no_grad():
        for span in layout.spans:
            z[:, span] = posterior_of(model, images, z)[:, span].sample(uniform[:, span])
        assert same(model.importance_sample(images, model.encode(images), uniform).z, z)
    assert len(z.whether.unique(dim=0)) > 1


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
def test_results_do_not_depend_on_the_other_images(layout, kind, patch, make_model):
    model = make_model(layout, kind, patch)
    images = images_for(model, 6)
    hard = torch.rand(6, layout.steps, model.brush.numbers)
    soft, how = torch.rand(6, layout.steps, model.brush.noise_size), Relaxation(0.5, imitate=True)
    with torch.no_grad():
        w = model.importance_sample(images, model.encode(images), hard)
        terms = model.relaxed(images, soft, how)
        for i in range(6):
            one = slice(i, i + 1)
            alone = model.importance_sample(images[one], model.encode(images[one]), hard[one])
            for name in ("distortion", "rate", "analytic_rate", "canvas_error"):
                assert torch.allclose(getattr(alone, name), getattr(w, name)[one], atol=1e-5)
            single = model.relaxed(images[one], soft[one], how)
            for name in ("distortion", "rate", "parse", "canvas"):
                assert torch.allclose(getattr(single, name), getattr(terms, name)[one], atol=1e-5)


@pytest.mark.parametrize("setup", [SETUPS[0], SETUPS[3]], ids=repr)
def test_the_brush_and_the_prior_are_part_of_the_model(setup, make_model):
    model = make_model(*setup)
    for brush in (model.prior.brush, model.encoder.brush):
        for name, table in model.brush.tables().items():
            assert torch.equal(brush.tables()[name], table)
            assert brush.tables()[name].data_ptr() != table.data_ptr()  # none is shared
    names = dict(model.named_parameters())
    assert {name.split(".")[0] for name in names} == {"prior", "encoder", "decoder"}
