"""Drawings to step through, stroke by stroke: strokes as JSON, frames as mosaics."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from npdraw.pictures.files import png
from npdraw.report.gallery import Picture, data_url, embedded, no_model
from npdraw.report.limits import Limits, spread
from npdraw.report.outputs import Outputs, Sketch
from npdraw.report.runs import Run


class Face(NamedTuple):
    """The button that chooses a drawing."""

    label: str
    """Unique on the page."""
    caption: str
    picture: Picture
    colour: int
    """Number of the run."""


class Stepper(NamedTuple):
    """What can be stepped through."""

    faces: Sequence[Face]
    drawings: Sequence[dict[str, Any]]
    """What `page.js` reads, one for each face."""
    problems: Sequence[str]
    """A sentence for each run without a model."""


def stepper(runs: Sequence[Run], outputs: Sequence[Outputs], limits: Limits) -> Stepper:
    """Return the drawings of all runs to step through."""
    faces, drawings = [], []
    for number, run, sketch in _chosen(runs, outputs, limits):
        label = sketch.label if len(runs) == 1 else f"{run.name}: {sketch.label.lower()}"
        faces.append(Face(label, sketch.label, embedded(sketch.images[-1]), number))
        drawings.append(
            {
                "label": label,
                "drawing": sketch.drawing,
                "canvas": _mosaic(sketch.canvases, limits.strip),
                "image": _mosaic(sketch.images, limits.strip),
            }
        )
    problems = [
        f"{run.name}: {no_model(output)}"
        for run, output in zip(runs, outputs, strict=True)
        if "model" in output.problems
    ]
    return Stepper(faces, drawings, problems)


def _chosen(
    runs: Sequence[Run], outputs: Sequence[Outputs], limits: Limits
) -> Iterator[tuple[int, Run, Sketch]]:
    """Yield sketches of each run: spread out, as samples come first and test images last."""
    for number, (run, output) in enumerate(zip(runs, outputs, strict=True)):
        for n in spread(range(len(output.sketches)), limits.sketches):
            yield number, run, output.sketches[n]


def _mosaic(frames: Tensor, most: int) -> dict[str, object]:
    """Lay out frames [S + 1, C, H, W] in one picture of at most `most` bytes.

    If they take more, every second, fourth, ... frame is kept. `at` names for each frame the tile
    that shows it: its own, or that of the last kept frame before it.
    """
    every = 1
    while True:
        kept = sorted({*range(0, len(frames), every), len(frames) - 1})
        columns = max(1, round(len(kept) ** 0.5))
        content = png(_tiled(frames[kept], columns))
        if len(content) <= most or len(kept) <= 2:
            break
        every *= 2
    at, tile = [], 0
    for number in range(len(frames)):
        while tile + 1 < len(kept) and kept[tile + 1] <= number:
            tile += 1
        at.append(tile)
    height, width = frames.shape[2:]
    return {
        "src": data_url(content), "columns": columns, "height": height, "width": width, "at": at
    }  # fmt: skip


def _tiled(frames: Tensor, columns: int) -> Tensor:
    """Lay out frames [N, C, H, W] without gaps: [C, rows * H, columns * W]."""
    count, channels, height, width = frames.shape
    rows = -(-count // columns)
    filled = torch.cat([frames, frames.new_zeros(rows * columns - count, channels, height, width)])
    grid = filled.view(rows, columns, channels, height, width).permute(2, 0, 3, 1, 4)
    return grid.reshape(channels, rows * height, columns * width)
