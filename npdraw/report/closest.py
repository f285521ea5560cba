"""Are samples copies? The training images that are closest to them, and how close they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SHOWN = 3
"""Training images beside each sample."""

CHUNK = 4096
"""Training images compared at once."""


@dataclass(frozen=True)
class Closest:
    """A sample and the training images that are closest to it."""

    pictures: Tensor
    """The sample, then the training images, the closest first: uint8 [1 + SHOWN, C, H, W]."""
    difference: float
    """Mean squared difference of the pixels, in [0, 1], from the closest one."""


def closest(samples: Tensor, train: Tensor) -> list[Closest]:
    """Return the training images closest to each sample, uint8 [N, C, H, W] both."""
    index, differences = nearest(samples, train, min(SHOWN, len(train)))
    return [
        Closest(torch.cat([sample[None], train[rows]]), float(least[0]))
        for sample, rows, least in zip(samples, index, differences, strict=True)
    ]


def nearest(images: Tensor, train: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return indices and differences of the `count` training images closest to each image.

    Images uint8 [N, C, H, W] and [M, C, H, W]; results [N, count], the closest first. Of equally
    close ones the first counts: sums of whole numbers in fp64 are exact.
    """
    queries = images.flatten(1).double()
    norms = queries.square().sum(1, keepdim=True)
    squares = torch.cat(
        [
            norms - 2 * queries @ chunk.T + chunk.square().sum(1)
            for chunk in (some.flatten(1).double() for some in train.split(CHUNK))
        ],
        1,
    )
    ordered, index = squares.sort(dim=1, stable=True)
    return index[:, :count], ordered[:, :count] / (255**2 * queries.shape[1])


def median(pairs: Sequence[Closest]) -> float:
    """Return the median difference from the closest training image."""
    return float(torch.tensor([pair.difference for pair in pairs], dtype=torch.float64).median())
