"""Distances between samples and images, from their features.

All take features [N, D], one row for each image, and compute in float64. Which features, how many
samples and which images decide what the numbers mean, so they are only comparable where all of
these are the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 1000
"""Images of each set whose kernels are compared at once, as the authors of KID do."""

NEIGHBOURS = 3
"""Neighbours that make the radius of a ball in precision and recall (Kynkäänniemi et al. 2019)."""

COVERED = 5
"""The same in density and coverage (Naeem et al. 2020)."""

LEAST = COVERED + 1
"""Fewest samples, and images, that can be compared."""

ROWS = 1024
"""Rows of a table of distances in memory at once."""


@dataclass(frozen=True)
class Quality:
    """How samples compare with images."""

    frechet_distance: float
    """At least 0; lower is better. It depends on the numbers of samples and images: compare it only
    at equal numbers. With features of Inception it is known as FID."""
    kid: float
    """Kernel distance, 0 on average where both have one distribution, and so sometimes below 0."""
    kid_se: float
    """Standard error of `kid`; NaN with a single block."""
    precision: float
    """Share of samples that look like some image, 0 to 1."""
    recall: float
    """Share of images that look like some sample, 0 to 1."""
    density: float
    """As precision, but counting how many images a sample looks like: about 1 for images."""
    coverage: float
    """Share of images near which there is a sample, 0 to 1."""


def compare(samples: Tensor, images: Tensor) -> Quality:
    """Return all distances between the features of samples [N, D] and of images [M, D].

    Raises:
        ValueError: there are too few for the balls of density and coverage.
    """
    if min(len(samples), len(images)) < LEAST:
        raise ValueError(f"{len(samples)} samples and {len(images)} images, fewer than {LEAST}")
    samples, images = samples.double(), images.double()
    kid, kid_se = kernel_distance(samples, images)
    precision, recall = precision_and_recall(samples, images)
    density, coverage = density_and_coverage(samples, images)
    frechet = frechet_distance(samples, images)
    return Quality(frechet, kid, kid_se, precision, recall, density, coverage)


def frechet_distance(samples: Tensor, images: Tensor) -> float:
    """Return the squared Fréchet distance of two normal distributions (Heusel et al. 2017).

    They have the means m and covariances C of the features: `|m - m'|^2 + tr(C + C' - 2 (C
    C')^(1/2))`. The trace of the root is the sum of the singular values of `C^(1/2) C'^(1/2)`,
    which, unlike eigenvalues of C C', rounding cannot make complex.
    """
    apart = (samples.mean(0) - images.mean(0)).square().sum()
    square = samples.shape[1], samples.shape[1]
    first, second = (torch.cov(x.T).reshape(square) for x in (samples, images))
    common = torch.linalg.svdvals(_root(first) @ _root(second)).sum()
    return max(0.0, float(apart + first.trace() + second.trace() - 2 * common))


def _root(covariance: Tensor) -> Tensor:
    """Return the square root of a covariance matrix [D, D]."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    return root


def kernel_distance(samples: Tensor, images: Tensor) -> tuple[float, float]:
    """Return the squared maximum mean discrepancy and its standard error (Binkowski et al. 2018).

    The kernel is `(x . y / D + 1)^3`, the estimate the unbiased one. It is the mean over blocks of
    `BLOCK` samples and images that share none with each other, so that the blocks are independent
    and their spread gives the standard error. With fewer than `BLOCK` there is one block.
    """
    size = min(BLOCK, len(samples), len(images))
    blocks = min(len(samples), len(images)) // size
    found = torch.stack(
        [
            _discrepancy(samples[k * size : (k + 1) * size], images[k * size : (k + 1) * size])
            for k in range(blocks)
        ]
    )
    error = float(found.std() / blocks**0.5) if blocks > 1 else float("nan")
    return float(found.mean()), error


def _discrepancy(x: Tensor, y: Tensor) -> Tensor:
    """Return the unbiased estimate from features [m, D] each."""
    m = len(x)
    within = sum((_kernel(z, z).sum() - _kernel(z, z).trace()) / (m * (m - 1)) for z in (x, y))
    return within - 2 * _kernel(x, y).mean()


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def precision_and_recall(samples: Tensor, images: Tensor) -> tuple[float, float]:
    """Return the shares of either set inside some ball of the other (Kynkäänniemi et al. 2019).

    A ball around a point reaches to its third neighbour in its own set.
    """
    around_images, around_samples = _radii(images, NEIGHBOURS), _radii(samples, NEIGHBOURS)
    precision = torch.cat([(d <= around_images).any(1) for d in _distances(samples, images)])
    recall = torch.cat([(d <= around_samples).any(1) for d in _distances(images, samples)])
    return float(precision.double().mean()), float(recall.double().mean())


def density_and_coverage(samples: Tensor, images: Tensor) -> tuple[float, float]:
    """Return how many balls of images hold a sample, and the share that holds any (Naeem 2020).

    Balls reach to the fifth neighbour. Density is the mean number of balls that a sample is in,
    divided by five.
    """
    radii = _radii(images, COVERED)
    inside = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    for distances in _distances(samples, images):
        inside += (distances <= radii).sum(0)
    density = float(inside.sum()) / (COVERED * len(samples))
    return density, float((inside > 0).double().mean())


def _radii(points: Tensor, neighbours: int) -> Tensor:
    """Return the distance of each point [N, D] to its `neighbours`-th neighbour, [N]."""
    # The nearest point to a point is itself.
    return torch.cat([d.kthvalue(neighbours + 1).values for d in _distances(points, points)])


def _distances(points: Tensor, others: Tensor) -> Iterator[Tensor]:
    """Yield the distances of some points [N, D] at a time to all others [M, D], [rows, M]."""
    for rows in points.split(ROWS):
        yield torch.cdist(rows, others)
