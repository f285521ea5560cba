"""Sample sheets: draw, render and lay out images; the same bytes for the same seeds."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from npdraw.errors import DivergedError, UsageError
from npdraw.files import write_atomic
from npdraw.model.latents import Latents, concatenate
from npdraw.model.npdraw import NPDraw
from npdraw.model.prior import Prior
from npdraw.pictures.files import png
from npdraw.runtime.noise import generator, uniform

SAMPLE_BATCH = 256
"""Rows of every product while sampling: float sums depend on that number, samples must not."""

FULL_BATCH_STEPS = 64
"""Steps up to which batches are full. Drawings of more steps take more memory: batches have half as
many rows, and each call samples a quarter as many drawings."""

SAMPLE_QUEUE = 4 * SAMPLE_BATCH
"""Drawings per call of `Prior.sample`, where finished ones make room for the next ones.

Each takes 0.2 MB with the preset mnist."""

SHEET_SAMPLES = 64
"""Samples on the sheets that training writes; their seeds start at 0."""

LEGIBLE = 56
"""Pixels to which the height of small images on a sheet is enlarged, in whole factors."""

BORDER, GREY = 4, 96
"""Width in pixels and grey value of the frame between images."""


def to_uint8(images: Tensor) -> Tensor:
    """Map [0, 1] to 0..255, with a tolerance of 1e-4 for rounding in bf16.

    Raises:
        DivergedError: a value is not finite, which can happen even if all weights are.
        ValueError: a value lies outside: clipping it would hide an error.
    """
    if not torch.isfinite(images).all():
        raise DivergedError(
            "the images of the model are not finite",
            hint="Its weights are unusable: train it again.",
        )
    low, high = float(images.min()), float(images.max())
    if low < -1e-4 or high > 1 + 1e-4:
        raise ValueError(f"the image has values in [{low:.4g}, {high:.4g}], expected [0, 1]")
    return (images.clamp(0, 1) * 255 + 0.5).to(torch.uint8)


def tile(images: Tensor, columns: int | None = None) -> Tensor:
    """Lay out uint8 images [N, C, H, W] in a grid with a grey frame: uint8 [C, height, width].

    The grid is as nearly square as possible unless `columns` is given. Images of less than
    `LEGIBLE` pixels are enlarged by a whole factor.
    """
    # `torchvision.utils.make_grid` is the same for several images, but leaves a single one without
    # a frame, makes grey images RGB, and its import would add more than a second to every sheet.
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


def side_by_side(left: Tensor, right: Tensor) -> Tensor:
    """Join uint8 images [N, C, H, W] to pairs, left and right, with a grey line between."""
    between = torch.full((*left.shape[:3], 1), GREY, dtype=torch.uint8)
    return torch.cat([left, between, right], 3)


def write_sheet(folder: Path, step: int, images: Tensor) -> Tensor:
    """Write the sheet of a training step into a run folder; uint8 images [N, C, H, W].

    Returns the sheet, uint8 [C, height, width].
    """
    sheet = tile(images)
    write_atomic(folder / f"samples-{step:06d}.png", [png(sheet)])
    return sheet


def draw(
    prior: Prior,
    seeds: list[int],
    temperature: float = 1.0,
    labels: list[int] | None = None,
    candidate: int = 0,
) -> Latents:
    """Sample one drawing per seed, of the class in `labels`; it depends on its seed and class.

    Batches are always full, the last one padded by repeating the last seed, so that every number
    is computed in a batch of the same shape. `candidate` numbers different drawings of a seed.
    """
    drawings, steps = [], prior.layout.steps
    device = prior.position.device
    rows, queue = _rows(steps)
    for start in range(0, len(seeds), queue):
        some = seeds[start : start + queue]
        padded = some + some[-1:] * (-len(some) % rows)
        noise = uniform("sample", candidate, padded, (steps, prior.brush.numbers)).to(device)
        label = None
        if labels is not None:
            classes = labels[start : start + queue]
            label = torch.tensor(classes + classes[-1:] * (-len(some) % rows), device=device)
        z = prior.sample(noise, temperature=temperature, label=label, at_once=rows)
        drawings.append(z[: len(some)])
    return concatenate(drawings)


def _rows(steps: int) -> tuple[int, int]:
    """Return the rows of a batch, and the drawings of a call, for drawings of `steps` steps."""
    if steps > FULL_BATCH_STEPS:
        return SAMPLE_BATCH // 2, SAMPLE_QUEUE // 4
    return SAMPLE_BATCH, SAMPLE_QUEUE


def check_candidates(candidates: int, *, labelled: bool) -> None:
    """Raise `UsageError` unless that number of candidates can be drawn."""
    if candidates < 1:
        raise UsageError(f"{candidates} candidates; at least 1 is needed")
    if candidates > 1 and not labelled:
        raise UsageError(
            f"{candidates} candidates without a class", hint="They are compared by it: give one."
        )


@torch.no_grad()
def draw_of_classes(
    prior: Prior,
    seeds: list[int],
    labels: list[int],
    temperature: float = 1.0,
    candidates: int = 1,
) -> Latents:
    """Sample one drawing per seed, of the class in `labels`, by a prior with classes.

    The candidate with the highest p(label | z) is kept, as in the rejection sampling of Razavi, van
    den Oord & Vinyals 2019: with several, fewer drawings are of another class, and they are more
    alike. The first candidate is that of `draw`.
    """
    kept = draw(prior, seeds, temperature, labels)
    if candidates == 1:
        return kept
    best = _class_probability(prior, kept, labels)
    for number in range(1, candidates):
        other = draw(prior, seeds, temperature, labels, number)
        probability = _class_probability(prior, other, labels)
        better = probability > best
        best = torch.where(better, probability, best)
        kept = kept.with_cells(better[:, None].expand(-1, prior.layout.steps), other)
    return kept


def _class_probability(prior: Prior, z: Latents, labels: list[int]) -> Tensor:
    """Return log p(label | z) of drawings [N, T], with all classes equally likely before, [N]."""
    rows, _ = _rows(prior.layout.steps)
    padding = -len(z) % rows
    padded = concatenate([z, z[-1:].repeat(padding)]) if padding else z
    scores = []
    for first in range(0, len(padded), rows):
        some = padded[first : first + rows]
        every = [
            prior.log_prob(some, torch.full((rows,), label, device=prior.position.device))
            for label in range(prior.classes)
        ]
        scores.append(torch.stack(every, 1).log_softmax(1))
    chosen = torch.tensor(labels, device=scores[0].device)[:, None]
    return torch.cat(scores)[: len(z)].gather(1, chosen)[:, 0]


def draw_for_sheet(prior: Prior) -> Latents:
    """Sample the drawings of a sheet that training writes, those of seeds 0 to 63.

    All in one batch, in a third to two thirds of the time of `draw`; sums may be rounded otherwise.
    A prior with classes draws about as many of each, in the order of the classes.
    """
    device, shape = prior.position.device, (prior.layout.steps, prior.brush.numbers)
    noise = uniform("sample", 0, range(SHEET_SAMPLES), shape).to(device)
    label = None
    if prior.classes:
        label = torch.arange(SHEET_SAMPLES, device=device) * prior.classes // SHEET_SAMPLES
    return prior.sample(noise, label=label, at_once=SHEET_SAMPLES)


@torch.no_grad()
def draw_pixels(
    model: NPDraw, seeds: list[int], seed: int, seen: Callable[[int], object] = lambda _: None
) -> Tensor:
    """Draw images from p(x), uint8 [N, C, H, W]: a drawing for each of `seeds`, then its pixels.

    The pixels are drawn from the decoder's distribution, from `seed`. `seen` is called with the
    number of images drawn so far.
    """
    images, device = [], model.prior.position.device
    for start in range(0, len(seeds), SAMPLE_QUEUE):
        noise = generator("pixels", seed, start, device)
        z = draw(model.prior, seeds[start : start + SAMPLE_QUEUE])
        images.append(to_uint8(model.decode(model.paint(z), noise)).cpu())
        seen(start + len(z))
    return torch.cat(images)


def canvas_images(canvas: Tensor) -> Tensor:
    """Return the images of canvases [N, C + 1, H, W] without the coverage, as uint8.

    Strokes with ink may add up to more than white, or to less than black: such values are shown as
    white and black.
    """
    return to_uint8(canvas[:, :-1].clamp(0, 1))


@torch.no_grad()
def render(model: NPDraw, z: Latents, batch_size: int = SAMPLE_BATCH) -> tuple[Tensor, Tensor]:
    """Return the canvases and the decoded images of drawings, uint8 [N, C, H, W] each.

    Canvases are enlarged to the size of the images.
    """
    canvases, images = [], []
    for start in range(0, len(z), batch_size):
        canvas = model.paint(z[start : start + batch_size])
        canvases.append(canvas_images(canvas).cpu())
        images.append(to_uint8(model.decode(canvas)).cpu())
    shown, scale = torch.cat(canvases), model.upscale
    return shown.repeat_interleave(scale, 2).repeat_interleave(scale, 3), torch.cat(images)
