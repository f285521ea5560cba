"""The pictures of a model in the README: `python -m tests.benchmarks.pictures MODEL ...`.

For each model, a name or a file: `docs/NAME-samples.png` (canvas and image of 50 prior drawings),
`docs/NAME-reconstructions.png` (test image, canvas of one posterior drawing, decoded image) and
`docs/NAME-bank.png` (the parts, most used first). Test images come from the data root.
"""

import sys
from pathlib import Path

import torch

from npdraw.cli.resolve import model as find
from npdraw.datasets import Source, binarize, default_root, evenly_spaced, load
from npdraw.files import write_atomic
from npdraw.model.npdraw import NPDraw
from npdraw.stages.loading import read_model
from npdraw.stages.noise import uniform
from npdraw.stages.sheet import beside, draw, png, render, tile, to_uint8

SAMPLES, COLUMNS = 50, 10
RECONSTRUCTED = 20


def reconstructions(model: NPDraw, images: torch.Tensor) -> torch.Tensor:
    """Return images in {0, 1} [N, C, H, W], their canvases and what is decoded, side by side."""
    with torch.no_grad():
        noise = uniform("pictures", 0, range(len(images)), (model.layout.steps, 3))
        canvases, decoded = render(model, model.encode(images).sample(noise))
    return beside(beside(to_uint8(images), canvases), decoded)


def main() -> None:
    """Draw the pictures of every model named."""
    for given in sys.argv[1:]:
        path = find(Path(given))
        model, config, artifact = read_model(path)
        data, side = artifact.header.dataset["name"], config.parse.image_size
        test = load(Source(data), "test", root=default_root(), image_size=side).images
        chosen = evenly_spaced(len(test), RECONSTRUCTED)
        images = torch.from_numpy(binarize(test, 0)[chosen]).float()
        sheets = {
            "samples": beside(*render(model, draw(model.prior, list(range(SAMPLES))))),
            "reconstructions": reconstructions(model, images),
            "bank": to_uint8(model.bank),
        }
        columns = {"samples": COLUMNS, "reconstructions": COLUMNS // 2, "bank": COLUMNS}
        for name, pictures in sheets.items():
            out = Path("docs") / f"{data}-{name}.png"
            write_atomic(out, [png(tile(pictures, columns[name]), given)])


if __name__ == "__main__":
    main()
