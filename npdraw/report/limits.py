"""How much of each run is on the page, so that the page stays small."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The most that is shown of each run."""

    samples: int = 48
    images: int = 12
    """Reconstructed test images."""
    classes: int = 12
    closest: int = 20
    """Samples beside the training images closest to them."""
    sketches: int = 6
    """Drawings to step through."""
    sheets: int = 6
    """Sample sheets of each training."""
    parts: int = 512
    points: int = 200
    """Points of a curve."""
    strip: int = 150_000
    """Bytes of the frames of one drawing; beyond that, some frames are left out."""

    def halved(self) -> "Limits":
        """Return half of each limit, but no less than a useful minimum."""
        minimum = Limits(6, 2, 2, 2, 1, 1, 50, 20, 10_000)
        pairs = zip(vars(minimum).values(), vars(self).values(), strict=True)
        return Limits(*(max(low, value // 2) for low, value in pairs))


def limits_for(runs: int) -> Limits:
    """Return the limits for a page of `runs` runs: side by side, each has a narrow column."""
    if runs == 1:
        return Limits()
    return Limits(
        samples=max(16, 48 // runs),
        images=max(4, 12 // runs),
        classes=max(4, 12 // runs),
        closest=max(4, 20 // runs),
        sketches=max(2, 12 // runs),
    )


def spread(steps: Sequence[int], most: int) -> list[int]:
    """Return at most `most` of the steps, evenly spaced, including the first and the last."""
    if len(steps) <= most:
        return list(steps)
    if most == 1:
        return [steps[-1]]
    return [steps[number * (len(steps) - 1) // (most - 1)] for number in range(most)]
