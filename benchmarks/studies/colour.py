"""Measure what drawings contribute in colour: `python -m benchmarks.studies.colour MODEL`.

Compares a trained model, on its images, with its own decoder on an empty canvas and with two VAEs
whose decoders are as large: a plain one, and one whose latent becomes a canvas for the decoder of
NP-DRAW. All train for as long as the model's stages took. Prints one
JSON line per model, then the table.
"""

import argparse
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.studies.vae import VAE, Weighted
from benchmarks.studies.vae_training import Settings, evaluate, train
from npdraw.cli.progress import Lines
from npdraw.cli.resolve import model as find
from npdraw.config import BATCH_SIZE, SAMPLES, Config
from npdraw.datasets import default_root
from npdraw.errors import NpdrawError
from npdraw.inputs.images import find_source, load_test_images, same_images, to_levels
from npdraw.inputs.models import read_model, to_device
from npdraw.model.decoder import new_decoder
from npdraw.model.likelihood import likelihood_of
from npdraw.runtime.lock import run_folder
from npdraw.runtime.run_folder import read_json
from npdraw.runtime.settings import Runtime
from npdraw.stages.eval_nll import eval_nll

VARIANCE = 0.07
"""Variance of the values of CIFAR-10, in [0, 1]: the error of a grey canvas."""

METRICS = ("nll", "nll_se", "rate", "distortion")
"""Metrics of a line; all are nats per image."""

Line = dict[str, Any]


class Blank(nn.Module):
    """NP-DRAW's decoder on an empty canvas: it knows where a pixel is, and the slices before it.

    It has the interface that `vae_training` needs of a VAE, with a latent that carries nothing.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        parse, sizes = config.parse, config.decoder
        self.latents, self.levels = 1, parse.levels
        self.colours, self.side = parse.channels, parse.image_size
        self.decoder = new_decoder(
            likelihood_of(parse.levels),
            parse.channels,
            sizes.decoder_channels,
            sizes.decoder_depth,
            config.decoder_patch,
            VARIANCE if parse.inks else None,
        )

    def start_from(self, _: Tensor) -> None:
        """Start as NP-DRAW does."""

    def encode(self, images: Tensor) -> None:
        """Ignore the images."""

    def forward(self, images: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        """Return distortion and a rate of 0, nats [N] each."""
        canvas = images.new_full((len(images), self.colours + 1, self.side, self.side), 0.5)
        canvas[:, -1] = 0
        distortion = -self.decoder.log_prob(canvas, images)
        return distortion, torch.zeros_like(distortion)

    @torch.no_grad()
    def importance_sample(self, images: Tensor, _: None, normal: Tensor) -> Weighted:
        """Return distortion and rate as an importance sample."""
        return Weighted(*self(images, normal))


def seconds_of(path: Path) -> float:
    """Return how long parse, prior and decoder took, as their results report."""
    stages = [path.with_name(f"{name}.safetensors") for name in ("parse", "prior")]
    results = [read_json(run_folder(stage) / "result.json") for stage in (*stages, path)]
    return float(sum(result["seconds"] for result in results))


def bits(nats: float, config: Config) -> float:
    """Convert nats per image to bits per dimension."""
    dimensions = config.parse.channels * config.parse.image_size**2
    return nats / (dimensions * math.log(2))


def measure(given: argparse.Namespace, progress: Lines) -> list[Line]:
    """Measure all three models, printing each line at once."""
    runtime = Runtime(threads=given.threads)
    device = runtime.start()
    path = find(given.model)
    assert path is not None
    model, config, artifact = read_model(path)
    seconds = given.seconds or seconds_of(path)

    # The model itself.
    parameters = sum(p.numel() for p in model.parameters())
    lines = [npdraw_line(path, given, seconds, parameters, runtime, progress)]
    print(json.dumps(lines[0]), flush=True)

    # Its rivals, on the same images.
    data = same_images(artifact.header, path, given.data, given.data_root, config.parse, progress)
    train_images = data.train.to(device)
    held_out = to_levels(data.held_out, config.parse, 0).to(device)
    source = find_source(artifact.header, path, given.data)
    test, index = load_test_images(source, given.data_root, config.parse, 0, given.images, progress)
    batch_size = config.decoder.batch_size
    for name, (rival, samples) in rivals(config, given.latents, given.samples).items():
        to_device(rival, device)
        trained = train(
            rival,  # type: ignore[arg-type]
            train_images,
            held_out,
            replace(Settings(), latents=given.latents, batch_size=batch_size),
            seconds=seconds,
            seed=0,
            runtime=runtime,
            report=progress.note,
        )
        with runtime.autocast(device):
            figures = evaluate(rival, test.to(device), index, samples, 0)  # type: ignore[arg-type]
        lines.append(rival_line(name, rival, trained.seconds, figures))
        print(json.dumps(lines[-1]), flush=True)
    for line in lines:
        line["bits"] = [bits(line[name], config) for name in METRICS]
    return lines


def npdraw_line(
    path: Path,
    given: argparse.Namespace,
    seconds: float,
    parameters: int,
    runtime: Runtime,
    progress: Lines,
) -> Line:
    """Evaluate the trained model at `path` and return its line."""
    result = eval_nll(
        path,
        source=given.data,
        root=given.data_root,
        samples=given.samples,
        images=given.images,
        estimator="importance",
        seed=0,
        batch_size=BATCH_SIZE,
        out=None,
        runtime=runtime,
        progress=progress,
    )
    line = {"model": "NP-DRAW", "seconds": seconds, "parameters": parameters}
    return line | {name: result[name] for name in METRICS}


def rivals(config: Config, latents: int, samples: int) -> dict[str, tuple[nn.Module, int]]:
    """Return the untrained rivals by name, with their number of importance samples."""
    decoder = config.decoder
    found: dict[str, tuple[nn.Module, int]] = {"empty canvas": (Blank(config), 1)}
    for name, error in (("VAE", None), ("VAE, pixels in slices", VARIANCE)):
        vae = VAE(
            config.parse.image_size,
            latents=latents,
            channels=decoder.decoder_channels,
            depth=decoder.decoder_depth,
            patch=config.decoder_patch,
            levels=config.parse.levels,
            colours=config.parse.channels,
            error=error,
        )
        found[name] = vae, samples
    return found


def rival_line(name: str, rival: nn.Module, seconds: float, figures: Tensor) -> Line:
    """Return the line of a rival from its figures of each image, [N, 3]."""
    nll, rate, distortion = figures.T
    return {
        "model": name,
        "seconds": seconds,
        "parameters": sum(p.numel() for p in rival.parameters()),
        "nll": float(nll.mean()),
        "nll_se": float(nll.std() / math.sqrt(len(nll))),
        "rate": float(rate.mean()),
        "distortion": float(distortion.mean()),
    }


def table(lines: list[Line]) -> str:
    """Return the Markdown table, in bits per dimension."""
    rows = [["model", "NLL", "rate", "distortion", "parameters", "seconds"], ["---"] * 6]
    for line in lines:
        nll, error, rate, distortion = line["bits"]
        figures = [f"{nll:.3f} ± {error:.3f}", f"{rate:.3f}", f"{distortion:.3f}"]
        rows.append([line["model"], *figures, f"{line['parameters']:,}", f"{line['seconds']:,.0f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Measure, then print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.studies.colour", description=__doc__)
    add = parser.add_argument
    add("model", type=Path, help="name of a shipped model, or a file")
    add("--data", help="images to use instead of the model's own")
    add(
        "--data-root",
        type=Path,
        default=default_root(),
        help="folder of data sets [default: NPDRAW_DATA, or data]",
    )
    add("--samples", type=int, default=SAMPLES, help="importance samples per image (S)")
    add("--images", type=int, default=2000, help="number of test images, evenly spaced")
    add("--latents", type=int, default=128, help="dimensions of the VAE's latent")
    add(
        "--seconds",
        type=float,
        help="training time of the VAE [default: that of the model's stages]",
    )
    add("--threads", type=int, default=0, help="CPU threads; 0: chosen by torch")
    given = parser.parse_args()
    try:
        lines = measure(given, Lines())
    except NpdrawError as error:
        sys.exit(f"{error.message}\n{error.hint}".strip())
    print(f"\n{table(lines)}")


if __name__ == "__main__":
    main()
