"""Models small enough to enumerate every drawing."""

import pytest
import torch

from npdraw.model.latents import Factors
from npdraw.model.layout import Layout

PARTS = 2


SETUPS = [
    (Layout(4, 4, 2, 2), "max", 1),  # 3 ** 4 drawings
    (Layout(2, 4, 2, 2, 2), "over", 2),  # 9 ** 2, jitter, overlapping
    (Layout(3, 3, 3, 2), "max", 1),  # overlapping
]


setups = pytest.mark.parametrize(
    ("layout", "compositing", "patch"), SETUPS, ids=lambda x: repr(x) if x is not None else ""
)


def binary_images(layout, images):
    return torch.rand(images, 1, layout.height, layout.width).round()


def factors(images, steps, placements, parts, *, chained):
    """Random distributions; in `chained` ones what depends on where."""
    return Factors(
        torch.randn(images, steps),
        torch.randn(images, steps, placements).log_softmax(2),
        torch.randn(images, steps, placements if chained else 1, parts).log_softmax(3),
    )
