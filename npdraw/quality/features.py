"""From images to features: numbers that describe what an image shows.

An extractor is a network with fixed weights. Which one is used decides what the distances between
features mean, so each says its name, the digest of its weights and how it resizes images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from npdraw.quality.classifier import Classifier


class Extractor(Protocol):
    """A network that maps images to features."""

    @property
    def name(self) -> str:
        """What the features are called in results."""

    @property
    def digest(self) -> str:
        """SHA-256 of the weights, or of the artifact that holds them."""

    @property
    def at_once(self) -> int:
        """Images per forward pass."""

    def resizing(self, side: int) -> str:
        """Say how images of `side` pixels become those that the network sees."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """Return features, float32 [N, D], of uint8 images [N, C, H, W] on the network's device."""


@dataclass(frozen=True)
class OwnFeatures:
    """The features of a classifier that `npdraw train-features` has trained."""

    classifier: Classifier
    image_size: int
    """Side of the images that it was trained on, in pixels."""
    name: str
    digest: str
    at_once: int = 256

    def resizing(self, side: int) -> str:
        """Say how images of `side` pixels become those that the network sees."""
        return resized(side, self.image_size, "bilinear")

    def __call__(self, images: Tensor) -> Tensor:
        """Return features, float32 [N, D], of uint8 images [N, C, H, W]."""
        side = self.image_size
        x = images.float() / 255
        if x.shape[2:] != (side, side):
            x = F.interpolate(x, (side, side), mode="bilinear", antialias=True)
        return self.classifier.features(x)


def resized(side: int, to: int, how: str) -> str:
    """Say that images of `side` pixels are resized to `to` pixels, or that they are not."""
    return "none" if side == to else f"{side} x {side} to {to} x {to}, {how}"


@torch.no_grad()
def features_of(
    extractor: Extractor,
    images: Tensor,
    device: torch.device,
    seen: Callable[[int], object] = lambda _: None,
) -> Tensor:
    """Return the features, float32 [N, D] in main memory, of uint8 images [N, C, H, W].

    `device` is that of the network. `seen` is called with the number of images in each forward
    pass, after it.
    """
    found = []
    for part in images.split(extractor.at_once):
        found.append(extractor(part.to(device)).float().cpu())
        seen(len(part))
    return torch.cat(found)
