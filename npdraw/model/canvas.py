"""Painting: from latents to the canvas, the image so far and its coverage.

docs/model.md, section 4; paper, section 3.1. Two routes agree exactly on hard latents: `paint`
gathers the chosen parts and scatters them; `paint_relaxed` is differentiable and folds whole cells.
Compositing is "max" (light strokes on dark ground) or "over" (later steps cover earlier ones).
"""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from npdraw.model.latents import Latents, Relaxed
from npdraw.model.layout import Layout


def paint(z: Latents, bank: Tensor, layout: Layout, compositing: str = "max") -> Tensor:
    """Paint hard drawings, equation (4.1).

    `bank` [K, C, P, P] in [0, 1]. Returns the canvas [N, C + 1, H, W]: the image in [0, 1] and, as
    the last channel, the coverage, 1 where any part was painted.
    """
    # The layers of all steps, and their pixels in the frame.
    images, channels = z.whether.shape[0], bank.shape[1] + 1  # `len` would fix an exported N
    parts = F.pad(bank.flatten(2), (0, 0, 0, 1), value=1.0)  # [K, C + 1, P * P]
    layers = parts[z.what] * z.whether[..., None, None]  # [N, T, C + 1, P * P]
    steps = torch.arange(layout.steps, device=bank.device)
    index = layout.pixels_on(bank.device)[steps, z.where]  # [N, T, P * P]
    area = layout.frame[0] * layout.frame[1]

    # Composite. "over" keeps at most one layer per pixel, so "amax" serves both.
    if compositing == "over" and layout.overlapping:
        top = _last_in_frame(z, layout).gather(1, index.flatten(1)).view_as(index)
        layers = layers * (top == steps[:, None] + 1)[:, :, None]
    framed = torch.zeros(images, channels, area, device=bank.device)
    framed.scatter_reduce_(
        2,
        index.flatten(1)[:, None].expand(-1, channels, -1),
        layers.transpose(1, 2).flatten(2),
        "amax",
    )
    return layout.crop(framed.view(images, channels, *layout.frame)).contiguous()


def last_painter(z: Latents, layout: Layout) -> Tensor:
    """Return 1 + the last step that covers each pixel, 0 where none does, int64 [N, 1, H, W]."""
    return layout.crop(_last_in_frame(z, layout).view(len(z), 1, *layout.frame))


def _last_in_frame(z: Latents, layout: Layout) -> Tensor:
    """Return `last_painter` over the flattened frame, [N, frame]."""
    steps = torch.arange(layout.steps, device=z.where.device)
    index = layout.pixels_on(z.where.device)[steps, z.where]  # [N, T, P * P]
    order = (z.whether * (steps + 1))[..., None].expand_as(index)
    last = order.new_zeros(order.shape[0], layout.frame[0] * layout.frame[1])
    return last.scatter_reduce(1, index.flatten(1), order.flatten(1), "amax")


def paint_relaxed(z: Relaxed, bank: Tensor, layout: Layout, compositing: str = "max") -> Tensor:
    """Paint soft drawings, differentiably in whether, where and what; always in fp32.

    Returns the canvas [N, C + 1, H, W], equations (4.1) and (4.2). Per pixel, with the layers in
    step order, "over" is `sum_i c_i a_i prod_{j > i} (1 - a_j)` and "max" is `max_i c_i a_i`.
    """
    with torch.autocast(bank.device.type, enabled=False):
        layers = _layers(z, bank, layout)
        if not layout.overlapping:
            return layout.crop(fold(layers, layout.stride, layout))
        classes = _parity_classes(layers, layout)
        over = compositing == "over"
        return layout.crop(_blend_over(classes, layout) if over else _blend_max(classes))


def _layers(z: Relaxed, bank: Tensor, layout: Layout) -> Tensor:
    """Return each step's own window of side w, [N, T, C + 1, w, w]: colour times alpha, and alpha.

    Equation (4.2). The mixture of parts is one matrix product; a soft `where` sums over its
    placements.
    """
    parts = (z.what @ bank.flatten(1)).unflatten(2, bank.shape[1:])
    parts = F.pad(parts, (0, 0, 0, 0, 0, 1), value=1.0) * z.whether[..., None, None, None]
    if layout.placements == 1:
        return parts
    room = layout.jitter - 1
    placed = [
        z.where[:, :, place, None, None, None] * F.pad(parts, (dx, room - dx, dy, room - dy))
        for place, (dy, dx) in enumerate(np.ndindex(layout.jitter, layout.jitter))
    ]
    return torch.stack(placed).sum(0)


def fold(windows: Tensor, distance: int, layout: Layout) -> Tensor:
    """Lay windows side by side, `distance` (at least their side) apart, cut to the frame.

    [N, T, C + 1, w, w] -> [N, C + 1, frame]; the steps fill rows of `layout.columns` cells.
    """
    return _tile(windows.unflatten(1, (layout.rows, layout.columns)), distance)[
        :, :, : layout.frame[0], : layout.frame[1]
    ]


def _tile(grid: Tensor, distance: int) -> Tensor:
    """Lay out [N, R, Q, C, w, w] as [N, C, R * distance, Q * distance], zeros in between."""
    images, rows, columns, channels, side, _ = grid.shape
    room = distance - side
    return (
        F.pad(grid, (0, room, 0, room))
        .permute(0, 3, 1, 4, 2, 5)
        .reshape(images, channels, rows * distance, columns * distance)
    )


def _parity_classes(windows: Tensor, layout: Layout) -> Tensor:
    """Fold the cells of each parity of row and column: [4, N, C + 1, frame].

    Windows of one class never overlap, as they are at most twice the stride wide. Pixels that no
    window of a class reaches hold 0, with alpha 0.
    """
    grid = windows.unflatten(1, (layout.rows, layout.columns))
    height, width = layout.frame
    classes = []
    for row, column in np.ndindex(2, 2):
        tiled = _tile(grid[:, row::2, column::2], 2 * layout.stride)
        top, left = row * layout.stride, column * layout.stride
        missing = height - top - tiled.shape[2], width - left - tiled.shape[3]
        classes.append(F.pad(tiled, (left, missing[1], top, missing[0])))  # negative pads cut
    return torch.stack(classes)


def _blend_max(classes: Tensor) -> Tensor:
    """Take the maximum over the classes, with the whole gradient to every layer that attains it.

    `amax` would split the gradient among ties. A blank cell, where all layers are 0, would then get
    only a fraction of the gradient of painting it.
    """
    highest = classes.detach().amax(0)
    attains = classes.detach() == highest
    share = (classes * attains).sum(0)
    return highest + (share - share.detach())  # the bracket is 0: the value stays exact


def _blend_over(classes: Tensor, layout: Layout) -> Tensor:
    """Composite the classes per pixel in step order, later over earlier."""
    order = _step_order(layout, classes.device)[:, None, None].expand_as(classes)
    layers = classes.gather(0, order)
    canvas = torch.zeros_like(layers[0])
    for layer in layers:
        canvas = canvas * (1 - layer[:, -1:]) + layer
    return canvas


@cache
def _step_order(layout: Layout, device: torch.device) -> Tensor:
    """Return the class of the first to the fourth step over each pixel, int64 [4, frame].

    A pixel lies in at most two rows and two columns of windows: (r - 1, r) x (c - 1, c).
    """
    row = (torch.arange(layout.frame[0]) // layout.stride)[:, None]
    column = torch.arange(layout.frame[1]) // layout.stride
    parities = [
        ((row - dr) % 2 * 2 + (column - dc) % 2) for dr, dc in ((1, 1), (1, 0), (0, 1), (0, 0))
    ]
    return torch.stack(parities).to(device)
