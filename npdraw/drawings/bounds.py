"""Bounds on the likelihood of images, a batch at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor

from npdraw.config import BATCH_SIZE
from npdraw.errors import UsageError
from npdraw.model.importance import class_bounds, importance_figures, samples_per_pass
from npdraw.model.npdraw import NPDraw
from npdraw.runtime.noise import uniform
from npdraw.runtime.settings import Runtime


def bounds(
    network: NPDraw,
    x: Tensor,
    samples: int,
    seed: int,
    device: torch.device,
    runtime: Runtime,
    *,
    numbers: Sequence[int] | None = None,
    classes: bool = False,
) -> Tensor:
    """Return the bound on -log p(x) in nats of images [N, C, H, W] in [0, 1], float64 [N].

    With `classes`, those on log p(x | label) of every class, float64 [N, classes]. Both by equation
    (7.2) with S = `samples`. Image n has the noise of number n, or of `numbers[n]`, which is its
    position in the split.

    Raises:
        UsageError: `samples` is less than 1.
    """
    if samples < 1:
        raise UsageError(f"{samples} samples of each image; at least 1 is needed")
    numbers = range(len(x)) if numbers is None else numbers
    side, found = samples_per_pass(samples, BATCH_SIZE), []
    step = max(1, BATCH_SIZE // side)
    shape = samples, network.layout.steps, network.brush.numbers
    for first in range(0, len(x), step):
        some = x[first : first + step].to(device)
        noise = uniform("eval", seed, numbers[first : first + step], shape).to(device)
        with torch.no_grad(), runtime.autocast(device):
            if classes:
                figures = class_bounds(network, some, noise, side)
            else:
                figures = importance_figures(network, some, noise, "importance", side)[:, 0]
        found.append(figures.cpu())
    return torch.cat(found)
