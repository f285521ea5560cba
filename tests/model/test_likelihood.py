import pytest
import torch

from npdraw.model.likelihood import Bernoulli


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


def test_one_number_from_the_decoder_is_enough_for_a_binary_value():
    assert Bernoulli().outputs(1) == 1
    assert Bernoulli().outputs(3) == 3
