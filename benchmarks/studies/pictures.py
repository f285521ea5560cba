"""Draw the README's pictures of models: `python -m benchmarks.studies.pictures MODEL ...`.

For each model, given by name or file: `docs/NAME-samples.png` (canvas and image of 50 prior
drawings), `docs/NAME-reconstructions.png` (test image, canvas of one posterior drawing, decoded
image) and `docs/NAME-bank.png` (the parts, most used first; `NAME-bank-1.png`, ... if there are
several layers).
"""

import argparse
import math
import sys
from pathlib import Path

import torch
from torch import Tensor

from npdraw.cli.resolve import model as find
from npdraw.datasets import default_root
from npdraw.errors import NpdrawError
from npdraw.files import write_atomic
from npdraw.inputs.images import find_source, load_test_images
from npdraw.inputs.models import read_model
from npdraw.model.latents import join_steps
from npdraw.model.npdraw import NPDraw
from npdraw.pictures.files import png
from npdraw.pictures.sheet import draw, render, side_by_side, tile, to_uint8
from npdraw.runtime.noise import uniform
from npdraw.runtime.reporting import Lines

SAMPLES, COLUMNS = 50, 10
RECONSTRUCTED = 20


def reconstructions(model: NPDraw, images: Tensor) -> Tensor:
    """Return images in [0, 1] [N, C, H, W], their canvases and decoded images, side by side."""
    with torch.no_grad():
        spans = model.layout.spans
        size = (model.layout.steps, model.brush.numbers)
        noise = uniform("pictures", 0, range(len(images)), size)
        seen = model.layout.shrink(images)
        _, layers, _ = model.posterior(seen, lambda q, layer, _: q.sample(noise[:, spans[layer]]))
        canvases, decoded = render(model, join_steps(layers))
    return side_by_side(side_by_side(to_uint8(images), canvases), decoded)


def pictures(path: Path, source: str | None, root: Path, folder: Path) -> None:
    """Draw the pictures of the model at `path` into `folder`."""
    model, config, artifact = read_model(path)
    data = find_source(artifact.header, path, source)
    images, _ = load_test_images(data, root, config.parse, 0, RECONSTRUCTED, Lines())
    sheets = {
        "samples": (COLUMNS, side_by_side(*render(model, draw(model.prior, list(range(SAMPLES)))))),
        "reconstructions": (COLUMNS // 2, reconstructions(model, model.in_unit(images))),
    }
    layers = model.brush.pictures()
    for number, parts in enumerate(layers, 1):
        name = "bank" if len(layers) == 1 else f"bank-{number}"
        sheets[name] = (max(COLUMNS, math.isqrt(len(parts))), to_uint8(parts))
    for name, (columns, shown) in sheets.items():
        text = f"{name} of the model {artifact.header.digest}"
        write_atomic(folder / f"{path.stem}-{name}.png", [png(tile(shown, columns), text)])


def main() -> None:
    """Draw the pictures of every model given."""
    parser = argparse.ArgumentParser(prog="benchmarks.studies.pictures", description=__doc__)
    parser.add_argument("model", type=Path, nargs="+", help="name of a shipped model, or a file")
    parser.add_argument("--data", help="images to use instead of the model's own")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder to write to")
    given = parser.parse_args()
    try:
        for model in given.model:
            pictures(find(model), given.data, default_root(), given.out)
    except NpdrawError as error:
        sys.exit(f"{error.message}\n{error.hint}".strip())


if __name__ == "__main__":
    main()
