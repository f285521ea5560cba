"""Residual blocks."""

import torch

from npdraw.model.blocks import ResidualBlock, residual_blocks


def test_a_block_starts_by_adding_no_more_than_a_constant():
    block, x = ResidualBlock(6), torch.randn(2, 6, 5, 7)
    constant = block.second.bias[:, None, None]
    assert torch.allclose(block(x) - x, constant.expand_as(x), atol=1e-6)
    assert constant.abs().max() < 0.2


def test_a_block_learns_from_the_start():
    block = ResidualBlock(6)
    x = torch.randn(2, 6, 5, 7)
    (block(x) * torch.randn_like(x)).sum().backward()
    assert (block.second.weight.grad != 0).all()


def test_trained_blocks_refine_one_after_the_other(shaken):
    blocks = shaken(residual_blocks(4, 3))
    x = torch.randn(2, 4, 5, 7)
    expected = x
    for block in blocks:
        inner = block.first(torch.nn.functional.silu(expected))
        expected = expected + block.second(torch.nn.functional.silu(inner))
    assert torch.allclose(blocks(x), expected)
    assert (blocks(x) - x).abs().mean() > 0.1


def test_no_blocks_change_nothing():
    x = torch.randn(1, 4, 3, 3)
    assert torch.equal(residual_blocks(4, 0)(x), x)
