"""The decoder p(x | canvas): a convolutional U from the canvas to the pixel distribution.

docs/model.md, section 6; paper, section 3.3. It sees nothing but the canvas, image and coverage:
what the image is must come through the drawing.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from npdraw.model.blocks import residual_blocks


class Decoder(nn.Module):
    """Residual blocks at each size, halving and doubling, with skip connections.

    With `patch` 2 or more, squares of `patch` x `patch` pixels become channels of one position, so
    that no block works at full size; a last pair of convolutions at full size joins them with the
    canvas again. A wide layer at half size costs as much as a narrow one at full size and learns
    more (LOG.md, 2026-11-22).
    """

    def __init__(
        self,
        canvas_channels: int,
        outputs: int,
        channels: tuple[int, ...],
        depth: int,
        patch: int,
        start: Tensor | None = None,
    ) -> None:
        """`start` [outputs] is the initial output at every pixel; None: no particular one."""
        super().__init__()
        self.patch = patch
        self.multiple = patch * 2 ** (len(channels) - 1)
        pairs = list(pairwise(channels))
        self.stem = nn.Conv2d(canvas_channels * patch**2, channels[0], 3, padding=1)
        self.down = nn.ModuleList(residual_blocks(c, depth) for c in channels[:-1])
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
        self.middle = residual_blocks(channels[-1], depth)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairs)
        self.up = nn.ModuleList(residual_blocks(c, depth) for c in channels[:-1])
        fine = max(8, channels[0] // patch**2)
        self.unpatch = nn.Conv2d(channels[0], fine * patch**2, 1)
        self.join = nn.Conv2d(fine + canvas_channels, 2 * fine, 3, padding=1)
        self.head = nn.Conv2d(2 * fine, outputs, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        if start is not None:
            self.head.bias = nn.Parameter(start)

    def forward(self, canvas: Tensor) -> Tensor:
        """Return the parameters of the likelihood, [N, outputs, H, W], from the canvas.

        `canvas` [N, C + 1, H, W] in [0, 1]. Sides that cannot be halved evenly are padded. Type and
        memory order are those of the last convolution: the likelihood converts a few images at a
        time, since all at once would take more memory than anything else in a training step.
        """
        # Squares of pixels to channels.
        height, width = canvas.shape[2:]
        padded = F.pad(canvas, (0, -width % self.multiple, 0, -height % self.multiple))
        patches = F.pixel_unshuffle(padded, self.patch)
        h = self.stem(patches.contiguous(memory_format=torch.channels_last))

        # The U: down, keeping each size for a skip connection; then up.
        skips = []
        for blocks, shrink in zip(self.down, self.shrink, strict=True):
            skips.append(blocks(h))
            h = shrink(skips[-1])
        h = self.middle(h)
        for blocks, grow, skip in zip(self.up[::-1], self.grow[::-1], skips[::-1], strict=True):
            h = blocks(grow(h) + skip)

        # Channels back to pixels, beside the canvas at full size.
        fine = F.pixel_shuffle(self.unpatch(F.silu(h)), self.patch)
        features = self.join(torch.cat([F.silu(fine), padded.to(fine.dtype)], 1))
        output: Tensor = self.head(F.silu(features))[:, :, :height, :width]
        return output
