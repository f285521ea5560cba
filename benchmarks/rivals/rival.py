"""What the models that NP-DRAW is compared with have in common.

Images are [N, C, H, W] in [0, 1], binary or of 256 values. Everything is in nats per image.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Rival(nn.Module, ABC):
    """A generative model whose likelihood is known, or bounded by importance samples."""

    deterministic: bool
    """Whether `log_weight` needs no noise, so that one sample is enough."""

    @abstractmethod
    def loss(self, images: Tensor, noise: torch.Generator, done: float) -> Tensor:
        """Return what a training step minimises, [N]; `done` is the share of training, 0 to 1."""

    @abstractmethod
    def log_weight(self, images: Tensor, noise: torch.Generator) -> Tensor:
        """Return the logarithm of an estimate of p(x) whose mean is p(x), or below it, [N]."""

    @abstractmethod
    def sample(self, count: int, noise: torch.Generator) -> Tensor:
        """Draw images, [count, C, H, W] in [0, 1]."""


@torch.no_grad()
def bound(model: Rival, images: Tensor, samples: int, noise: torch.Generator) -> Tensor:
    """Return an upper bound on -log p(x), float64 [N]: equation (7.2) with S = `samples`.

    With `PixelCNN` it is -log p(x) itself.
    """
    count = 1 if model.deterministic else samples
    weights = torch.stack([model.log_weight(images, noise).double() for _ in range(count)])
    return torch.log(torch.tensor(float(count))) - weights.logsumexp(0)
