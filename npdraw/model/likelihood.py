"""Pixel distributions p(x | canvas). A likelihood is one class: parameters -> nats, mean.

Bernoulli for binary images (model.md section 6). A colour likelihood is one more class here.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


class Bernoulli:
    """Independent binary pixels; the decoder's output is one logit for each."""

    def outputs(self, channels: int) -> int:
        """Return how many numbers the decoder gives for a pixel."""
        return channels

    def log_prob(self, logits: Tensor, images: Tensor) -> Tensor:
        """Return log p(x) in nats, [N]; logits and images in {0, 1} are [N, C, H, W]."""
        losses = F.binary_cross_entropy_with_logits(logits, images, reduction="none")
        return -losses.flatten(1).sum(1)

    def mean(self, logits: Tensor) -> Tensor:
        """Return the expected image, [N, C, H, W] in [0, 1]."""
        return torch.sigmoid(logits)
