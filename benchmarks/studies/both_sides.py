"""Bound the likelihood from both sides: `python -m benchmarks.studies.both_sides MODEL`.

An image drawn from the model comes with a drawing that is an exact sample of its posterior. Among
the importance samples of the encoder, it turns an estimate of log p(x) that is too low on average
into one that is too high (docs/model.md, section 7, equation (7.7)). The true likelihood of these
images lies in between, and the gap says how much a better encoder could still gain. Prints one JSON
object.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.cli.resolve import model as find
from npdraw.config import SAMPLES
from npdraw.errors import NpdrawError
from npdraw.inputs.models import read_model, to_device
from npdraw.model.encoder import InkEncoder
from npdraw.model.importance import importance_figures
from npdraw.model.latents import Latents
from npdraw.model.npdraw import NPDraw
from npdraw.pictures.sheet import draw
from npdraw.runtime.noise import generator, uniform
from npdraw.runtime.reporting import Lines
from npdraw.runtime.settings import Runtime

IMAGES = 300

CHUNK = 50
"""Images evaluated at once."""


@torch.no_grad()
def bounds(model: NPDraw, z: Latents, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return NLLs of images [N, C, H, W] drawn from p(x | z), in nats, [N] each.

    The first are above the true ones on average and the second below. Both have S samples, those of
    `noise` [N, S, T, numbers of the brush]; in the second, `z` stands for the last of them.
    """
    samples = noise.shape[1]
    above = importance_figures(model, images, noise, "importance")[:, 0]
    others = importance_figures(model, images, noise[:, :-1], "importance")[:, 0]
    true = log_weight(model, z, images).double()
    total = torch.logaddexp(math.log(samples - 1) - others, true)
    return above, math.log(samples) - total


def log_weight(model: NPDraw, z: Latents, images: Tensor) -> Tensor:
    """Return log p(x, z) - log q(z | x) of given drawings, [N] nats, equation (7.1)."""
    spans, seen = model.layout.spans, model.layout.shrink(images)
    q, _, painting = model.posterior(seen, lambda _, layer, __: z[:, spans[layer]])
    canvas = painting.canvases[-1]
    return model.log_likelihood(canvas, images) + model.prior.log_prob(z) - q.joint(z)


@torch.no_grad()
def both_sides(
    path: Path, *, images: int, samples: int, runtime: Runtime, progress: Lines
) -> dict[str, Any]:
    """Return the bounds of the model at `path`, nats per image, on `images` drawn from it."""
    device = runtime.start()
    model, config, artifact = read_model(path)
    to_device(model, device)
    if isinstance(model.encoder, InkEncoder):  # each drawing needs a probability above 0
        model.encoder.candidates = model.brush.sizes["what"]
    progress.start("both-sides", images)
    pairs = []
    shape = (samples, model.layout.steps, model.brush.numbers)
    for start in range(0, images, CHUNK):
        index = range(start, min(start + CHUNK, images))
        with runtime.autocast(device):
            z = draw(model.prior, list(index))
            pixels = generator("pixels", 0, start, device)
            x = model.decode(model.paint(z), pixels)
            noise = uniform("both-sides", 0, index, shape).to(device)
            pairs.append(torch.stack(bounds(model, z, x, noise)))
        progress.update(index.stop)
    progress.finish()
    above, below = torch.cat(pairs, 1).cpu()
    unit = 1.0
    if not config.parse.binarize:  # bits per dimension
        unit = x[0].numel() * math.log(2)
    result = {"model": artifact.header.digest, "images": images, "samples": samples}
    result["unit"] = "nats" if config.parse.binarize else "bits/dim"
    for name, values in {"above": above, "below": below, "gap": above - below}.items():
        result[name] = float(values.mean()) / unit
        result[f"{name}_se"] = float(values.std()) / math.sqrt(images) / unit
    return result


def main() -> None:
    """Bound one model."""
    parser = argparse.ArgumentParser(prog="benchmarks.studies.both_sides", description=__doc__)
    parser.add_argument("model", type=Path, help="name of a shipped model, or a file")
    parser.add_argument("--images", type=int, default=IMAGES, help="number of images drawn")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="importance samples (S)")
    given = parser.parse_args()
    try:
        result = both_sides(
            find(given.model),
            images=given.images,
            samples=given.samples,
            runtime=Runtime(),
            progress=Lines(),
        )
    except NpdrawError as error:
        sys.exit(f"{error.message}\n{error.hint}".strip())
    print(json.dumps(result))


if __name__ == "__main__":
    main()
