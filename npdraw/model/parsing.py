"""The heuristic parser p_h(z | x): the drawing that best explains an image.

docs/model.md, section 3; paper, section 3.1 and algorithm 1. The parser minimises
`squared error of the canvas + threshold * parts painted`.
"""

from functools import cache

import torch
from torch import Tensor

from npdraw.model.canvas import last_painter, paint
from npdraw.model.latents import Latents, blank
from npdraw.model.layout import Layout


def match_gains(images: Tensor, bank: Tensor, layout: Layout) -> Tensor:
    """Return how much each part at each placement lowers the squared error of a blank canvas.

    Equation (3.2), one matrix product. Images [N, C, H, W], bank [K, C, P, P] -> float
    [N, T, O, K]; pixels outside the image do not count.
    """
    parts = bank.flatten(1)  # [K, C * P * P]
    inside = layout.inside_on(bank.device).repeat(1, 1, bank.shape[1])  # [T, O, C * P * P]
    norms = inside @ parts.square().T  # [T, O, K]
    return 2 * (layout.patches(images) @ parts.T) - norms


def parse(
    images: Tensor,
    bank: Tensor,
    layout: Layout,
    *,
    threshold: float,
    compositing: str = "max",
    sweeps: int = 5,
    gains: Tensor | None = None,
) -> Latents:
    """Parse images [N, C, H, W] in [0, 1] into drawings.

    A part is painted if it lowers the squared error by more than `threshold`. Where windows do not
    overlap, steps are independent and decided at once. Otherwise steps are decided given all the
    others, in passes over the grid, until nothing changes or `sweeps` passes are done. The
    objective, equation (3.1), never rises. `gains` are `match_gains` of the images, if they are
    known.
    """
    if not layout.overlapping:
        known = match_gains(images, bank, layout) if gains is None else gains
        return _decide(known, threshold)
    z = blank(len(images), layout.steps, images.device)
    for _ in range(sweeps):
        before = z
        for steps in _parity_steps(layout, images.device):
            z = _without(z, steps)
            gains = _gains_given(z, steps, images, bank, layout, compositing)
            z[:, steps] = _decide(gains, threshold)
        # On a GPU the check would cost a wait; more sweeps change nothing.
        if images.device.type == "cpu" and not z.differs(before).any():
            break
    return z


def _decide(gains: Tensor, threshold: float) -> Latents:
    """Take the best of the gains [N, T, O, K] at each step, if it exceeds the threshold."""
    gain, index = gains.flatten(2).max(2)
    parts = gains.shape[3]
    return Latents(gain > threshold, index // parts, index % parts).canonical()


@cache
def _parity_steps(layout: Layout, device: torch.device) -> list[Tensor]:
    """Return the steps of each parity of row and column; those of one class never overlap."""
    grid = torch.arange(layout.steps, device=device).view(layout.rows, layout.columns)
    classes = [grid[row::2, column::2].flatten() for row in (0, 1) for column in (0, 1)]
    return [steps for steps in classes if len(steps)]


def _without(z: Latents, steps: Tensor) -> Latents:
    """Return a copy of the drawings in which `steps`, int64 [S], do not paint."""
    rest = z.clone()
    rest.whether[:, steps] = False
    return rest.canonical()


def _gains_given(
    rest: Latents, steps: Tensor, images: Tensor, bank: Tensor, layout: Layout, compositing: str
) -> Tensor:
    """Return how much each candidate of `steps` lowers the error of the canvas of the others.

    `rest` paints none of `steps`. Float [N, len(steps), O, K]; the whole composited canvas counts.
    """
    channels = bank.shape[1]
    painted = paint(rest, bank, layout, compositing)[:, :channels]
    below = layout.patches(painted)[:, steps]  # [N, S, O, C * P * P]
    target = layout.patches(images)[:, steps]
    counts = layout.inside_on(bank.device)[steps].repeat(1, 1, channels)
    if compositing == "over":
        last = layout.patches(last_painter(rest, layout).float())[:, steps]
        later = last > (steps + 1)[:, None, None]  # stays on top of the candidate
        counts = counts * ~later.repeat(1, 1, 1, channels)
    error = (counts * (below - target).square()).sum(-1)
    gains = []
    for part in bank.flatten(1):
        candidate = part if compositing == "over" else torch.maximum(below, part)
        gains.append(error - (counts * (candidate - target).square()).sum(-1))
    return torch.stack(gains, -1)
