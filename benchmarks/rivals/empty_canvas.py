"""The decoder of NP-DRAW without a drawing: what a model says that draws nothing.

The canvas is empty, so that the decoder knows where a pixel is and, in colour, the slices of pixels
before it, but nothing of the image. What NP-DRAW gains over it is what drawings are worth.
"""

import torch
from torch import Tensor

from benchmarks.rivals.rival import Rival
from npdraw.model.decoder import new_decoder
from npdraw.model.likelihood import likelihood_of


class EmptyCanvas(Rival):
    """p(x | empty canvas)."""

    deterministic = exact = True

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        levels: int,
        channels: tuple[int, ...] = (64, 112),
        depth: int = 1,
        patch: int = 2,
        error: float | None = None,
    ) -> None:
        """Images have the `shape` (channels, height, width) and pixels `levels` values, 2 or 256.

        `channels`, `depth`, `patch` and `error` are those of NP-DRAW's decoder.
        """
        super().__init__()
        self.shape = shape
        self.decoder = new_decoder(likelihood_of(levels), shape[0], channels, depth, patch, error)

    def loss(self, images: Tensor, noise: torch.Generator, done: float) -> Tensor:
        """Return -log p(x), [N]."""
        del noise, done
        return -self.decoder.log_prob(self._canvas(len(images), images.device), images)

    def log_weight(self, images: Tensor, noise: torch.Generator) -> Tensor:
        """Return log p(x), [N]."""
        return -self.loss(images, noise, 1.0)

    @torch.no_grad()
    def sample(self, count: int, noise: torch.Generator) -> Tensor:
        """Draw images, [count, C, H, W]."""
        return self.decoder.sample(self._canvas(count, noise.device), noise)

    def _canvas(self, count: int, device: torch.device) -> Tensor:
        """Return canvases, grey where nothing is covered."""
        channels, height, width = self.shape
        canvas = torch.full((count, channels + 1, height, width), 0.5, device=device)
        canvas[:, -1] = 0
        return canvas
