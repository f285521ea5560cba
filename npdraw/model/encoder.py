"""The encoder q(z | x), factorised over steps (model.md section 6; paper section 3.3).

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


class Encoder(nn.Module):
    """From images to the distributions of whether, where and what at every step."""

    def __init__(
        self, layout: Layout, image_channels: int, parts: int, channels: int, depth: int
    ) -> None:
        super().__init__()
        self.layout, self.parts = layout, parts
        half = max(1, channels // 2)
        self.stem = nn.Conv2d(image_channels, half, 3, padding=1)
        self.local = residual_blocks(half, 1)
        # The window of a cell and a margin of one pixel; the frame is padded to match.
        self.to_cells = nn.Conv2d(half, channels, layout.window + 2, layout.stride, padding=1)
        self.cells = residual_blocks(channels, depth)
        self.heads = nn.Conv2d(channels, 1 + layout.placements + parts, 1)
        nn.init.zeros_(self.heads.weight)
        nn.init.zeros_(self.heads.bias)
        self.gain_scale = nn.Parameter(torch.ones(3))

    def forward(self, images: Tensor, bank: Tensor) -> Factors:
        """Return q of every step for images [N, C, H, W] in [0, 1] and the bank [K, C, P, P]."""
        framed = self.layout.to_frame(images).contiguous(memory_format=torch.channels_last)
        features = self.cells(self.to_cells(F.silu(self.local(self.stem(framed)))))
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
