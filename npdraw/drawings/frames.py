"""Pictures of drawings: canvas and decoded image, enlarged, with changes outlined."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from npdraw.errors import UsageError
from npdraw.model.latents import Latents, concatenate
from npdraw.pictures.sheet import render, side_by_side, tile

if TYPE_CHECKING:  # which shows itself with these frames
    from npdraw.drawings.drawing_model import DrawingModel

SHOWN = 224
"""Side in pixels to which a picture is enlarged, as far as a whole factor and `WIDEST` allow."""

WIDEST = 1200
"""Width in pixels of pictures side by side, at most, unless they are wider without enlarging."""


MOST = 16
"""Drawings of an animation, side by side, at most."""

USUAL, LONGEST = 8.0, 15
"""Frames per second by default, and the seconds beyond which they are raised."""

SLOWEST, FASTEST = 0.1, 50
"""Range of frames per second: formats cannot store longer times, players show no shorter ones."""


def factor_for(side: int, pictures: int) -> int:
    """Return the factor by which `pictures` of `side` pixels, side by side, are enlarged."""
    return max(1, min(SHOWN, WIDEST // pictures) // side)


def enlarge(images: Tensor, factor: int) -> Tensor:
    """Repeat every pixel of images [N, C, H, W] `factor` times in both directions."""
    return images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)


def prefixes(z: Latents) -> tuple[Latents, list[int]]:
    """Return a drawing [1, T] stroke by stroke, [S + 1, T], and the S steps that paint."""
    painted = z.whether[0]
    return z.only(_first(painted)), painted.nonzero().flatten().tolist()


def transitions(one: Latents, other: Latents) -> tuple[Latents, list[int]]:
    """Return the drawings on the way from `one` to `other`, and the S steps that differ.

    One step changes at a time: [S + 1, T], the first being `one`, the last `other`.
    """
    differ = one.differs(other)[0]
    return one.with_cells(_first(differ), other), differ.nonzero().flatten().tolist()


def _first(steps: Tensor) -> Tensor:
    """Return the first 0, 1, ..., S of the S steps marked in bool [T]: bool [S + 1, T]."""
    number = steps.cumsum(0)
    return steps & (number <= torch.arange(int(number[-1]) + 1)[:, None])


def moving(
    model: "DrawingModel", ways: Sequence[tuple[Latents, list[int]]]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return frames and outlines for `pictures.write_moving`: each way a pair, side by side.

    A way is drawings [S + 1, T], one a frame, and the step that each changes of the one before. A
    way that is shorter than others stays at its end. Canvas left, decoded image right.
    """
    shown, factor = pairs(model, concatenate([z for z, _ in ways]), len(ways))
    starts = [sum(len(z) for z, _ in ways[:number]) for number in range(len(ways))]
    frames, outlines = [], []
    for time in range(max(len(z) for z, _ in ways)):
        rows = [start + min(time, len(z) - 1) for start, (z, _) in zip(starts, ways, strict=True)]
        marks = torch.zeros(len(ways), 1, *shown.shape[2:], dtype=torch.uint8)
        for mark, (z, steps) in zip(marks, ways, strict=True):
            if 1 <= time < len(z):
                _outline(mark[0], model, z, time, steps[time - 1], factor)
        frames.append(tile(shown[rows], len(ways)))
        outlines.append(tile(marks, len(ways))[0] == _MARKED)
    return frames, outlines


_MARKED = 255


def _outline(
    mark: Tensor, model: "DrawingModel", z: Latents, row: int, step: int, factor: int
) -> None:
    """Mark the edge of the part that `step` painted or cleared, in a picture [height, width]."""
    top, left = model.layout.positions[step, int(z.where[row, step])].tolist()
    scale = factor * model.network.upscale
    side, width = int(model.layout.sides[step]), max(1, factor // 4)
    canvas = mark[: model.layout.height * scale, : model.layout.width * scale]
    box = canvas[
        max(0, top * scale) : (top + side) * scale, max(0, left * scale) : (left + side) * scale
    ]
    inner = box[width:-width, width:-width].clone()
    box.fill_(_MARKED)
    box[width:-width, width:-width] = inner


def pairs(model: "DrawingModel", z: Latents, columns: int) -> tuple[Tensor, int]:
    """Return canvas and decoded image of each drawing side by side, uint8 [N, C, H, 2 W + 1].

    They are enlarged by the factor that suits `columns` pairs beside each other, which is returned
    too.
    """
    canvases, images = rendered(model, z)
    factor = factor_for(images.shape[2], 2 * columns)
    return enlarge(side_by_side(canvases, images), factor), factor


def check_animation(drawings: int, fps: float | None) -> None:
    """Raise `UsageError` if there are too many drawings, or frames per second are out of range."""
    if drawings > MOST:
        raise UsageError(f"{drawings} drawings side by side; {MOST} are the most")
    if fps is not None and not SLOWEST <= fps <= FASTEST:
        raise UsageError(f"--fps {fps}, not in {SLOWEST}..{FASTEST}")


def usual_fps(ways: Sequence[tuple[Latents, list[int]]]) -> float:
    """Return the frames per second of an animation for which none are given."""
    return min(FASTEST, max(USUAL, max(len(z) for z, _ in ways) / LONGEST))


def rendered(model: "DrawingModel", z: Latents) -> tuple[Tensor, Tensor]:
    """Return canvas images and decoded images of drawings, uint8 [N, C, H, W], on the CPU."""
    with torch.no_grad(), model.runtime.autocast(model.device):
        return render(model.network, z.to(model.device))


def still(rows: Sequence[Tensor]) -> Tensor:
    """Lay out rows of pictures, uint8 [N, C, H, W] each, below one another: [C, height, width]."""
    pictures, columns = torch.cat(list(rows)), len(rows[0])
    return tile(enlarge(pictures, factor_for(pictures.shape[2], columns)), columns)
