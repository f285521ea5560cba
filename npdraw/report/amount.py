"""How much of a run is on the page, so that the page stays small."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Amount:
    """How much is shown of each run, at most."""

    samples: int = 48
    images: int = 12
    sketches: int = 6
    sheets: int = 6
    """Of each training."""
    parts: int = 512
    points: int = 200
    """Of a curve."""
    strip: int = 150_000
    """Bytes of the frames of a drawing: decoded ones are left out beyond it."""

    def less(self) -> "Amount":
        """Return half of it, but never nothing."""
        least = Amount(6, 2, 1, 1, 50, 20, 10_000)
        return Amount(
            *(max(low, mine // 2) for low, mine in zip(_all(least), _all(self), strict=True))
        )


def amount_of(runs: int) -> Amount:
    """Return what is shown of each of so many runs: side by side they are narrow."""
    if runs == 1:
        return Amount()
    return Amount(max(16, 48 // runs), max(4, 12 // runs), max(2, 12 // runs))


def _all(amount: Amount) -> tuple[int, ...]:
    return tuple(vars(amount).values())


def spread(steps: Sequence[int], most: int) -> list[int]:
    """Return so many of the steps, the first and the last among them."""
    if len(steps) <= most:
        return list(steps)
    if most == 1:
        return [steps[-1]]
    return [steps[number * (len(steps) - 1) // (most - 1)] for number in range(most)]
