"""Convolutions shared by encoder and decoder."""

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """`x + conv(silu(conv(silu(x))))`, the last convolution zero at the start.

    Without normalisation: GroupNorm in bf16 costs as much as the convolutions and trained no
    better (docs/model.md, section 6). Keeps the shape [N, C, H, W].
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the refined features."""
        return x + self.second(F.silu(self.first(F.silu(x))))  # type: ignore[no-any-return]


def residual_blocks(channels: int, depth: int) -> nn.Sequential:
    """Return a sequence of `depth` residual blocks."""
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(depth)))
