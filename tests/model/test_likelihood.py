"""Pixel distributions: probabilities, means and initial values."""

import math

import pytest
import torch

from npdraw.model import likelihood
from npdraw.model.likelihood import Bernoulli, MixtureOfLogistics


def test_the_two_values_of_a_pixel_have_probability_one():
    logits = torch.linspace(-30, 30, 61).view(61, 1, 1, 1)
    total = sum(
        Bernoulli().log_prob(logits, torch.full((61, 1, 1, 1), value)).exp() for value in (0.0, 1.0)
    )
    assert torch.allclose(total, torch.ones(61), atol=1e-6)


def test_log_prob_is_the_sum_over_pixels_of_their_log_probabilities():
    logits = 2 * torch.randn(3, 2, 4, 5)
    images = (torch.rand(3, 2, 4, 5) < 0.5).float()
    one = torch.sigmoid(logits.double())
    expected = torch.where(images > 0, one, 1 - one).log().sum((1, 2, 3))
    assert Bernoulli().log_prob(logits, images).tolist() == pytest.approx(expected.tolist())


def test_very_certain_pixels_have_finite_log_probabilities():
    logits = torch.tensor([200.0, -200.0]).view(2, 1, 1, 1)
    assert Bernoulli().log_prob(logits, torch.zeros(2, 1, 1, 1)).tolist() == [-200.0, 0.0]


def test_the_mean_is_the_probability_of_ink():
    logits = torch.randn(3, 1, 4, 5)
    ink = Bernoulli().log_prob(logits.flatten()[:, None, None, None], torch.ones(60, 1, 1, 1)).exp()
    assert torch.allclose(Bernoulli().mean(logits).flatten(), ink, atol=1e-6)


def test_a_binary_value_takes_one_number_of_the_decoder():
    assert Bernoulli().outputs(1) == 1
    assert Bernoulli().outputs(3) == 3


LEVELS = torch.arange(256) / 255
MIXTURE = MixtureOfLogistics(3)


def chances(parameters: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Probabilities of colours [V, C] under the parameters of one pixel [outputs]."""
    rows = parameters.view(1, -1, 1, 1).expand(len(images), -1, -1, -1)
    return MIXTURE.log_prob(rows, images[:, :, None, None]).double().exp()


def plain(
    parameters: torch.Tensor, colour: list[float], origin: list[float] | None = None
) -> float:
    """The same for the first channels of one colour, from the definition, in fp64."""
    rows = parameters.double().view(3, -1)
    channels = {3: 1, 10: 3}[rows.shape[1]]
    share = torch.softmax(rows[:, 0], 0)
    mean, scale = (rows[:, 1 : 1 + channels] + 1) / 2, rows[:, 1 + channels : 1 + 2 * channels]
    slope = torch.tanh(rows[:, 1 + 2 * channels :])
    if origin is not None:
        mean = mean - 0.5 + torch.tensor(origin)
    moved = colour if origin is None else [c - o for c, o in zip(colour, origin, strict=True)]
    total = 0.0
    for k in range(3):
        chance = float(share[k])
        for c, value in enumerate(colour):
            centre = mean[k, c]
            for before in range(c):
                centre = centre + slope[k, c * (c - 1) // 2 + before] * moved[before]
            ends = [(value + side / 510 - centre) / scale[k, c].exp() for side in (-1, 1)]
            low = 0.0 if value == 0 else float(torch.sigmoid(ends[0]))
            high = 1.0 if value == 1 else float(torch.sigmoid(ends[1]))
            chance *= high - low
        total += chance
    return total


def some_parameters(channels: int, spread: float) -> torch.Tensor:
    parameters = spread * torch.randn(MIXTURE.outputs(channels))
    parameters.view(3, -1)[:, 1 + channels : 1 + 2 * channels] -= 2  # scales below the range
    return parameters


@pytest.mark.parametrize("spread", [0.1, 1.0, 8.0], ids=["narrow", "usual", "wild"])
def test_the_256_values_of_a_grey_pixel_have_probability_one(spread):
    for _ in range(5):
        found = chances(some_parameters(1, spread), LEVELS[:, None])
        assert float(found.sum()) == pytest.approx(1, abs=1e-5)
        assert (found >= 0).all()


@pytest.mark.parametrize("red, green", [(0.0, 1.0), (51 / 255, 204 / 255), (1.0, 0.0)])
def test_the_256_values_of_blue_add_up_to_the_probability_of_red_and_green(red, green):
    parameters = some_parameters(3, 1.0)
    colours = torch.stack([torch.full((256,), red), torch.full((256,), green), LEVELS], 1)
    expected = plain(parameters, [red, green])
    assert float(chances(parameters, colours).sum()) == pytest.approx(expected, rel=1e-4)


def test_colours_have_the_probabilities_of_the_definition():
    for value in range(0, 256, 51):
        parameters = some_parameters(3, 1.0)
        colour = [value / 255, (255 - value) / 255, 128 / 255]
        found = float(chances(parameters, torch.tensor([colour])))
        assert found == pytest.approx(plain(parameters, colour), rel=1e-3)


def test_an_image_has_the_sum_of_its_pixels():
    parameters, images = torch.randn(2, 30, 4, 5), torch.randint(256, (2, 3, 4, 5)) / 255
    each = MIXTURE.log_prob(
        parameters.movedim(1, 3).reshape(40, 30, 1, 1), images.movedim(1, 3).reshape(40, 3, 1, 1)
    )
    assert torch.allclose(MIXTURE.log_prob(parameters, images), each.view(2, 20).sum(1), rtol=1e-5)


def test_gradients_of_many_images_are_those_of_each(monkeypatch):
    # They are computed some images at a time, and scaled by what comes from above.
    monkeypatch.setattr(likelihood, "CHUNK", 2 * 16)
    images, weights = torch.randint(256, (5, 3, 4, 4)) / 255, torch.randn(5)
    inputs = [torch.randn(5, 30, 4, 4), torch.rand(5, 3, 4, 4)]

    def gradients(rows, weights):
        parts = [x[rows].clone().requires_grad_() for x in inputs]
        nats = MIXTURE.log_prob(parts[0], images[rows], parts[1])
        return torch.autograd.grad(nats @ weights, parts)

    together = gradients(slice(5), weights)
    each = [gradients(slice(n, n + 1), torch.ones(1)) for n in range(5)]
    for found, single in zip(together, zip(*each, strict=True), strict=True):
        expected = weights[:, None, None, None] * torch.cat(single)
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert (found.flatten(1).abs().amax(1) > 0).all()


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_parameters_have_any_type_and_memory_order_and_gradients_have_the_same(kind):
    images, parameters = torch.randint(256, (4, 3, 5, 5)) / 255, torch.randn(4, 30, 5, 5).to(kind)
    plain = parameters.float().requires_grad_()
    as_decoded = parameters.contiguous(memory_format=torch.channels_last).requires_grad_()
    results = [MIXTURE.log_prob(each, images) for each in (plain, as_decoded)]
    assert torch.equal(*results)
    (expected,), (found,) = (
        torch.autograd.grad(nats.sum(), each)
        for nats, each in zip(results, (plain, as_decoded), strict=True)
    )
    assert found.dtype == kind and found.stride() == as_decoded.stride()
    assert torch.equal(found, expected.to(kind))
    logits = torch.randn(2, 1, 3, 3).to(kind)
    for function in (Bernoulli().mean, lambda x: Bernoulli().log_prob(x, torch.ones(2, 1, 3, 3))):
        assert torch.equal(function(logits), function(logits.float()))


@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
def test_far_out_values_and_gradients_stay_finite_in_half_precision_too(size):
    images = torch.randint(256, (2, 3, 8, 8)) / 255
    for kind in (torch.float32, torch.bfloat16):
        parameters = (size * torch.randn(2, 30, 8, 8)).to(kind).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            nats = MIXTURE.log_prob(parameters, images)
        assert torch.equal(nats, MIXTURE.log_prob(parameters.float(), images))
        assert torch.isfinite(nats).all() and (nats < 0).all()
        nats.sum().backward()
        assert parameters.grad is not None and torch.isfinite(parameters.grad).all()


def test_a_mixture_learns_what_pixels_are():
    values = torch.where(torch.rand(1000) < 0.25, 30, 200) + torch.randint(-1, 2, (1000,))
    images = values[None, None, None] / 255
    parameters = torch.randn(1, MIXTURE.outputs(1), 1, 1).requires_grad_()
    optimizer = torch.optim.Adam([parameters], 0.1)
    for _ in range(200):
        optimizer.zero_grad()
        loss = -MIXTURE.log_prob(parameters.expand(-1, -1, 1, 1000), images).mean() / 1000
        loss.backward()
        optimizer.step()
    entropy = math.log(3) - 0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert entropy - 0.05 < float(loss.detach()) < entropy + 0.3


def test_the_mean_is_that_of_the_probabilities():
    parameters = some_parameters(1, 1.0)
    expected = float((chances(parameters, LEVELS[:, None]) * LEVELS).sum())
    found = MIXTURE.mean(parameters.view(1, -1, 1, 1))
    assert found.shape == (1, 1, 1, 1)
    assert float(found) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_samples_have_the_mean_and_the_frequencies_of_the_distribution(channels):
    count = 40_000
    parameters = some_parameters(channels, 1.0)
    rows = parameters.view(1, -1, 1, 1).expand(1, -1, 1, count)
    drawn = MIXTURE.sample(rows, torch.Generator().manual_seed(0))
    assert drawn.shape == (1, channels, 1, count)
    values = (drawn * 255).round()
    assert torch.allclose(values / 255, drawn) and 0 <= values.min() <= values.max() <= 255
    if channels == 1:
        counted = torch.bincount(values.flatten().long(), minlength=256) / count
        expected = chances(parameters, LEVELS[:, None])
        assert float((counted - expected).abs().sum()) < 0.12
    colour = drawn[0, :, 0].T  # [count, C]
    mean = MIXTURE.mean(rows[..., :1]).flatten()
    # Where green and blue are cut at 0 and 1, their expectations given the mean are a bit off.
    assert torch.allclose(colour.mean(0), mean, atol=0.005 if channels == 1 else 0.05)
    dark = colour[:, 0] < 0.5
    expected_dark = sum(plain(parameters, [v / 255]) for v in range(128))
    assert float(dark.float().mean()) == pytest.approx(expected_dark, abs=0.02)


def test_samples_around_an_origin_are_those_of_the_probabilities_around_it():
    parameters, origin = some_parameters(3, 0.3), [0.3, 0.6, 0.9]
    rows = parameters.view(1, -1, 1, 1).expand(1, -1, 1, 20_000)
    start = torch.tensor(origin).view(1, 3, 1, 1).expand(1, 3, 1, 20_000)
    drawn = MIXTURE.sample(rows, torch.Generator().manual_seed(0), start)
    mean = MIXTURE.mean(rows[..., :1], start[..., :1]).flatten()
    assert torch.allclose(drawn.mean((0, 2, 3)), mean, atol=0.05)
    score = torch.zeros(20_000, len(parameters), 1, 1) + parameters.view(1, -1, 1, 1)
    score.requires_grad_()
    colours, starts = (x[0, :, 0].T[:, :, None, None] for x in (drawn, start))
    MIXTURE.log_prob(score, colours, starts).sum().backward()
    # Gradients of log p are 0 on average over samples of p.
    error = score.grad.std(0) / len(score.grad) ** 0.5
    assert bool((score.grad.mean(0).abs() <= 5 * error + 1e-6).all())


def test_binary_samples_have_the_probabilities_of_ink():
    logits = torch.linspace(-3, 3, 7).view(1, 1, 1, 7).expand(20_000, -1, -1, -1)
    drawn = Bernoulli().sample(logits, torch.Generator().manual_seed(0))
    assert sorted(drawn.unique().tolist()) == [0, 1]
    assert torch.allclose(drawn.mean(0), torch.sigmoid(logits[0]), atol=0.02)


def test_the_decoder_gives_ten_components_a_hundred_numbers_for_a_colour_pixel():
    assert MixtureOfLogistics().outputs(3) == 100
    assert MixtureOfLogistics().outputs(1) == 30


@pytest.mark.parametrize("channels", [1, 3])
def test_a_decoder_starts_without_preferring_any_value(channels):
    start = MixtureOfLogistics().start(channels)
    assert start.shape == (MixtureOfLogistics().outputs(channels),)
    images = (torch.rand(50, 1, 1, 1).mul(255).round() / 255).expand(-1, channels, -1, -1)
    nats = -MixtureOfLogistics().log_prob(start.view(1, -1, 1, 1).expand(50, -1, -1, -1), images)
    assert float(nats.mean()) / channels < math.log(256) + 0.1
    assert Bernoulli().start(channels) is None


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("error", [1e-3, 0.02])
def test_a_decoder_that_starts_as_the_canvas_expects_the_canvas(channels, error):
    mixture = MixtureOfLogistics()
    start = mixture.start(channels, error).view(1, -1, 1, 1).expand(2, -1, 5, 6)
    canvas = torch.full((2, channels, 5, 6), 0.5)
    canvas[1] = torch.rand(channels, 1, 1) * 0.4 + 0.3  # flat
    mean = mixture.mean(start, canvas)
    assert torch.allclose(mean, canvas, atol=0.1 * error**0.5)
    assert torch.allclose(mean, mean[:, :, :1, :1].expand_as(mean), atol=1e-6)
    # Values that miss the canvas by the error cost less than with much smaller or larger scales.
    images = canvas + error**0.5 * torch.randn_like(canvas)
    images = images.mul(255).round().clamp(0, 255) / 255
    nats = [
        -float(mixture.log_prob(output, images, canvas).mean())
        for output in (
            mixture.start(channels, scaled * error).view(1, -1, 1, 1).expand(2, -1, 5, 6)
            for scaled in (0.02, 1, 50)
        )
    ]
    assert nats[1] < min(nats[0], nats[2])


def test_green_and_blue_move_with_what_the_channels_before_them_miss():
    for _ in range(5):
        parameters, origin = some_parameters(3, 1.0), [0.2, 0.5, 0.9]
        canvas = torch.tensor(origin).view(1, 3, 1, 1)
        for colour in ([0.2, 0.6, 1.0], [0.0, 0.4, 0.8]):
            rows, image = parameters.view(1, -1, 1, 1), torch.tensor(colour).view(1, 3, 1, 1)
            found = float(MIXTURE.log_prob(rows, image, canvas).double().exp())
            assert found == pytest.approx(plain(parameters, colour, origin), rel=1e-3)
