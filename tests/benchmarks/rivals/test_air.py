"""AIR: where objects are placed, its bound against enumeration, and the gradient of its count."""

from itertools import product

import pytest
import torch
from torch import nn

from benchmarks.rivals.air import AIR, SPREAD, WHERE, glimpse, placed
from benchmarks.rivals.rival import bound

SHAPE = 1, 4, 4


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny(most: int = 2) -> AIR:
    torch.manual_seed(5)
    sizes = {"latents": 2, "states": 5, "hidden": 6, "patch": 4}
    model = AIR(SHAPE, levels=2, most=most, **sizes)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    model.spread.data.copy_(torch.tensor(SPREAD))
    for head in (model.where_head, model.what_head):  # q is near the prior: no extreme weights
        for parameter in head.parameters():
            nn.init.normal_(parameter, std=0.05)
    return model.eval()


def images(count: int) -> torch.Tensor:
    return (torch.rand(count, *SHAPE, generator=generator(5)) < 0.5).float()


def test_an_object_of_the_whole_image_stays_where_it_is() -> None:
    patches, middle = torch.rand(2, 3, 4, 4), torch.zeros(2, WHERE)
    assert torch.allclose(placed(patches, middle, (4, 4)), patches, atol=1e-5)
    assert torch.allclose(glimpse(patches, middle, 4), patches, atol=1e-5)


def test_a_glimpse_takes_a_small_object_back() -> None:
    # Half as large, in the quarter to the lower left: half of the image's half side away.
    where = torch.tensor([[torch.tensor(0.5).log(), -torch.atanh(torch.tensor(0.5)), 0.0]])
    where[:, 2] = -where[:, 1]
    patch = torch.rand(1, 1, 4, 4)
    picture = placed(patch, where, (8, 8))
    assert torch.allclose(picture[0, 0, 4:, :4], patch[0, 0], atol=1e-5)
    assert picture[0, 0, :4].abs().max() < 1e-5
    assert torch.allclose(glimpse(picture, where, 4), patch, atol=1e-5)


@torch.no_grad()
def test_importance_samples_estimate_the_probabilities_of_images() -> None:
    model, x, count = tiny(), images(3), 60_000
    # Samples from the prior, for each number of objects, with its probability.
    weights = model.log_weight(x.repeat(count, 1, 1, 1), generator()).view(count, 3).double().exp()
    noise = generator(1)
    where = torch.randn(count, 2, WHERE, generator=noise)
    what = torch.randn(count, 2, 2, generator=noise)
    chances = torch.sigmoid(model.another)
    numbers = {0: 1 - chances[0], 1: chances[0] * (1 - chances[1]), 2: chances[0] * chances[1]}
    for number, image in enumerate(x):
        exact, variance = 0.0, 0.0
        for objects, chance in numbers.items():
            present = (torch.arange(2) < objects).float().expand(count, 2)
            canvases = model.decode(present, where, what)
            likelihood = model.likelihood.log_prob(canvases, image.expand(count, -1, -1, -1))
            likelihood = likelihood.double().exp()
            exact += float(chance * likelihood.mean())
            variance += float((chance * likelihood.std()) ** 2) / count
        mean = float(weights[:, number].mean())
        error = (variance + float(weights[:, number].var()) / count) ** 0.5
        assert error < 0.05 * exact
        assert abs(mean - exact) < 4 * error
    assert (bound(model, x, 500, generator()) < bound(model, x.clone(), 1, generator()) + 3).all()


def test_the_loss_is_the_negative_elbo() -> None:
    model, count = tiny(), 20_000
    x = images(1).repeat(count, 1, 1, 1)
    with torch.no_grad():
        loss, weight = model.loss(x, generator(), 1.0), model.log_weight(x, generator(1))
    error = float((loss.var() + weight.var()) / count) ** 0.5
    assert abs(float(loss.mean() + weight.mean())) < 4 * error


def test_the_gradient_of_the_count_is_that_of_the_expectation() -> None:
    model, batches, size = tiny(2), 40, 2000
    many = images(1).repeat(size, 1, 1, 1)
    with torch.no_grad():  # of the size of the loss at either decision, and unlike for each sample
        model.baseline[-1].bias.fill_(float(model.loss(many, generator(1), 1.0).mean()) / 1.5)
    found, values = [], []
    for seed in range(batches):
        model.zero_grad()
        model.loss(many, generator(seed), 1.0).mean().backward()
        found.append(float(model.present_head.bias.grad))
    step = 0.2
    for sign in (1, -1):  # the same noise on either side: only some decisions change
        with torch.no_grad():
            model.present_head.bias.add_(sign * step)
            losses = [model.loss(many, generator(seed), 1.0).mean() for seed in range(batches)]
            model.present_head.bias.sub_(sign * step)
        values.append(torch.stack(losses).double())
    slopes = (values[0] - values[1]) / (2 * step)
    gradients = torch.tensor(found).double()
    error = float((slopes - gradients).std()) / batches**0.5
    expected = float(slopes.mean())
    assert error < 0.15 * abs(expected)
    assert abs(float(gradients.mean()) - expected) < 4 * error + 0.02 * abs(expected)


def test_samples_follow_the_probabilities() -> None:
    torch.manual_seed(0)
    model = AIR((1, 2, 2), levels=2, most=2, latents=1, states=4, hidden=4, patch=2).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.7)
    for head in (model.where_head, model.what_head):
        for parameter in head.parameters():
            nn.init.normal_(parameter, std=0.05)
    x = torch.tensor(list(product((0.0, 1.0), repeat=4))).view(16, 1, 2, 2)
    with torch.no_grad():
        weights = model.log_weight(x.repeat(8000, 1, 1, 1), generator()).view(8000, 16).double()
    expected = weights.exp().mean(0)
    assert float(expected.sum()) == pytest.approx(1, abs=0.02)
    drawn = model.sample(40_000, generator()).flatten(1) @ torch.tensor([8.0, 4, 2, 1])
    found = torch.bincount(drawn.long(), minlength=16) / 40_000
    assert ((found - expected).abs() < 0.01).all()
