"""Distributions of strokes with ink, by enumeration of one step."""

from dataclasses import replace

import pytest
import torch

from tests.model.tiny_models import all_drawings, factors, rounded

SIZES = {"where": 1, "what": 3, "ink": 4, "contrast": 2}


def some_factors(images=1, steps=1):
    return factors(images, steps, 1, 3, chained=False, inks=4, contrasts=2)


def probabilities(p):
    """Return every event of a step, and its probability in double."""
    z = all_drawings(1, SIZES)
    return z, p.repeat(len(z)).joint(z).double().exp()


def test_all_events_together_have_probability_one():
    z, chance = probabilities(some_factors())
    assert len(z) == 1 + 3 * 4 * 2
    assert chance.sum().item() == pytest.approx(1, abs=1e-6)


def test_kl_is_the_sum_over_all_events():
    q, p = some_factors(), some_factors()
    a, b = probabilities(q)[1], probabilities(p)[1]
    assert q.kl(p).item() == pytest.approx((a * (a / b).log()).sum().item(), abs=1e-5)
    assert q.kl(q).abs().max() < 1e-6


@pytest.mark.parametrize("changed", ["whether", "what", "ink", "contrast"])
def test_every_choice_counts_in_the_kl(changed):
    p = some_factors(20)
    q = replace(p, **{changed: getattr(some_factors(20), changed)})
    assert q.kl(p).mean() > 0.05


def test_candidates_only_renumber_the_parts():
    p = some_factors(5, 4)
    order = torch.rand(5, 4, 3).argsort(2)
    listed = replace(p, what=p.what.gather(3, order[:, :, None]), candidates=order)
    z = p.sample(torch.rand(5, 4, 5))
    assert torch.allclose(listed.joint(z), p.joint(z))
    assert not listed.likeliest().differs(p.likeliest()).any()
    drawn = listed.repeat(4000).sample(torch.rand(20_000, 4, 5))
    counted = torch.stack([(drawn.what == k)[drawn.whether].sum() for k in range(3)]) / (
        drawn.whether.sum()
    )
    paint = torch.sigmoid(p.whether)[..., None]
    expected = (paint * p.what[:, :, 0].exp()).sum((0, 1)) / paint.sum()
    assert torch.allclose(counted, expected, atol=0.02)


def test_samples_have_the_frequencies_of_their_probabilities():
    p, draws = some_factors(), 20_000
    z, expected = probabilities(p)
    drawn = p.repeat(draws).sample(torch.rand(draws, 1, 5))
    number = drawn.whether * (1 + drawn.what * 8 + drawn.ink * 2 + drawn.contrast)
    counted = torch.bincount(number.flatten(), minlength=len(z))
    chi_square = ((counted - draws * expected).square() / (draws * expected)).sum()
    assert chi_square < 24 + 5 * 48**0.5


def test_samples_that_are_not_canonical_keep_what_they_would_paint():
    p, uniform = some_factors(50, 4), torch.rand(50, 4, 5)
    z, hidden = p.sample(uniform), p.sample(uniform, canonical=False)
    assert not z.differs(hidden).any() and not torch.equal(z.ink, hidden.ink)
    always = uniform * torch.tensor([0.0, 1, 1, 1, 1])
    assert torch.equal(hidden.ink, p.sample(always).ink)


def test_rounded_rows_are_the_nearest_corners():
    p, uniform = some_factors(8, 4), torch.rand(8, 4, 1 + 1 + 3 + 4 + 2)
    z, hard = p.relax(uniform, 0.7), p.relax(uniform, 0.7, 3)
    corners = rounded(z).one_hot(**SIZES)
    for name, x in z.tensors().items():
        assert torch.allclose(hard.tensors()[name][:3], corners.tensors()[name][:3], atol=1e-6)
        assert torch.equal(hard.tensors()[name][3:], x[3:])
