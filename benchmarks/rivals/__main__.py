"""Train other models on a data set for some minutes each, and evaluate them.

    python -m benchmarks.rivals --data mnist --seconds 600 DRAW PixelCNN

For each model: a JSON line with bound, time and size, and a sheet of samples. Models whose results
with the same options are in the output folder are not trained again, so a stopped command resumes
with the next one.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch

from benchmarks.rivals.air import AIR
from benchmarks.rivals.draw import DRAW
from benchmarks.rivals.pixelcnn import PixelCNN
from benchmarks.rivals.rival import Rival
from benchmarks.rivals.training import Settings, drawn, evaluate, train
from benchmarks.rivals.vqvae import VQVAE
from npdraw.cli.progress import Lines
from npdraw.datasets import default_root, parse_source
from npdraw.datasets.splits import parse_limit
from npdraw.inputs.images import load_test_images, to_levels, training_images
from npdraw.inputs.models import to_device
from npdraw.pictures.files import write_still
from npdraw.pictures.sheet import tile
from npdraw.presets import preset
from npdraw.runtime.run_folder import read_json, write_json
from npdraw.runtime.settings import Runtime

Shape = tuple[int, int, int]

MODELS = {"DRAW": DRAW, "AIR": AIR, "VQ-VAE": VQVAE, "PixelCNN": PixelCNN}

SETTINGS: dict[str, tuple[dict[str, Any], Settings]] = {
    "DRAW": (
        {"steps": 16, "latents": 32, "states": 256},
        Settings(learning_rate=2e-3, precision="fp32"),
    ),
    "AIR": ({}, Settings(learning_rate=2e-3, precision="fp32")),
    "VQ-VAE": ({}, Settings()),
    "PixelCNN": ({}, Settings()),
}
"""Settings of each model and of its training."""

SHEET = 64
"""Samples on a sheet."""


def measure(name: str, given: argparse.Namespace, progress: Lines) -> dict[str, Any]:
    """Train and evaluate a model; return its line, and write its samples."""
    sizes, settings = SETTINGS[name]
    runtime = Runtime(threads=given.threads, precision=settings.precision)
    device, config = runtime.start(), preset(given.data).parse
    source, root = parse_source(given.data), given.data_root
    data = training_images(source, root, config, given.limit, progress)
    test, _ = load_test_images(source, root, config, given.seed, given.images, progress)
    top = config.levels - 1
    held_out = to_levels(data.held_out, config, given.seed).float().to(device) / top
    torch.manual_seed(given.seed)
    shape = config.channels, config.image_size, config.image_size
    model: Rival = MODELS[name](shape, levels=config.levels, **sizes)
    to_device(model, device)
    trained = train(
        model,
        data.train.to(device),
        held_out,
        settings,
        seconds=given.seconds,
        seed=given.seed,
        levels=config.levels,
        runtime=runtime,
        report=progress.note,
    )
    with runtime.autocast(device):
        nll = evaluate(model, test.float().to(device) / top, given.samples, given.seed)
        samples = drawn(model, SHEET, given.seed, device)
    write_still(given.out / f"{name}.png", tile((samples * 255).round().byte().cpu()), {})
    mean = float(nll.mean())
    return {
        "model": name,
        "data": given.data,
        "seconds": round(trained.seconds, 1),
        "steps": trained.steps,
        "best_step": trained.best_step,
        "parameters": sum(p.numel() for p in model.parameters()),
        "validation": trained.validation,
        "samples": 1 if model.deterministic else given.samples,
        "bound": name != "PixelCNN",
        "precision": runtime.precision_name(device),
        "images": len(nll),
        "nll": mean,
        "nll_se": float(nll.std()) / math.sqrt(len(nll)),
        "bits_per_dim": mean / (math.prod(shape) * math.log(2)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"default: {', '.join(MODELS)}")
    parser.add_argument("--data", default="mnist", help="data set; its preset has its pixels")
    parser.add_argument("--data-root", type=Path, default=default_root())
    parser.add_argument("--limit", type=parse_limit, help="training images, or a fraction of them")
    parser.add_argument("--seconds", type=float, default=600.0, help="time of each training")
    parser.add_argument("--samples", type=int, default=50, help="importance samples (S)")
    parser.add_argument("--images", type=int, default=1000, help="test images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/rivals"))
    given = parser.parse_args()
    unknown = set(given.models) - set(MODELS)
    if unknown:
        parser.error(f"unknown model {min(unknown)}; known: {', '.join(MODELS)}")
    given.out.mkdir(parents=True, exist_ok=True)
    given_as = {key: str(x) for key, x in vars(given).items() if key not in ("models", "out")}
    for name in given.models or MODELS:
        path = given.out / f"{name}.json"
        line = read_json(path)
        if line.get("options") != given_as:
            line = measure(name, given, Lines()) | {"options": given_as}
        write_json(path, line)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
