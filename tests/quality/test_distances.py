"""Distances between two sets of features: closed forms, and another implementation."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from npdraw.quality import distances as metrics
from npdraw.quality.distances import (
    compare,
    density_and_coverage,
    frechet_distance,
    kernel_distance,
    precision_and_recall,
)


def normal(count: int, seed: int, width: int = 6, shift: float = 0.0) -> Tensor:
    noise = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=noise, dtype=torch.double) + shift


def test_a_set_against_itself() -> None:
    x = normal(300, 0)
    found = compare(x, x)
    assert found.frechet_distance < 1e-9
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert found.density > 1  # a sample is also in the ball of the image that it is


def test_the_frechet_distance_of_normal_distributions() -> None:
    # Features with exactly these means and covariances, which do not commute.
    white = normal(500, 1, 2)
    white = white - white.mean(0)
    white = white @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(white.T))).T
    first = torch.tensor([[2.0, 0.0], [0.5, 1.0]], dtype=torch.double)
    second = torch.tensor([[1.0, 0.7], [0.0, 3.0]], dtype=torch.double)
    x, y = white @ first.T, white @ second.T + torch.tensor([3.0, 4.0])
    a, b = first @ first.T, second @ second.T
    roots = torch.linalg.eigvals(a @ b).real.sqrt().sum()
    expected = 25 + float(a.trace() + b.trace() - 2 * roots)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-9)


def test_the_frechet_distance_of_one_feature() -> None:
    x, y = torch.tensor([[0.0], [2.0]]).double(), torch.tensor([[4.0], [8.0]]).double()
    assert frechet_distance(x, y) == pytest.approx(25 + (2**0.5 - 8**0.5) ** 2)


def test_the_frechet_distance_with_fewer_samples_than_features() -> None:
    # Covariances without full rank, where a product's eigenvalues may come out negative.
    x, y = normal(5, 2, 40), normal(6, 3, 40)
    assert math.isfinite(frechet_distance(x, y))
    assert frechet_distance(x, x) < 1e-9


def test_the_kernel_distance_is_unbiased_and_its_error_is_honest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "BLOCK", 50)
    equal = [kernel_distance(normal(500, 2 * k), normal(500, 2 * k + 1)) for k in range(60)]
    scores = torch.tensor([kid / error for kid, error in equal])
    assert abs(float(scores.mean())) < 4 / 60**0.5  # t statistics of 10 blocks
    assert 0.7 < float(scores.std()) < 1.7
    kid, error = kernel_distance(normal(500, 1), normal(500, 2, shift=0.3))
    assert kid > 5 * error
    assert math.isnan(kernel_distance(normal(60, 1), normal(70, 2))[1])


def test_the_kernel_distance_by_hand() -> None:
    x, y = torch.tensor([[1.0], [2.0], [0.0]]), torch.tensor([[1.0], [-1.0], [3.0]])

    def kernel(a: Tensor, b: Tensor) -> float:
        return float((a * b + 1) ** 3)

    def mean(pairs: list[float]) -> float:
        return sum(pairs) / len(pairs)

    within = [
        mean([kernel(z[i], z[j]) for i in range(3) for j in range(3) if i != j]) for z in (x, y)
    ]
    between = mean([kernel(a, b) for a in x for b in y])
    assert kernel_distance(x, y)[0] == pytest.approx(sum(within) - 2 * between)


def test_balls_on_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "NEIGHBOURS", 1)
    monkeypatch.setattr(metrics, "COVERED", 1)
    images = torch.tensor([[0.0], [1.0], [2.0], [10.0], [14.0]])  # radii 1, 1, 1, 4, 4
    samples = torch.tensor([[0.5], [1.5], [30.0], [31.0]])  # radii 1, 1, 1, 1
    # Two samples are near an image; 0, 1 and 2 are near a sample.
    assert precision_and_recall(samples, images) == (0.5, 0.6)
    # 0.5 is in the balls of 0 and 1, 1.5 in those of 1 and 2.
    assert density_and_coverage(samples, images) == (4 / 4, 0.6)


def test_tables_of_distances_do_not_depend_on_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = normal(100, 1), normal(90, 2, shift=0.5)
    expected = compare(x, y)
    monkeypatch.setattr(metrics, "ROWS", 7)
    found = compare(x, y)
    assert vars(found) == pytest.approx(vars(expected), nan_ok=True)


def test_too_few_are_an_error() -> None:
    with pytest.raises(ValueError, match="5 samples and 9 images"):
        compare(normal(5, 1), normal(9, 2))


def test_torch_fidelity_agrees() -> None:
    names = ("fid", "kid", "prc")
    # Not in npdraw[dev]: it installs a package called tests, which hides this one in processes.
    reason = "torch-fidelity is not installed"
    fid, kid, prc = (
        pytest.importorskip(f"torch_fidelity.metric_{n}", reason=reason) for n in names
    )
    x, y = normal(400, 1, 20), normal(400, 2, 20, shift=0.1) * 1.2
    found = compare(x, y)
    statistics = [fid.fid_features_to_statistics(z) for z in (x, y)]
    theirs: dict[str, Any] = fid.fid_statistics_to_metric(*statistics, verbose=False)
    theirs |= kid.kid_features_to_metric(x, y, kid_subsets=1, kid_subset_size=400, verbose=False)
    theirs |= prc.prc_features_to_metric(x, y, verbose=False)
    keys = ("frechet_inception_distance", "kernel_inception_distance_mean", "precision", "recall")
    expected = [theirs[key] for key in keys]
    figures = [found.frechet_distance, found.kid, found.precision, found.recall]
    assert figures == pytest.approx(expected, abs=1e-6)
