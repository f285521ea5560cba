"""Sample sheets: tensors of probabilities to PNG bytes, the same bytes for the same picture."""

from pathlib import Path

import torch
from torch import Tensor

from npdraw.errors import DivergedError
from npdraw.files import write_atomic
from npdraw.model.latents import Latents, concatenate
from npdraw.model.npdraw import NPDraw
from npdraw.model.prior import Prior
from npdraw.pictures.files import png
from npdraw.runtime.noise import uniform

CHUNK = 256
"""Drawings sampled at once, always: float sums depend on the batch size, choices must not."""

FEW = 64
"""Steps from which fewer are: a drawing costs as their square, and one takes as long as a batch."""

PORTION = 4 * CHUNK
"""Drawings of which those that are done give way to others; each needs 0.2 MB, preset mnist."""

SHEET = 64
"""Samples on a sheet while training, of the seeds from 0."""

LEGIBLE = 56
"""Pixels a side that a picture on a sheet has at least, if a whole factor gets there."""

BORDER, GREY = 4, 96
"""Width of the frame between pictures, pixels, and its value."""


def to_uint8(images: Tensor) -> Tensor:
    """Map [0, 1] to 0..255, with a tolerance of 1e-4 for rounding in bf16.

    Raises:
        DivergedError: a value is not finite: weights may be, and still compute such.
        ValueError: a value is outside, which would be hidden.
    """
    if not torch.isfinite(images).all():
        raise DivergedError(
            "the model draws what is not finite", hint="Its weights are of no use: train it again."
        )
    low, high = float(images.min()), float(images.max())
    if low < -1e-4 or high > 1 + 1e-4:
        raise ValueError(f"the image has values in [{low:.4g}, {high:.4g}], expected [0, 1]")
    return (images.clamp(0, 1) * 255 + 0.5).to(torch.uint8)


def tile(images: Tensor, columns: int | None = None) -> Tensor:
    """Lay uint8 images [N, C, H, W] out in rows, with grey between and around them.

    As nearly square as possible unless `columns` is given. Images of less than `LEGIBLE` pixels are
    enlarged by a whole factor. Returns [C, height, width].
    """
    factor = max(1, LEGIBLE // images.shape[2])
    images = images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    count, channels, height, width = images.shape
    columns = columns or max(1, round((count * height / width) ** 0.5))
    rows = -(-count // columns)
    size = rows * (height + BORDER) + BORDER, columns * (width + BORDER) + BORDER
    sheet = torch.full((channels, *size), GREY, dtype=torch.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        top, left = BORDER + row * (height + BORDER), BORDER + column * (width + BORDER)
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def beside(left: Tensor, right: Tensor) -> Tensor:
    """Put uint8 images [N, C, H, W] side by side in pairs, with a grey line between."""
    between = torch.full((*left.shape[:3], 1), GREY, dtype=torch.uint8)
    return torch.cat([left, between, right], 3)


def write_sheet(folder: Path, step: int, images: Tensor) -> None:
    """Write the sheet of training step `step` into a run folder; uint8 images [N, C, H, W]."""
    write_atomic(folder / f"samples-{step:06d}.png", [png(tile(images))])


def draw(prior: Prior, seeds: list[int], temperature: float = 1.0) -> Latents:
    """Sample one drawing for each seed; it depends on its seed alone.

    Whole chunks, the last one filled up with repetitions, so that every number is computed in a
    batch of the same shape.
    """
    found, steps = [], prior.layout.steps
    device = prior.position.device
    rows = min(CHUNK, max(1, CHUNK * FEW**2 // steps**2))
    for start in range(0, len(seeds), PORTION):
        some = seeds[start : start + PORTION]
        padded = some + some[-1:] * (-len(some) % rows)
        noise = uniform("sample", 0, padded, (steps, 3)).to(device)
        found.append(prior.sample(noise, temperature=temperature, at_once=rows)[: len(some)])
    return concatenate(found)


@torch.no_grad()
def render(model: NPDraw, z: Latents, batch_size: int = CHUNK) -> tuple[Tensor, Tensor]:
    """Return the canvas image and the decoded image of drawings, uint8 [N, C, H, W] each.

    A canvas that is smaller than the image is shown in its size.
    """
    canvases, images = [], []
    for start in range(0, len(z), batch_size):
        canvas = model.paint(z[start : start + batch_size])
        canvases.append(to_uint8(canvas[:, :-1]).cpu())
        images.append(to_uint8(model.decode(canvas)).cpu())
    shown, scale = torch.cat(canvases), model.upscale
    return shown.repeat_interleave(scale, 2).repeat_interleave(scale, 3), torch.cat(images)
