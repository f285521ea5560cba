"""Distributions of whether, where and what: probabilities, samples, KL and relaxation."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from npdraw.model.factors import Factors
from npdraw.model.latents import Latents
from npdraw.model.layout import Layout
from tests.model.tiny_models import factors

TOP = 1 - 2**-24
"""The largest uniform number in fp32."""


def repeated(p, times):
    """Return the distributions of the first image, `times` times over."""
    return p[:1].repeat(times)


def tempered(p, temperature):
    return Factors(
        p.whether / temperature,
        (p.where / temperature).log_softmax(2),
        (p.what / temperature).log_softmax(3),
    )


def events(placements, parts):
    """Every event of one step, [1 + O * K, 1]: not paint, or paint one part somewhere."""
    painted = [(1, o, k) for o in range(placements) for k in range(parts)]
    table = torch.tensor([(0, 0, 0), *painted])[:, None]
    return Latents(table[..., 0].bool(), table[..., 1], table[..., 2])


def probabilities(p, z):
    """p(z) of one-step drawings, [E] in double, for distributions of one image and step."""
    return repeated(p, len(z)).joint(z).double().exp()


def assert_frequencies(observed, expected, draws):
    """Chi-square: the mean is the number of events less one, its variance twice that."""
    free = len(expected) - 1
    chi_square = ((observed - draws * expected).square() / (draws * expected)).sum()
    assert chi_square < free + 5 * math.sqrt(2 * free)


CASES = pytest.mark.parametrize(("placements", "chained"), [(1, False), (4, False), (4, True)])


@CASES
def test_the_events_of_a_step_have_probability_one(placements, chained):
    p = factors(1, 1, placements, 3, chained=chained)
    assert probabilities(p, events(placements, 3)).sum().item() == pytest.approx(1, abs=1e-6)


def test_log_prob_is_the_chain_of_whether_where_and_what():
    p = Factors(
        torch.tensor([[math.log(3)]]),  # paints with probability 3/4
        torch.tensor([[[0.25, 0.75]]]).log(),
        torch.tensor([[[[0.5, 0.5], [0.2, 0.8]]]]).log(),
    )
    for paints, where, what, expected in [
        (True, 0, 1, (0.75, 0.25, 0.5)),
        (True, 1, 0, (0.75, 0.75, 0.2)),
        (False, 0, 0, (0.25, 1, 1)),
    ]:
        z = Latents(torch.tensor([[paints]]), torch.tensor([[where]]), torch.tensor([[what]]))
        found = [x.exp().item() for x in p.log_prob(z).values()]
        assert found == pytest.approx(expected, abs=1e-6)


@CASES
def test_nothing_depends_on_where_and_what_of_steps_that_do_not_paint(
    placements, chained, drawings, meddle
):
    layout = Layout(6, 6, 2, 2, math.isqrt(placements))
    p = factors(5, layout.steps, placements, 3, chained=chained)
    z = drawings(layout, 3, 5)
    other = meddle(z, placements, 3)
    assert not torch.equal(z.what, other.what)
    one, two = p.log_prob(z), p.log_prob(other)
    assert one.keys() == two.keys() == {"whether", "where", "what"}
    for name in one:
        assert torch.equal(one[name], two[name])


def test_very_certain_steps_have_exact_log_probabilities():
    p = Factors(torch.tensor([[80.0, -80.0]]), torch.zeros(1, 2, 1), torch.zeros(1, 2, 1, 1))
    zeros = torch.zeros(1, 2, dtype=torch.int64)
    whether = p.log_prob(Latents(torch.tensor([[False, True]]), zeros, zeros))["whether"]
    assert whether.tolist() == [[-80.0, -80.0]]


@CASES
@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_samples_have_the_frequencies_of_their_probabilities(placements, chained, temperature):
    draws, parts = 20_000, 3
    p = factors(1, 1, placements, parts, chained=chained)
    z = repeated(p, draws).sample(torch.rand(draws, 1, 3), temperature)
    number = z.whether * (1 + z.where * parts + z.what)  # in the order of `events`
    observed = torch.bincount(number.flatten(), minlength=1 + placements * parts)
    expected = probabilities(tempered(p, temperature), events(placements, parts))
    assert_frequencies(observed, expected, draws)


def test_samples_invert_the_distribution_functions():
    p = Factors(
        torch.zeros(1, 1), torch.tensor([[[0.3, 0.7]]]).log(), torch.tensor([0.2, 0.5, 0.3]).log()
    )
    p = Factors(p.whether, p.where, p.what.view(1, 1, 1, 3))
    for uniform, expected in [
        ((0.49, 0.29, 0.19), (True, 0, 0)),
        ((0.49, 0.31, 0.21), (True, 1, 1)),
        ((0.49, 0.99, 0.69), (True, 1, 1)),
        ((0.49, 0.00, 0.71), (True, 0, 2)),
        ((0.51, 0.99, 0.99), (False, 0, 0)),  # canonical
    ]:
        z = p.sample(torch.tensor([[uniform]]))
        assert (z.whether.item(), z.where.item(), z.what.item()) == expected


def test_extreme_uniforms_draw_possible_values():
    never = float("-inf")
    what = torch.tensor([never, 0.0, 0.0, never]).log_softmax(0).view(1, 1, 1, 4)
    p = Factors(torch.full((1, 1), 50.0), torch.zeros(1, 1, 1), what)
    assert p.sample(torch.zeros(1, 1, 3)).what.item() == 1
    assert p.sample(torch.full((1, 1, 3), TOP)).what.item() == 2
    many = factors(500, 1, 1, 200, chained=False)
    many = Factors(torch.full((500, 1), 50.0), many.where, many.what)
    assert (many.sample(torch.zeros(500, 1, 3)).what == 0).all()
    # Rounding moves the top of the distribution function, but not by more than rare parts.
    last = many.sample(torch.full((500, 1, 3), TOP)).what
    assert (last >= 198).all() and last.max() == 199


def test_certain_steps_do_not_depend_on_the_uniforms():
    p = Factors(torch.tensor([[60.0, -60.0]]), torch.zeros(1, 2, 1), torch.zeros(1, 2, 1, 1))
    for uniform in (0.0, 0.5, TOP):
        z = p.sample(torch.full((1, 2, 3), uniform))
        assert z.whether[0, 0] or uniform == TOP  # sigmoid(60) is 1 - 9e-27
        assert not z.whether[0, 1] or uniform == 0.0


@CASES
def test_kl_is_the_sum_over_all_events(placements, chained):
    parts = 3
    p = factors(1, 1, placements, parts, chained=True)
    q = factors(1, 1, placements, parts, chained=chained)
    z = events(placements, parts)
    a, b = probabilities(q, z), probabilities(p, z)
    expected = (a * (a / b).log()).sum().item()
    assert expected > 1e-3
    assert q.kl(p).item() == pytest.approx(expected, abs=1e-5)


@CASES
def test_kl_is_zero_between_equals_and_positive_otherwise(placements, chained):
    p = factors(50, 4, placements, 3, chained=chained)
    assert p.kl(p).abs().max() < 1e-6
    unlike = factors(50, 4, placements, 3, chained=chained)
    assert p.kl(unlike).min() > 0


@pytest.mark.parametrize("changed", ["whether", "where", "what"])
def test_whether_where_and_what_all_count_in_the_kl(changed):
    p = factors(20, 1, 4, 3, chained=True)
    fresh = factors(20, 1, 4, 3, chained=True)
    q = replace(p, **{changed: getattr(fresh, changed)})
    assert q.kl(p).mean() > 0.05


def relaxed(p, draws, temperature):
    """Many relaxed samples of the distributions of one image and step, and their uniforms."""
    uniform = torch.rand(draws, 1, 1 + p.where.shape[2] + p.what.shape[3])
    return repeated(p, draws).relax(uniform, temperature), uniform


@pytest.mark.parametrize("temperature", [2.0, 0.6, 0.15])
def test_relaxed_samples_lie_between_hard_drawings(temperature):
    z, _ = relaxed(factors(1, 1, 4, 5, chained=False), 1000, temperature)
    assert ((z.whether >= 0) & (z.whether <= 1)).all()
    for soft in (z.where, z.what):
        assert (soft >= 0).all()
        assert torch.allclose(soft.sum(2), torch.ones(()))


def test_cold_relaxed_samples_are_the_corners_nearest_to_warm_ones():
    p = factors(1, 1, 4, 5, chained=False)
    warm, uniform = relaxed(p, 500, 1.0)
    cold = repeated(p, 500).relax(uniform, 1e-6)
    assert torch.allclose(cold.whether, warm.whether.round(), atol=1e-3)
    for soft, sharp in ((warm.where, cold.where), (warm.what, cold.what)):
        assert torch.equal(soft.argmax(2), sharp.argmax(2))
        assert sharp.amax(2).min() > 0.9


def test_the_nearest_corners_have_the_frequencies_of_the_distributions():
    draws = 20_000
    p = factors(1, 1, 4, 5, chained=False)
    z, _ = relaxed(p, draws, 0.6)
    paint = torch.sigmoid(p.whether).flatten().double()
    painted = (z.whether > 0.5).sum()
    assert_frequencies(
        torch.stack([painted, draws - painted]), torch.cat([paint, 1 - paint]), draws
    )
    for soft, log_prob in ((z.where, p.where), (z.what, p.what)):
        observed = torch.bincount(soft.argmax(2).flatten(), minlength=log_prob.shape[-1])
        assert_frequencies(observed, log_prob.flatten().double().exp(), draws)


@pytest.mark.parametrize("uniform", [0.0, TOP])
def test_relaxed_samples_and_their_gradients_are_finite_at_the_ends(uniform):
    p = factors(1, 2, 4, 5, chained=False)
    leaves = [x.requires_grad_() for x in (p.whether, p.where, p.what)]
    z = p.relax(torch.full((1, 2, 10), uniform), 0.15)
    total = z.whether.sum() + z.where.square().sum() + z.what.square().sum()
    assert total.isfinite()
    assert all(g.isfinite().all() for g in torch.autograd.grad(total, leaves))


@pytest.mark.parametrize("rows", [0, 3, 8])
def test_the_first_rows_are_rounded_and_the_others_stay(rows):
    p, uniform = factors(8, 1, 4, 5, chained=False), torch.rand(8, 1, 10)
    z, rounded = p.relax(uniform, 1.0), p.relax(uniform, 1.0, rows)
    nearest = Latents(z.whether > 0.5, z.where.argmax(2), z.what.argmax(2)).one_hot(where=4, what=5)
    for name in ("whether", "where", "what"):
        soft, hard, corner = (getattr(x, name) for x in (z, rounded, nearest))
        assert torch.allclose(hard[:rows], corner[:rows], atol=1e-6)
        assert torch.equal(hard[rows:], soft[rows:])
        assert not torch.allclose(soft, corner, atol=0.1)


@pytest.mark.parametrize(("name", "size"), [("whether", 2), ("where", 4), ("what", 5)])
def test_gradients_of_rounded_samples_are_exact_for_quadratic_losses_of_one_choice(name, size):
    # The mean over all corners, each with its probability, and the gradient of the expected loss.
    p = factors(1, 1, 4, 5, chained=False)
    logits = getattr(p, name).requires_grad_()
    curve, slope = torch.randn(size, size), torch.randn(size)

    def loss(x):
        return x @ slope + ((x @ curve) * x).sum(1)

    corners = torch.eye(size)
    bit = F.logsigmoid(torch.stack([logits, -logits], 2)) if name == "whether" else logits
    log_prob = bit.flatten().log_softmax(0)
    (exact,) = torch.autograd.grad(log_prob.exp() @ loss(corners), logits, retain_graph=True)

    # Noise that makes the drawings be the corners, one after the other.
    first = {"whether": 0, "where": 1, "what": 5}[name]
    uniform = torch.full((size, 1, 10), 0.5)
    uniform[:, 0, first : first + size] = 1e-6 + corners * (1 - 2e-6)
    if name == "whether":
        uniform[:, 0, 1] = 0.5
    p = p.map(lambda x: x.log_softmax(-1) if x is logits and name != "whether" else x)
    drawn = getattr(p.repeat(size).relax(uniform, 1.0, size), name)
    drawn = torch.stack([drawn, 1 - drawn], 2)[:, 0] if name == "whether" else drawn[:, 0]
    assert torch.allclose(drawn, corners)
    (found,) = torch.autograd.grad(log_prob.exp().detach() @ loss(drawn), logits)
    assert torch.allclose(found, exact, atol=1e-5) and found.abs().max() > 1e-3
