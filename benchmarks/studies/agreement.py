"""How far what the prior draws is from what the encoder draws: `make agreement MODEL=FILE`.

A drawing model is only as good as its two halves agree: the decoder was trained on encoded images,
and is shown the prior's drawings. Prints one JSON object.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.cli.progress import Lines
from npdraw.cli.resolve import model as find
from npdraw.datasets import default_root
from npdraw.errors import NpdrawError
from npdraw.inputs.images import find_source, load_test_images
from npdraw.inputs.models import read_model
from npdraw.model.latents import Latents, concatenate
from npdraw.model.layout import Layout
from npdraw.model.npdraw import NPDraw
from npdraw.pictures.sheet import draw
from npdraw.runtime.noise import uniform
from npdraw.runtime.settings import Runtime

SAMPLES = 10_000
"""Drawings of the prior, of the seeds from 0."""

CHUNK = 500
"""Images encoded at once."""


def compare(sampled: Latents, encoded: Latents, parts: int, layout: Layout) -> dict[str, Any]:
    """Return how the drawings differ; `parts` is K.

    Painting rates are shares of the drawings that paint a cell, usages shares of the parts painted.
    `rate_difference_by_chance` is what the mean difference would be if both came from one
    distribution with the mean of their rates.
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
    """Return how often each part is painted, int64 [K]."""
    return torch.bincount(z.what[z.whether], minlength=parts)


def total_variation(a: Tensor, b: Tensor) -> float | None:
    """Return half the sum of |difference| of two distributions, given as counts; None for none."""
    if not (a.sum() and b.sum()):
        return None
    return float((a / a.sum() - b / b.sum()).abs().sum() / 2)


def encoded_drawings(model: NPDraw, images: Tensor, seed: int) -> Latents:
    """Return one hard posterior sample for each image of 0 and 1, keyed by its number."""
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
    """Compare prior samples of the model at `path` with its encodings of all test images."""
    device = runtime.start()
    model, config, artifact = read_model(path)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    where = find_source(artifact.header, path, source)
    binary, _ = load_test_images(where, root, config.parse, seed, None, Lines())
    binary = binary.to(device)
    with runtime.autocast(device):
        sampled = draw(model.prior, list(range(samples)))
        encoded = encoded_drawings(model, binary, seed)
    return {
        "model": artifact.header.digest,
        **compare(sampled, encoded, len(model.bank), model.layout),
    }


def main() -> None:
    """Read the command line, and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.studies.agreement", description=__doc__)
    parser.add_argument("model", type=Path, help="name of a shipped model, or a file")
    parser.add_argument("--data", help="images other than those of the model")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="drawings of the prior")
    parser.add_argument("--seed", type=int, default=0, help="of the binarisation")
    given = parser.parse_args()
    try:
        found = agreement(
            find(given.model),
            source=given.data,
            root=default_root(),
            samples=given.samples,
            seed=given.seed,
            runtime=Runtime(),
        )
    except NpdrawError as error:
        sys.exit(f"{error.message}\n{error.hint}".strip())
    print(json.dumps(found))


if __name__ == "__main__":
    main()
