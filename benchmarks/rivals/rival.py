"""What the models that NP-DRAW is compared with have in common.

Images are [N, C, H, W] in [0, 1], binary or of 256 values. Everything is in nats per image.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from npdraw.model.importance import log_mean_exp
from npdraw.model.likelihood import Likelihood


class Rival(nn.Module, ABC):
    """A generative model whose likelihood is known, or bounded by importance samples."""

    deterministic: bool
    """Whether `log_weight` needs no noise, so that one sample is enough."""

    exact: bool = False
    """Whether `log_weight` is log p(x) itself."""

    def start_from(self, images: Tensor) -> None:
        """Choose the distribution of pixels before training, given uint8 images [N, C, H, W].

        Models whose output has a bias for each pixel start at the pixels' means.
        """

    @abstractmethod
    def loss(self, images: Tensor, noise: torch.Generator, done: float) -> Tensor:
        """Return what a training step minimises, [N]; `done` is the share of training, 0 to 1."""

    @abstractmethod
    def log_weight(self, images: Tensor, noise: torch.Generator) -> Tensor:
        """Return the logarithm of an estimate of p(x) whose mean is p(x), or below it, [N]."""

    @abstractmethod
    def sample(self, count: int, noise: torch.Generator) -> Tensor:
        """Draw images, [count, C, H, W] in [0, 1]."""


def start_of_pixels(likelihood: Likelihood, images: Tensor) -> Tensor:
    """Return the output of each pixel to start from, [outputs, H, W]; uint8 images [N, C, H, W].

    Binary pixels start at their means over the images, smoothed by half a count each way. As in
    Burda, Grosse & Salakhutdinov 2016; with few images it saves many steps.
    """
    start = likelihood.start(images.shape[1])
    if start is not None:
        return start[:, None, None].expand(-1, *images.shape[2:])
    ink = (images.float() / 255).sum(0)
    return torch.logit((ink + 0.5) / (len(images) + 1))


def spread(layer: nn.Module) -> None:
    """Initialise the weights of linear and recurrent layers so that latents matter from the start.

    With torch's default, which is smaller, the KL falls to 0 in the first steps and stays there.
    """
    for name, weight in layer.named_parameters():
        if "weight_hh" in name:
            for gate in weight.data.chunk(4):
                nn.init.orthogonal_(gate)
        elif "weight" in name:
            nn.init.normal_(weight, std=1.5 * weight.shape[1] ** -0.5)


@torch.no_grad()
def log_weights(model: Rival, images: Tensor, samples: int, noise: torch.Generator) -> Tensor:
    """Return `samples` log weights of each image, one if no noise is needed, float64 [S, N]."""
    count = 1 if model.deterministic else samples
    return torch.stack([model.log_weight(images, noise).double() for _ in range(count)])


def bound(model: Rival, images: Tensor, samples: int, noise: torch.Generator) -> Tensor:
    """Return an upper bound on -log p(x), float64 [N]: equation (7.2) with S = `samples`."""
    return -log_mean_exp(log_weights(model, images, samples, noise))
