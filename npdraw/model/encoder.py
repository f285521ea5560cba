"""The encoder q(z | x), factorised over steps (docs/model.md, section 6; paper, section 3.3).

Its output grid is that of the layout's steps. The parser's match gains are added to the logits
with learned scales, so that the encoder starts as a soft parser and learns what to change.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from npdraw.model.blocks import residual_blocks
from npdraw.model.latents import Factors
from npdraw.model.layout import Layout
from npdraw.model.parsing import match_gains

MARGIN = 2
"""Pixels around a cell's window that the first layer sees."""


class Encoder(nn.Module):
    """Maps images to the distributions of whether, where and what at every step."""

    def __init__(
        self,
        layout: Layout,
        image_channels: int,
        parts: int,
        channels: int,
        depth: int,
        gain: float = 1.0,
    ) -> None:
        """`gain` is the initial scale of the match gains, in nats per unit of squared error."""
        super().__init__()
        self.layout, self.parts = layout, parts
        side = layout.window + 2 * MARGIN
        self.stem = nn.Conv2d(image_channels, channels, side, layout.stride, padding=MARGIN)
        self.cells = residual_blocks(channels, depth)
        self.heads = nn.Conv2d(channels, 1 + layout.placements + parts, 1)
        nn.init.zeros_(self.heads.weight)
        self.gain_scale = nn.Parameter(torch.full((3,), gain))

    def forward(self, images: Tensor, bank: Tensor) -> Factors:
        """Return q(z | x) of images [N, C, H, W] in [0, 1], equation (6.1).

        `bank` is [K, C, P, P]. The distribution of what does not depend on where.
        """
        framed = self.layout.to_frame(images).contiguous(memory_format=torch.channels_last)
        features = self.cells(self.stem(framed))
        logits = self.heads(F.silu(features)).float().flatten(2).transpose(1, 2)  # [N, T, .]
        with torch.autocast(images.device.type, enabled=False):
            gains = match_gains(images, bank, self.layout)  # [N, T, O, K]
            by_part, by_placement = gains.amax(2), gains.amax(3)
            whether, where, what = logits.split([1, self.layout.placements, self.parts], dim=2)
            scale = self.gain_scale
            return Factors(
                whether.squeeze(2) + scale[0] * by_part.amax(2),
                torch.log_softmax(where + scale[1] * by_placement, 2),
                torch.log_softmax(what + scale[2] * by_part, 2)[:, :, None],
            )
