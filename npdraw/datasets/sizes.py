"""Widths and heights of pictures: how large they are, and how far from square."""

from collections.abc import Sequence
from dataclasses import dataclass

_FAR_FROM_SQUARE = 1.1


@dataclass(frozen=True)
class Sizes:
    """Widths and heights of the pictures."""

    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]
    not_square: int
    """Pictures whose sides differ."""
    far_from_square: int
    """Pictures whose longer side is more than a tenth longer."""
    cut: float
    """Share of those that are not square that is outside their centre squares."""

    @classmethod
    def of(cls, sizes: Sequence[tuple[int, int]]) -> "Sizes":
        """Return what is said about pictures of these sizes."""
        wide = [1 - min(size) / max(size) for size in sizes if size[0] != size[1]]
        by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
        return cls(
            by_area[0],
            by_area[len(by_area) // 2],
            by_area[-1],
            len(wide),
            sum(is_far_from_square(size) for size in sizes),
            sum(wide) / max(len(wide), 1),
        )

    @property
    def ends(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The smallest and the largest size."""
        return self.smallest, self.largest


def is_far_from_square(size: tuple[int, int]) -> bool:
    """Return whether the longer side of a picture is more than a tenth longer."""
    return max(size) > _FAR_FROM_SQUARE * min(size)
