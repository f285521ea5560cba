"""Measure how local an edit is: `make edits MODEL=NAME`.

100 times, the cells of a region are replaced by those of another test image's drawing, as `npdraw
edit --region` does. Prints one JSON object: the changes of canvas and decoded image inside and
outside the region.
"""

import argparse
import json
import random
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from npdraw.cli.resolve import model as find
from npdraw.datasets import default_root
from npdraw.drawings.drawing_model import DrawingModel, open_model
from npdraw.drawings.regions import Region, cells_in
from npdraw.errors import NpdrawError
from npdraw.inputs.images import find_source, load_test_images
from npdraw.model.latents import concatenate
from npdraw.runtime.reporting import Lines
from npdraw.runtime.settings import Runtime

EDITS = 100

NEAR = 4
"""Distance from the region, pixels, up to which pixels outside count as near."""


def rectangle(rng: random.Random, model: DrawingModel) -> Region:
    """Return a random region of half the first grid's rows and half its columns."""
    layout, scale = model.layout.grids[0], model.network.upscale
    top = rng.randint(0, layout.rows - layout.rows // 2)
    left = rng.randint(0, layout.columns - layout.columns // 2)
    cells = layout.positions.unflatten(0, (layout.rows, layout.columns))  # [R, C, O, 2]
    chosen = cells[top : top + layout.rows // 2, left : left + layout.columns // 2].flatten(0, 2)
    first, last = chosen.amin(0) * scale, (chosen.amax(0) + layout.part_size) * scale
    height, width = layout.height * scale, layout.width * scale
    bounds = max(0, int(first[0])), min(height, int(last[0]))
    return Region(*bounds, max(0, int(first[1])), min(width, int(last[1])))


def distances(region: Region, height: int, width: int) -> Tensor:
    """Return each pixel's distance from the region in pixels, [H, W]; 0 inside."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    down = torch.maximum(region.top - rows, rows - region.bottom + 1).clamp_min(0)
    across = torch.maximum(region.left - columns, columns - region.right + 1).clamp_min(0)
    return torch.maximum(down, across)


def mean_changes(changes: Tensor, distance: Tensor) -> dict[str, float]:
    """Return means of changes [H, W] inside the region, near it, far from it, and outside it."""
    away = {"inside": distance == 0, "near": (distance > 0) & (distance <= NEAR)}
    away |= {"far": distance > NEAR, "outside": distance > 0}
    return {name: float(changes[where].mean()) for name, where in away.items() if where.any()}


def edited(model: DrawingModel, images: Tensor, seed: int) -> dict[str, Any]:
    """Edit each image's drawing by its neighbour's and compare; images [2 N, C, H, W] in [0, 1]."""
    rng = random.Random(seed)
    drawings = model.encode(images)
    height, width = images.shape[2:]
    befores, afters, away = [], [], []
    for number in range(len(images) // 2):
        one, other = (drawings[2 * number + k : 2 * number + k + 1] for k in range(2))
        region = rectangle(rng, model)
        befores.append(one)
        afters.append(one.with_cells(cells_in(region, model), other))
        away.append(distances(region, height, width))
    canvases = [model.paint(concatenate(some)) for some in (befores, afters)]
    decoded = [model.decode(canvas) for canvas in canvases]
    scale = model.network.upscale
    painted = (canvases[1] - canvases[0]).abs().amax(1)
    painted = painted.repeat_interleave(scale, 1).repeat_interleave(scale, 2)  # [N, H, W]
    seen = (decoded[1] - decoded[0]).abs().mean(1)
    outside = torch.stack(away) > 0
    rows = [mean_changes(change, distance) for change, distance in zip(seen, away, strict=True)]
    means = {name: fmean(row[name] for row in rows if name in row) for name in rows[0]}
    return {
        "edits": len(rows),
        "edits_that_change_the_canvas": int((painted.flatten(1).amax(1) > 0).sum()),
        "canvas_change_outside_largest": float((painted * outside).max()),
        "decoded_change_mean": means,
        "inside_over_outside": means["inside"] / means["outside"] if means["outside"] else None,
    }


def main() -> None:
    """Measure the edits of one model."""
    parser = argparse.ArgumentParser(prog="benchmarks.studies.edits", description=__doc__)
    parser.add_argument("model", type=Path, help="name of a shipped model, or a file")
    parser.add_argument("--data", help="images to use instead of the model's own")
    parser.add_argument("--edits", type=int, default=EDITS, help="number of edits")
    parser.add_argument("--seed", type=int, default=0, help="seed of the regions")
    given = parser.parse_args()
    try:
        model = open_model(find(given.model), Runtime())
        source = find_source(model.header, model.path, given.data)
        images, _ = load_test_images(
            source, default_root(), model.config.parse, 0, 2 * given.edits, Lines()
        )
        result = edited(model, model.network.in_unit(images), given.seed)
    except NpdrawError as error:
        sys.exit(f"{error.message}\n{error.hint}".strip())
    print(json.dumps({"model": model.header.digest, **result}))


if __name__ == "__main__":
    main()
