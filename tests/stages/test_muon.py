"""Muon: updates are orthogonal, of the size promised, and shared shapes change nothing."""

import pytest
import torch
from torch import nn

from npdraw.stages.muon import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6)])
def test_orthogonalize_keeps_singular_vectors_and_evens_singular_values(
    shape: tuple[int, int],
) -> None:
    matrices = torch.randn(3, *shape)
    found = orthogonalize(matrices, iterations=10).float()
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    inner = u.mT @ found @ vh.mT  # diagonal if the singular vectors are those of the matrix
    values = inner.diagonal(dim1=1, dim2=2)
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert (inner - torch.diag_embed(values)).abs().max() < 0.1


def test_an_update_has_the_root_mean_square_of_adamw() -> None:
    weight = nn.Parameter(torch.zeros(32, 4, 3, 3))
    weight.grad = torch.randn_like(weight)
    Muon([{"params": [weight]}], lr=0.5).step()
    # An orthogonal R x C matrix has mean square 1 / max(R, C); the scale turns that into 0.2.
    assert weight.detach().square().mean().sqrt() == pytest.approx(0.5 * 0.2, rel=0.25)


def test_parameters_of_one_shape_do_not_mix() -> None:
    first, second = (nn.Parameter(torch.randn(5, 7)) for _ in range(2))
    alone = nn.Parameter(first.detach().clone())
    first.grad, second.grad = torch.randn(5, 7), torch.randn(5, 7)
    alone.grad = first.grad.clone()
    Muon([{"params": [first, second]}], lr=0.1).step()
    Muon([{"params": [alone]}], lr=0.1).step()
    torch.testing.assert_close(first, alone)


def test_momentum_is_nesterov_and_decay_is_decoupled() -> None:
    weight = nn.Parameter(torch.eye(4))
    optimizer = Muon([{"params": [weight]}], lr=0.1, momentum=0.5, weight_decay=0.3)
    weight.grad = torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    optimizer.step()
    # The direction is g + (momentum - g) / 2, a multiple of g: the orthogonal factor is that of g.
    torch.testing.assert_close(optimizer.state[weight]["momentum"], weight.grad / 2)
    factor = orthogonalize(weight.grad[None])[0].float()
    expected = torch.eye(4) * (1 - 0.1 * 0.3) - 0.1 * 0.4 * factor
    torch.testing.assert_close(weight.detach(), expected, atol=4e-3, rtol=0)


def test_a_parameter_without_gradient_is_left_alone() -> None:
    weight = nn.Parameter(torch.ones(3, 3))
    Muon([{"params": [weight]}], lr=1.0, weight_decay=0.5).step()
    assert torch.equal(weight, torch.ones(3, 3))
