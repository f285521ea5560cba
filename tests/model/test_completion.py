"""Completion against enumeration: of a tiny prior every drawing can be listed."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from npdraw.model.completion import PARTICLES, complete
from npdraw.model.latents import Latents
from npdraw.model.layout import Layout
from npdraw.model.prior import Prior

PARTS = 2


@pytest.fixture
def prior(shaken: Callable[..., nn.Module]) -> Prior:
    torch.manual_seed(3)
    layout = Layout(4, 4, part_size=2, stride=2)
    made = Prior(
        layout,
        torch.rand(PARTS, 1, 2, 2),
        width=8,
        depth=1,
        heads=2,
        head_width=4,
        mlp_width=16,
    )
    return shaken(made, 0.4)  # type: ignore[return-value]


def noise(count: int, particles: int, steps: int) -> Tensor:
    return torch.rand(count, particles + 1, steps, 3)


def rows(z: Latents) -> list[tuple[int, ...]]:
    return [tuple(row) for row in torch.cat([z.whether, z.what], 1).tolist()]


@pytest.mark.parametrize(
    "fixed",
    [[False, False, False, True], [False, True, True, False]],
    ids=["last", "middle"],
)
def test_completions_have_the_conditional_distribution(
    fixed: list[bool], prior: Prior, every_drawing: Callable[[Layout, int], Latents]
) -> None:
    all_drawings, mask = every_drawing(prior.layout, PARTS), torch.tensor(fixed)
    whether, what = torch.tensor([[1, 1, 0, 1]]).bool(), torch.tensor([[0, 1, 0, 0]])
    given = Latents(whether, torch.zeros_like(what), what)
    fits = ((all_drawings.whether == given.whether) & (all_drawings.what == given.what)) | ~mask
    log_prob = prior.log_prob(all_drawings).where(fits.all(1), torch.tensor(-torch.inf))
    expected = dict(zip(rows(all_drawings), torch.softmax(log_prob, 0).tolist(), strict=True))
    count = 250
    found = rows(complete(prior, given, mask, noise(count, PARTICLES, 4)))
    distance = sum(abs(found.count(row) / count - p) for row, p in expected.items()) / 2
    likely = sum(p > 1e-4 for p in expected.values())
    assert likely >= 6
    assert distance < 0.4 * (likely / count) ** 0.5 + 1 / PARTICLES
    # One particle keeps what is given, but does not look ahead.
    alone = rows(complete(prior, given, mask, noise(count, 1, 4)))
    assert sum(abs(alone.count(row) / count - p) for row, p in expected.items()) / 2 > 2 * distance


def test_completing_nothing_is_sampling(
    prior: Prior, same: Callable[[Latents, Latents], bool], drawings: Callable[..., Latents]
) -> None:
    uniform = noise(20, 3, 4)
    given = drawings(prior.layout, PARTS, 1)
    found = complete(prior, given, torch.zeros(4, dtype=torch.bool), uniform)
    assert same(found, prior.sample(uniform[:, 0]))
    assert len(set(rows(found))) > 1


def test_a_fully_given_drawing_comes_back(
    prior: Prior, same: Callable[[Latents, Latents], bool], drawings: Callable[..., Latents]
) -> None:
    for _ in range(5):
        given = drawings(prior.layout, PARTS, 1)
        found = complete(prior, given, torch.ones(4, dtype=torch.bool), noise(3, 4, 4))
        for row in range(3):
            assert same(found[row : row + 1], given)


def test_given_cells_are_kept_and_a_prefix_is_clamped(
    prior: Prior, same: Callable[[Latents, Latents], bool], drawings: Callable[..., Latents]
) -> None:
    given = drawings(prior.layout, PARTS, 1)
    for fixed in ([1, 0, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0], [0, 1, 1, 1]):
        mask = torch.tensor(fixed).bool()
        found = complete(prior, given, mask, noise(30, 8, 4))
        assert torch.equal(found.whether[:, mask], given.whether[:, mask].expand(30, -1))
        assert torch.equal(found.what[:, mask], given.what[:, mask].expand(30, -1))
        assert len(set(rows(found))) > 1
    uniform = noise(30, 8, 4)
    clamped = prior.sample(uniform[:, 0], given=given.repeat(30), given_steps=2)
    assert same(complete(prior, given, torch.tensor([1, 1, 0, 0]).bool(), uniform), clamped)


def test_a_completion_depends_on_its_own_numbers_alone(
    prior: Prior, same: Callable[[Latents, Latents], bool], drawings: Callable[..., Latents]
) -> None:
    given, mask = drawings(prior.layout, PARTS, 1), torch.tensor([0, 1, 0, 1]).bool()
    uniform = noise(6, 8, 4)
    together = complete(prior, given, mask, uniform)
    for row in range(6):
        assert same(together[row : row + 1], complete(prior, given, mask, uniform[row : row + 1]))


def test_improbable_given_cells_are_kept(prior: Prior) -> None:
    with torch.no_grad():
        prior.whether_head.bias.fill_(-300.0)  # nothing is ever painted
    given = Latents(torch.tensor([[False, False, False, True]]), *torch.zeros(2, 1, 4).long())
    found = complete(prior, given, torch.tensor([0, 0, 0, 1]).bool(), noise(4, 8, 4))
    assert found.whether.tolist() == [[False, False, False, True]] * 4
