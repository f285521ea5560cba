"""Random numbers: each is keyed by its purpose, so that no result depends on batching.

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
    """Return float32 [len(images), *shape], uniform in [0, 1); each image has its own stream."""
    rows = [
        np.random.Generator(np.random.Philox(_key(purpose, seed, image))).random(
            shape, dtype=np.float32
        )
        for image in images
    ]
    return torch.from_numpy(np.stack(rows))


def generator(purpose: str, seed: int, step: int, device: torch.device) -> torch.Generator:
    """Return the torch generator for one step and one purpose."""
    state = _key(purpose, seed, step).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state) % 2**63)


def seed_dropout(seed: int, step: int, rank: int) -> None:
    """Seed torch's default generators, which dropout masks come from, for one training step.

    Each process of a group draws its own masks, so that with dropout, and only then, the result
    depends on the number of processes.
    """
    first = generator("dropout", seed, step, torch.device("cpu")).initial_seed()
    torch.manual_seed(first + rank)


def batch_indices(seed: int, step: int, size: int, images: int) -> Tensor:
    """Return the indices of the images of training step `step` (from 0), int64 [size].

    Each epoch is a permutation of all images. Epochs follow one another without a gap, so that a
    batch may span two or more.
    """
    parts = []
    first, end = step * size, (step + 1) * size
    for epoch in range(first // images, -(-end // images)):
        order = _epoch(seed, epoch, images)
        start = epoch * images
        parts.append(order[max(first - start, 0) : end - start])
    return torch.from_numpy(np.concatenate(parts))


@lru_cache(maxsize=2)
def _epoch(seed: int, epoch: int, images: int) -> NDArray[np.int64]:
    """Return the order of the images in an epoch; cached, because many images take time."""
    rng = np.random.Generator(np.random.Philox(_key("epoch", seed, epoch)))
    return rng.permutation(images)


def _key(purpose: str, seed: int, index: int) -> np.random.SeedSequence:
    return np.random.SeedSequence([zlib.crc32(purpose.encode()), seed, index])
