"""k-means: seeding, Lloyd iterations, medoids (docs/model.md, section 2)."""

import torch
from torch import Tensor

CHUNK = 65_536
"""Points compared with the centres at once, at most."""

DISTANCES = 1 << 24
"""Distances in memory at once, at most: 64 MB."""

FULL = float(1 << 40)
"""The largest squared distance in seeding, as an integer: sums of 2^22 of them are exact."""


def cluster(
    points: Tensor,
    count: int,
    *,
    snap: str,
    generator: torch.Generator,
    tolerance: float = 1e-4,
    iterations: int = 300,
) -> Tensor:
    """Return `count` centres of the points [M, D]: [count, D]; fewer points repeat themselves.

    k-means++ seeding, then Lloyd iterations on equation (2.1) until the error improves by at most
    `tolerance` (relative). `snap` "medoid" replaces each centre by the nearest point, equation
    (2.2); "mean" keeps it. All is computed on the device of the points, in a fixed order;
    `generator` is one of the CPU, so that the draws are the same on every device.
    """
    centres = _seed(points, count, generator)
    previous = float("inf")
    for _ in range(iterations):
        label, distance = nearest(points, centres)
        error = float(distance.mean(dtype=torch.float64))
        if previous - error <= tolerance * error:
            break
        previous = error
        centres = _update(points, label, distance, count)
    return _medoids(points, centres) if snap == "medoid" else centres


def _seed(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Seed by k-means++: draw each next centre among the points by squared distance.

    Distances are summed as integers, whose sum does not depend on the order: a GPU adds floats in
    any order, and the slightest difference may lead to other centres.
    """
    device, cpu = points.device, generator.device
    first = torch.randint(len(points), (1,), generator=generator, device=cpu)
    draws = torch.rand(count - 1, generator=generator, dtype=torch.float64, device=cpu)
    centres = [points[first.to(device)]]
    norms = torch.cat([chunk.square().sum(1) for chunk in points.split(CHUNK)])
    distance = _to_one(points, norms, centres[0])
    for draw in draws.to(device)[:, None]:
        unit = FULL / distance.amax().double().clamp_min(1e-20)
        cumulative = (distance * unit).long().cumsum(0)
        target = (draw * cumulative[-1]).long()
        index = torch.searchsorted(cumulative, target, right=True).clamp_max(len(points) - 1)
        centres.append(points[index])
        distance = torch.minimum(distance, _to_one(points, norms, centres[-1]))
    return torch.cat(centres)


def _to_one(points: Tensor, norms: Tensor, centre: Tensor) -> Tensor:
    """Return the squared distance of each point to one centre [1, D]."""
    return (norms - 2 * (points @ centre[0]) + centre.square().sum()).clamp_min_(0)


def nearest(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest centre of each point, int64 [M], and the squared distance, [M]."""
    labels = torch.empty(len(points), dtype=torch.int64, device=points.device)
    distances = points.new_empty(len(points))
    norms, room = centres.square().sum(1), _room(points, centres)
    for first in range(0, len(points), len(room)):
        chunk = points[first : first + len(room)]
        products = torch.addmm(norms, chunk, centres.T, alpha=-2, out=room[: len(chunk)])
        partial, label = products.min(1)
        labels[first : first + len(chunk)] = label
        distances[first : first + len(chunk)] = (partial + chunk.square().sum(1)).clamp_min_(0)
    return labels, distances


def _room(points: Tensor, centres: Tensor) -> Tensor:
    """Return room for the distances of as many points as are taken at once, [R, K].

    One for all chunks: small tensors that stay would settle where a large one was before, so that
    the next large one had to go elsewhere, and memory grew with every chunk.
    """
    rows = min(len(points), CHUNK, max(1, DISTANCES // len(centres)))
    return points.new_empty(rows, len(centres))


def _update(points: Tensor, label: Tensor, distance: Tensor, count: int) -> Tensor:
    """Return the mean of each cluster; an empty one restarts at the point that fits worst."""
    members = torch.bincount(label, minlength=count)
    centres = _sums(points, label, count) / members.clamp_min(1)[:, None]
    empty = (members == 0).nonzero().flatten()
    if len(empty):
        worst = distance.topk(min(len(empty), len(points))).indices
        centres[empty] = points[worst[torch.arange(len(empty), device=worst.device) % len(worst)]]
    return centres


def _sums(points: Tensor, label: Tensor, count: int) -> Tensor:
    """Return the sum of the points of each label, [count, D], added in a fixed order."""
    sums = points.new_zeros(count, points.shape[1])
    if points.is_cuda:  # here `index_add_` adds in any order; `index_put_` sorts by label first
        return sums.index_put_((label,), points, accumulate=True)
    return sums.index_add_(0, label, points)


def _medoids(points: Tensor, centres: Tensor) -> Tensor:
    """Return the point nearest to each centre."""
    best = centres.new_full((len(centres),), float("inf"))
    index = torch.zeros(len(centres), dtype=torch.int64, device=centres.device)
    norms, room = centres.square().sum(1), _room(points, centres)
    for first in range(0, len(points), len(room)):
        chunk = points[first : first + len(room)]
        distance = torch.mm(chunk, centres.T, out=room[: len(chunk)]).mul_(-2)
        distance.add_(chunk.square().sum(1)[:, None]).add_(norms)
        least, where = distance.min(0)
        index = torch.where(least < best, where + first, index)
        best = torch.minimum(best, least)
    return points[index]
