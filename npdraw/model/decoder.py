"""The decoder p(x | canvas): a convolutional U from the canvas to the pixel distribution.

Model.md section 6; paper section 3.3. It sees nothing but the canvas, image and coverage: what the
image is must come through the drawing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from npdraw.model.blocks import residual_blocks


class Decoder(nn.Module):
    """Residual blocks at each size, halving and doubling, with skip connections."""

    def __init__(
        self, canvas_channels: int, outputs: int, channels: tuple[int, ...], depth: int
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(canvas_channels, channels[0], 3, padding=1)
        self.down = nn.ModuleList(residual_blocks(c, depth) for c in channels[:-1])
        self.shrink = nn.ModuleList(
            nn.Conv2d(a, b, 2, stride=2) for a, b in zip(channels, channels[1:], strict=False)
        )
        self.middle = residual_blocks(channels[-1], depth)
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 2, stride=2)
            for a, b in zip(channels, channels[1:], strict=False)
        )
        self.up = nn.ModuleList(residual_blocks(c, depth) for c in channels[:-1])
        self.head = nn.Conv2d(channels[0], outputs, 3, padding=1)
        self.multiple = 2 ** (len(channels) - 1)

    def forward(self, canvas: Tensor) -> Tensor:
        """Return the parameters of the likelihood, fp32 [N, outputs, H, W], from the canvas.

        `canvas` [N, C + 1, H, W] in [0, 1]. Sides that cannot be halved evenly are padded.
        """
        height, width = canvas.shape[2:]
        padding = (0, -width % self.multiple, 0, -height % self.multiple)
        h = self.stem(F.pad(canvas, padding).contiguous(memory_format=torch.channels_last))
        skips = []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            skips.append(blocks(h))
            h = shrink(skips[-1])
        h = self.middle(h)
        for blocks, grow, skip in zip(
            self.up[::-1], self.grow[::-1], skips[::-1], strict=True
        ):
            h = blocks(grow(h) + skip)
        with torch.autocast(canvas.device.type, enabled=False):  # exact logits, little work
            output: Tensor = self.head(F.silu(h.float()))
        return output[:, :, :height, :width]
