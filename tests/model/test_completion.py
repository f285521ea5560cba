"""Completion against enumeration: of a tiny prior every drawing can be listed."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from npdraw.model.completion import PARTICLES, complete
from npdraw.model.latents import Latents
from npdraw.model.layout import Layout
from npdraw.model.prior import Prior
from tests.model.tiny_models import all_drawings, brush_for, random_drawings

PLAIN = Layout(4, 4, part_size=2, stride=2)
INKED = Layout(2, 6, 6, 6, finer=(2,))
"""A coarse cell, cropped, and three fine ones beside each other."""


@pytest.fixture(params=[(PLAIN, 3), (INKED, 1)], ids=["parts", "ink"])
def prior(request: pytest.FixtureRequest, make_prior: Callable[..., Prior]) -> Prior:
    layout, seed = request.param
    torch.manual_seed(seed)
    return make_prior(brush_for(layout), 0.4, depth=1)


@pytest.fixture
def given(prior: Prior) -> Latents:
    """A random drawing of four cells."""
    return random_drawings(4, prior.brush.sizes, 1)


def noise(prior: Prior, count: int, particles: int) -> Tensor:
    return torch.rand(count, particles + 1, 4, prior.brush.numbers)


def rows(z: Latents) -> list[tuple[int, ...]]:
    """Return what each drawing paints; of strokes with ink, only the ink."""
    return [tuple(row) for row in torch.cat([z.whether, last_choice(z)], 1).tolist()]


def last_choice(z: Latents) -> Tensor:
    return z.what if z.ink is None else z.ink


@pytest.mark.parametrize(
    "fixed",
    [[False, False, False, True], [False, True, True, False]],
    ids=["last", "middle"],
)
def test_completions_have_the_conditional_distribution(fixed: list[bool], prior: Prior) -> None:
    every, mask = all_drawings(4, prior.brush.sizes), torch.tensor(fixed)
    given = prior.brush.blank(1)
    for step, value in ((0, 0), (1, 1), (3, 0)):
        choices = {name: min(value, size - 1) for name, size in prior.brush.sizes.items()}
        given.put_stroke(0, step, **choices)
    fits = ~every.differs(given.repeat(len(every))) | ~mask
    log_prob = prior.log_prob(every).where(fits.all(1), torch.tensor(-torch.inf))
    expected: dict[tuple[int, ...], float] = {}
    for row, p in zip(rows(every), torch.softmax(log_prob, 0).tolist(), strict=True):
        expected[row] = expected.get(row, 0) + p
    count = 250
    found = rows(complete(prior, given, mask, noise(prior, count, PARTICLES)))
    distance = sum(abs(found.count(row) / count - p) for row, p in expected.items()) / 2
    likely = sum(p > 1e-4 for p in expected.values())
    assert likely >= 6
    assert distance < 0.4 * (likely / count) ** 0.5 + 1 / PARTICLES
    # One particle keeps what is given, but does not look ahead.
    alone = rows(complete(prior, given, mask, noise(prior, count, 1)))
    assert sum(abs(alone.count(row) / count - p) for row, p in expected.items()) / 2 > 2 * distance


def test_completing_nothing_is_sampling(
    prior: Prior, given: Latents, same: Callable[[Latents, Latents], bool]
) -> None:
    uniform = noise(prior, 20, 3)
    found = complete(prior, given, torch.zeros(4, dtype=torch.bool), uniform)
    assert same(found, prior.sample(uniform[:, 0]))
    assert len(set(rows(found))) > 1


def test_a_fully_given_drawing_comes_back(
    prior: Prior, same: Callable[[Latents, Latents], bool]
) -> None:
    for _ in range(5):
        given = random_drawings(4, prior.brush.sizes, 1)
        found = complete(prior, given, torch.ones(4, dtype=torch.bool), noise(prior, 3, 4))
        for row in range(3):
            assert same(found[row : row + 1], given)


def test_given_cells_are_kept_and_a_prefix_is_clamped(
    prior: Prior, given: Latents, same: Callable[[Latents, Latents], bool]
) -> None:
    for fixed in ([1, 0, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0], [0, 1, 1, 1]):
        mask = torch.tensor(fixed).bool()
        found = complete(prior, given, mask, noise(prior, 30, 8))
        assert torch.equal(found.whether[:, mask], given.whether[:, mask].expand(30, -1))
        assert not found.differs(given.repeat(30))[:, mask].any()
        assert len(set(rows(found))) > 1
    uniform = noise(prior, 30, 8)
    clamped = prior.sample(uniform[:, 0], given=given.repeat(30), given_steps=2)
    assert same(complete(prior, given, torch.tensor([1, 1, 0, 0]).bool(), uniform), clamped)


def test_a_completion_depends_on_its_own_numbers_alone(
    prior: Prior, given: Latents, same: Callable[[Latents, Latents], bool]
) -> None:
    uniform, mask = noise(prior, 6, 8), torch.tensor([0, 1, 0, 1]).bool()
    together = complete(prior, given, mask, uniform)
    for row in range(6):
        assert same(together[row : row + 1], complete(prior, given, mask, uniform[row : row + 1]))


def test_improbable_given_cells_are_kept(prior: Prior) -> None:
    with torch.no_grad():
        prior.whether_head.bias.fill_(-300.0)  # nothing is ever painted
    given = prior.brush.blank(1)
    given.whether[0, 3] = True
    found = complete(prior, given, torch.tensor([0, 0, 0, 1]).bool(), noise(prior, 4, 8))
    assert found.whether.tolist() == [[False, False, False, True]] * 4
