"""How images without a split of their own are divided, and how many are needed."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

MIN_IMAGES = 4
"""Different images of both splits together."""

MIN_TRAINING = 3
"""Training images, of which one is left for validation."""

NEEDED = f"At least {MIN_IMAGES} different images are needed, {MIN_TRAINING} of them for training."
"""The hint of errors about too few images."""

_EVERY = 10


def numbered(contents: Sequence[bytes]) -> NDArray[np.int64]:
    """Return the number of each content, int64 [N]: equal ones have that of the first of them."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(content, len(first)) for content in contents], np.int64)


def fingerprint(content: bytes) -> bytes:
    """Return 16 bytes that are those of equal contents only."""
    return blake2b(content, digest_size=16).digest()


def is_test(number: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which images are test images, bool [N], from what `numbered` returns.

    That is every 10th different image, or the last if there are fewer than 10, and its copies.
    """
    different = int(number.max()) + 1
    test: NDArray[np.bool_] = number == different - 1
    if different >= _EVERY:
        test = number % _EVERY == _EVERY - 1
    return test


def rule(number: NDArray[np.int64], noun: str = "image") -> str:
    """Return what `is_test` does, as a note."""
    every = number.max() + 1 >= _EVERY
    return (
        f"{'every 10th' if every else 'the last'} {noun} is {'a' if every else 'the'} test {noun}"
    )


def copies(number: NDArray[np.int64], noun: str = "image") -> list[str]:
    """Return a note about copies, where images are divided by `is_test`; none without copies."""
    more = len(number) - int(number.max()) - 1
    if not more:
        return []
    if more == 1:
        return [f"1 exact copy of another {noun} is in the same split"]
    return [f"{more:,} exact copies of {noun}s are in the same split as the first"]
