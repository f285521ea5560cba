"""A small classifier of images; what it sees before its last layer are features of an image.

Its loss makes these features say which class an image belongs to, so that they change with what is
drawn rather than with single pixels.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = (32, 64, 64, 128)
"""Channels of each convolution; the last ones are the features."""

STRIDES = (1, 2, 2, 1)

FEATURES = CHANNELS[-1]
"""Numbers that describe an image (D)."""


class Classifier(nn.Module):
    """Four convolutions of 3 x 3, the mean over all positions, and one linear layer.

    0.13 million weights, without normalisation, so that an image's features depend on it alone.
    """

    def __init__(self, channels: int, classes: int) -> None:
        """Take the number of colour channels of the images, 1 or 3, and that of classes."""
        super().__init__()
        sizes = pairwise((channels, *CHANNELS))
        self.layers = nn.ModuleList(
            nn.Conv2d(given, made, 3, stride, padding=1)
            for (given, made), stride in zip(sizes, STRIDES, strict=True)
        )
        self.head = nn.Linear(FEATURES, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return features [N, D] of images [N, C, H, W] in [0, 1], of any size."""
        x = images
        for layer in self.layers:
            x = F.relu(layer(x))
        return x.mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, classes] of images [N, C, H, W] in [0, 1]."""
        logits: Tensor = self.head(self.features(images))
        return logits
