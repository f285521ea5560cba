"""Compare drawings of the prior with those of the encoder: `make agreement MODEL=FILE`.

The decoder is trained on drawings of the encoder but renders those of the prior, so a model is only
as good as the two agree. Prints one JSON object.
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
from npdraw.datasets import default_root
from npdraw.errors import NpdrawError
from npdraw.inputs.images import find_source, load_test_images
from npdraw.inputs.models import read_model, to_device
from npdraw.model.latents import Latents, concatenate
from npdraw.model.layout import Layout
from npdraw.model.npdraw import NPDraw
from npdraw.pictures.sheet import draw
from npdraw.runtime.noise import uniform
from npdraw.runtime.reporting import Lines
from npdraw.runtime.settings import Runtime

SAMPLES = 10_000
"""Drawings of the prior, one for each seed from 0."""

CHUNK = 500
"""Images encoded at once."""


def compare(sampled: Latents, encoded: Latents, parts: int, layout: Layout) -> dict[str, Any]:
    """Return how two sets of drawings differ; `parts` is K.

    The rate of a cell is the share of drawings that paint it; the usage of a part is its share of
    all painted parts. `rate_difference_by_chance` is the mean difference to expect if both sets
    came from one distribution with the mean of their rates.
    """
    rates = [z.whether.double().mean(0) for z in (sampled, encoded)]
    off = (rates[0] - rates[1]).abs()
    rate = (rates[0] + rates[1]) / 2
    variance = rate * (1 - rate) * (1 / len(sampled) + 1 / len(encoded))
    worst = int(off.argmax())
    used = [usage(z, parts) for z in (sampled, encoded)]
    return {
        "drawings": {"prior": len(sampled), "encoder": len(encoded)},
        "rate_difference_mean": float(off.mean()),
        "rate_difference_by_chance": float((2 * variance / math.pi).sqrt().mean()),
        "rate_difference_largest": {
            "value": float(off[worst]),
            "row": worst // layout.columns,
            "column": worst % layout.columns,
            "prior": float(rates[0][worst]),
            "encoder": float(rates[1][worst]),
        },
        "part_usage_total_variation": total_variation(used[0], used[1]),
        "dead_parts": {"prior": int((used[0] == 0).sum()), "encoder": int((used[1] == 0).sum())},
        "parts_painted_mean": {"prior": float(rates[0].sum()), "encoder": float(rates[1].sum())},
    }


def usage(z: Latents, parts: int) -> Tensor:
    """Return the number of times each part is painted, int64 [K]."""
    return torch.bincount(z.what[z.whether], minlength=parts)


def total_variation(a: Tensor, b: Tensor) -> float | None:
    """Return the total variation distance of two counted distributions; None if one is empty."""
    if not (a.sum() and b.sum()):
        return None
    return float((a / a.sum() - b / b.sum()).abs().sum() / 2)


def encoded_drawings(model: NPDraw, images: Tensor, seed: int) -> Latents:
    """Return one hard posterior sample for each binary image, keyed by its index."""
    drawings = []
    for start in range(0, len(images), CHUNK):
        x = images[start : start + CHUNK].float()
        index = range(start, start + len(x))
        noise = uniform("agreement", seed, index, (model.layout.steps, 3)).to(x.device)
        drawings.append(model.encode(x).sample(noise))
    return concatenate(drawings)


@torch.no_grad()
def agreement(
    path: Path, *, source: str | None, root: Path, samples: int, seed: int, runtime: Runtime
) -> dict[str, Any]:
    """Compare prior samples of the model at `path` with posterior samples of all test images."""
    device = runtime.start()
    model, config, artifact = read_model(path)
    to_device(model, device)
    data = find_source(artifact.header, path, source)
    binary, _ = load_test_images(data, root, config.parse, seed, None, Lines())
    binary = binary.to(device)
    with runtime.autocast(device):
        sampled = draw(model.prior, list(range(samples)))
        encoded = encoded_drawings(model, binary, seed)
    return {
        "model": artifact.header.digest,
        **compare(sampled, encoded, model.brush.sizes["what"], model.layout),
    }


def main() -> None:
    """Compare the drawings of one model."""
    parser = argparse.ArgumentParser(prog="benchmarks.studies.agreement", description=__doc__)
    parser.add_argument("model", type=Path, help="name of a shipped model, or a file")
    parser.add_argument("--data", help="images to use instead of the model's own")
    parser.add_argument(
        "--samples", type=int, default=SAMPLES, help="number of drawings of the prior"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the binarisation")
    given = parser.parse_args()
    try:
        result = agreement(
            find(given.model),
            source=given.data,
            root=default_root(),
            samples=given.samples,
            seed=given.seed,
            runtime=Runtime(),
        )
    except NpdrawError as error:
        sys.exit(f"{error.message}\n{error.hint}".strip())
    print(json.dumps(result))


if __name__ == "__main__":
    main()
