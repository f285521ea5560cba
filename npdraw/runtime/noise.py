"""Randomness: every number is keyed by what it is for, so that nothing depends on batching.

Evaluation and sampling key it by image, training by step (docs/model.md, section 7).
"""

import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def uniform(purpose: str, seed: int, images: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Return float32 numbers in [0, 1), [len(images), *shape], each image's from its own stream."""
    rows = [
        np.random.Generator(np.random.Philox(_key(purpose, seed, image))).random(
            shape, dtype=np.float32
        )
        for image in images
    ]
    return torch.from_numpy(np.stack(rows))


def generator(purpose: str, seed: int, step: int, device: torch.device) -> torch.Generator:
    """Return torch's generator of one step of one purpose."""
    state = _key(purpose, seed, step).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state) % 2**63)


def seed_dropout(seed: int, step: int, rank: int) -> None:
    """Start torch's own generators, which masks of dropout come from, for one training step.

    Each process of a group has a mask of its own, so that with dropout, and only then, the figures
    depend on how many there are.
    """
    first = generator("dropout", seed, step, torch.device("cpu")).initial_seed()
    torch.manual_seed(first + rank)


def batch(seed: int, step: int, size: int, images: int) -> Tensor:
    """Return the indices of the images of step `step` (from 0), int64 [size].

    Epochs follow one another without a gap, each a permutation of all images; a batch may span
    two or more.
    """
    found = []
    first, end = step * size, (step + 1) * size
    for epoch in range(first // images, -(-end // images)):
        order = _epoch(seed, epoch, images)
        start = epoch * images
        found.append(order[max(first - start, 0) : end - start])
    return torch.from_numpy(np.concatenate(found))


@lru_cache(maxsize=2)
def _epoch(seed: int, epoch: int, images: int) -> NDArray[np.int64]:
    """Return the order of an epoch; kept, as drawing it takes time when images are many."""
    rng = np.random.Generator(np.random.Philox(_key("epoch", seed, epoch)))
    return rng.permutation(images)


def _key(purpose: str, seed: int, index: int) -> np.random.SeedSequence:
    return np.random.SeedSequence([zlib.crc32(purpose.encode()), seed, index])
