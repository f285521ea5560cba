"""Muon's updates compared with the singular value decomposition and a slow loop."""

import pytest
import torch
from torch import nn

from npdraw.training import muon
from npdraw.training.muon import Muon, orthogonalize


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    "shape", [(6, 6), (4, 9), (9, 4), (1, 5), (5, 1), (30, 50), (6, 40), (40, 6)]
)
def test_singular_values_approach_1_and_vectors_stay(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    matrices = torch.randn(3, *shape) * torch.tensor([1.0, 1e-3, 1e3])[:, None, None]
    found = orthogonalize(matrices.to(dtype)).double()
    assert found.shape == matrices.shape
    u, s, v = torch.linalg.svd(matrices.double(), full_matrices=False)
    turned = u.mT @ found @ v.mT
    values = turned.diagonal(dim1=1, dim2=2)
    # Five iterations do not suffice for values far below the largest.
    large = s > 0.05 * s.amax(1, keepdim=True)
    assert ((values > 0.65) & (values < 1.25))[large].all()
    stray = float((turned - torch.diag_embed(values)).abs().max())
    assert stray < (0.1 if dtype == torch.bfloat16 else 1e-3)


def test_wide_matrices_have_the_iterates_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    # Singular values over four orders of magnitude, as gradients have them.
    u, v = (torch.linalg.qr(torch.randn(3, n, 8, dtype=torch.double))[0] for n in (8, 64))
    matrices = u @ torch.diag_embed(torch.logspace(0, -4, 8, dtype=torch.double)) @ v.mT
    found = orthogonalize(matrices.float())
    monkeypatch.setattr(muon, "WIDE", 10**9)
    torch.testing.assert_close(found.double(), orthogonalize(matrices), rtol=0, atol=1e-3)


def test_each_matrix_is_orthogonalised_separately() -> None:
    matrices = torch.randn(4, 5, 7)
    together = orthogonalize(matrices)
    for alone, found in zip(matrices, together, strict=True):
        torch.testing.assert_close(orthogonalize(alone[None])[0], found, rtol=0.02, atol=0.02)


def test_no_gradient_no_update() -> None:
    assert torch.equal(orthogonalize(torch.zeros(1, 3, 4)).float(), torch.zeros(1, 3, 4))
    weight = nn.Parameter(torch.randn(3, 4))
    before = weight.detach().clone()
    optimizer = Muon([{"params": [weight]}], 0.1, weight_decay=0.5)
    optimizer.step()  # parameters without a gradient do not decay
    assert torch.equal(weight, before)
    weight.grad = torch.zeros(3, 4)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), before * (1 - 0.1 * 0.5))


def test_steps_equal_a_slow_loop() -> None:
    rate, keep, decay = 0.1, 0.8, 0.3
    torch.manual_seed(3)
    weights = [nn.Parameter(torch.randn(shape)) for shape in ((4, 6), (6, 4), (4, 6), (4, 2, 3, 1))]
    expected = [weight.detach().clone() for weight in weights]
    momenta = [torch.zeros_like(weight) for weight in expected]
    optimizer = Muon([{"params": weights}], rate, momentum=keep, weight_decay=decay)
    for _ in range(3):
        for index, weight in enumerate(weights):
            weight.grad = torch.randn(weight.shape)
            momenta[index] = keep * momenta[index] + (1 - keep) * weight.grad
            ahead = (1 - keep) * weight.grad + keep * momenta[index]  # Nesterov
            matrix = ahead.reshape(len(ahead), -1)
            update = orthogonalize(matrix[None].bfloat16())[0].float().view(weight.shape)
            scale = 0.2 * max(matrix.shape) ** 0.5
            expected[index] = expected[index] * (1 - rate * decay) - rate * scale * update
        optimizer.step()
    for weight, wanted in zip(weights, expected, strict=True):
        torch.testing.assert_close(weight.detach(), wanted, rtol=0.01, atol=0.005)


def test_a_step_is_as_large_as_one_of_adamw_with_a_fifth_of_the_rate() -> None:
    for shape in ((32, 32), (16, 64), (64, 16), (16, 4, 3, 3)):
        weight = nn.Parameter(torch.zeros(shape))
        weight.grad = torch.randn(shape)
        Muon([{"params": [weight]}], 1.0).step()
        assert float(weight.detach().square().mean().sqrt()) == pytest.approx(0.2, rel=0.25)


def test_a_channels_last_kernel_is_the_same_matrix() -> None:
    torch.manual_seed(0)
    kernel, gradient = torch.randn(4, 3, 3, 3), torch.randn(4, 3, 3, 3)
    found = []
    for order in (torch.contiguous_format, torch.channels_last):
        weight = nn.Parameter(kernel.clone(memory_format=order))
        weight.grad = gradient.clone(memory_format=order)
        Muon([{"params": [weight]}], 0.1).step()
        found.append(weight.detach())
    assert torch.equal(*found)
