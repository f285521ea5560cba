"""Compare NP-DRAW and a plain VAE on few images, with equal training time: `make low-data`.

For each `--limit`, NP-DRAW runs through npdraw's stages. Then the VAE trains on the same images for
as long as parse, prior and decoder took together, or for its number of steps, which is small for
few images. Both are evaluated on the same test images, binarised from the same seed, with the same
number of importance samples. Prints one JSON line per model and limit, then the table; `--table
FILE` prints the table of earlier lines.

NP-DRAW's artifacts are kept, so that a stopped command resumes when it is run again.
"""

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.studies.low_data_settings import npdraw_settings, vae_settings
from benchmarks.studies.vae import VAE
from benchmarks.studies.vae_training import Settings, evaluate, train
from npdraw.cli.progress import Lines
from npdraw.config import BATCH_SIZE, SAMPLES, Config
from npdraw.datasets import default_root, parse_source
from npdraw.datasets.splits import binarize, parse_limit
from npdraw.errors import NpdrawError
from npdraw.inputs.images import copies_per_image, load_test_images, training_images
from npdraw.inputs.models import read_model, to_device
from npdraw.overrides import override, read_toml
from npdraw.presets import preset
from npdraw.runtime.settings import Runtime
from npdraw.stages.eval_nll import eval_nll
from npdraw.stages.parse import parse
from npdraw.stages.train_decoder import train_decoder
from npdraw.stages.train_prior import train_prior

LIMITS = ("0.001", "0.01", "0.1", "1.0")

Line = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """Data, evaluation and runtime, which both models share."""

    source: str
    root: Path
    limit: int | float
    samples: int
    """Importance samples per image (S)."""
    images: int
    """Test images, evenly spaced."""
    seed: int
    runtime: Runtime


def npdraw_line(task: Task, config: Config, folder: Path, progress: Lines) -> Line:
    """Run npdraw's stages in `folder` and return the line of NP-DRAW."""
    paths = {kind: folder / f"{kind}.safetensors" for kind in ("parse", "prior", "model")}
    common: dict[str, Any] = {
        "seed": task.seed,
        "runtime": task.runtime,
        "progress": progress,
    }
    data = {"source": task.source, "root": task.root}
    changes = {name: asdict(getattr(config, name)) for name in ("parse", "prior", "decoder")}
    parsed = parse(config, limit=task.limit, out=paths["parse"], **data, **common)
    prior = train_prior(paths["parse"], changes=changes, out=paths["prior"], **common)
    trained = train_decoder(
        paths["parse"], paths["prior"], changes=changes, out=paths["model"], **data, **common
    )
    evaluated = eval_nll(
        paths["model"],
        samples=task.samples,
        images=task.images,
        estimator="importance",
        batch_size=BATCH_SIZE,
        out=folder / "nll.json",
        **data,
        **common,
    )
    model, _, artifact = read_model(paths["model"])
    names = ("nll", "nll_se", "elbo", "rate", "distortion")
    return {
        "model": "NP-DRAW",
        **_facts(task, config, artifact.header.dataset),
        **_sizes(model, model.decoder),
        "seconds": round(sum(stage["seconds"] for stage in (parsed, prior, trained)), 1),
        "steps": trained["steps"],
        "best_step": trained["best_step"],
        "validation": trained["elbo"],
        **{name: evaluated[name] for name in names},
        "settings": changes,
    }


def vae_line(
    task: Task, config: Config, settings: Settings, seconds: float, progress: Lines
) -> Line:
    """Train the VAE on the same images for `seconds` and return its line."""
    device = task.runtime.start()
    data = training_images(parse_source(task.source), task.root, config.parse, task.limit, progress)
    torch.manual_seed(task.seed)
    side = config.parse.image_size
    model = VAE(
        side,
        latents=settings.latents,
        channels=config.decoder.decoder_channels,
        depth=config.decoder.decoder_depth,
        patch=config.decoder_patch,
        dropout=settings.dropout,
    )
    to_device(model, device)
    held_out = torch.from_numpy(binarize(data.held_out.numpy(), task.seed)).to(device)
    trained = train(
        model,
        data.train.to(device),
        held_out,
        settings,
        seconds=seconds,
        seed=task.seed,
        runtime=task.runtime,
        report=progress.note,
    )
    source = parse_source(task.source)
    test, index = load_test_images(
        source, task.root, config.parse, task.seed, task.images, progress
    )
    with task.runtime.autocast(device):
        binary = test.to(device)
        nll, rate, distortion = evaluate(model, binary, index, task.samples, task.seed).T
    return {
        "model": "VAE",
        **_facts(task, config, data.dataset),
        **_sizes(model, model.decoder),
        "seconds": round(trained.seconds, 1),
        "steps": trained.steps,
        "best_step": trained.best_step,
        "validation": trained.validation,
        "nll": float(nll.mean()),
        "nll_se": float(nll.std() / math.sqrt(len(nll))),
        "elbo": float((rate + distortion).mean()),
        "rate": float(rate.mean()),
        "distortion": float(distortion.mean()),
        "settings": asdict(settings),
    }


def _facts(task: Task, config: Config, dataset: dict[str, Any]) -> Line:
    return {
        "limit": task.limit,
        "train": dataset["train"] // copies_per_image(config.parse),
        "held_out": dataset["validation"],
        "samples": task.samples,
        "images": task.images,
        "seed": task.seed,
    }


def _sizes(model: nn.Module, decoder: nn.Module) -> Line:
    count = [sum(p.numel() for p in part.parameters()) for part in (model, decoder)]
    return {"parameters": count[0], "decoder_parameters": count[1]}


def table(lines: list[Line]) -> str:
    """Return the Markdown table: a row per line, with the VAE's NLL minus NP-DRAW's."""
    head = "limit, images, model, parameters (decoder), seconds, steps (best), validation, test NLL"
    rows = [[*head.split(", "), "-ELBO", "rate", "VAE - NP-DRAW"]]
    rows.append(["---"] * len(rows[0]))
    nll = {(line["limit"], line["model"]): line["nll"] for line in lines}
    for line in lines:
        ours, other = (nll.get((line["limit"], name)) for name in ("NP-DRAW", "VAE"))
        known = line["model"] == "VAE" and ours is not None and other is not None
        rows.append(
            [
                str(line["limit"]),
                f"{line['train']:,} + {line['held_out']:,}",
                line["model"],
                f"{line['parameters']:,} ({line['decoder_parameters']:,})",
                f"{line['seconds']:,.0f}",
                f"{line['steps']:,} ({line['best_step']:,})",
                f"{line['validation']:.2f}",
                f"{line['nll']:.2f} ± {line['nll_se']:.2f}",
                f"{line['elbo']:.2f}",
                f"{line['rate']:.2f}",
                f"{other - ours:+.2f}" if known else "",
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def measure(given: argparse.Namespace, progress: Lines) -> list[Line]:
    """Measure both models at each limit, printing each line at once."""
    runtime = Runtime(device=given.device, threads=given.threads)
    base = preset(given.preset)
    changes = read_toml(given.config) if given.config else {}
    lines = []
    for number, limit in enumerate(given.limit):
        task = Task(
            given.data,
            given.data_root,
            parse_limit(limit),
            given.samples,
            given.images,
            given.seed,
            runtime,
        )
        source = parse_source(task.source)
        data = training_images(source, task.root, base.parse, task.limit, progress)
        config = npdraw_settings(base, len(data.train) // copies_per_image(base.parse))
        config = override(config, changes, source=str(given.config))
        if given.steps:
            steps = given.steps[min(number, len(given.steps) - 1)]
            share = config.prior.steps / config.decoder.steps
            ours = {"prior": {"steps": max(1, round(share * steps))}, "decoder": {"steps": steps}}
            config = override(config, ours, source="--steps")
        folder = given.keep / f"limit-{limit}"
        folder.mkdir(parents=True, exist_ok=True)
        lines.append(npdraw_line(task, config, folder, progress))
        print(json.dumps(lines[-1]), flush=True)
        settings = vae_settings(lines[-1]["train"])
        lines.append(vae_line(task, config, settings, lines[-1]["seconds"], progress))
        print(json.dumps(lines[-1]), flush=True)
    return lines


def arguments(given: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.studies.low_data", description=__doc__)
    add = parser.add_argument
    add("--limit", nargs="+", default=LIMITS, help="number or fraction of the training images")
    add("--steps", nargs="+", type=int, help="steps of train-decoder, for each limit or for all")
    add("--preset", default="mnist", help="settings of NP-DRAW and of the VAE's decoder")
    add("--config", type=Path, help="TOML file of settings that override the preset at all limits")
    add("--data", default="mnist", help="data set, as in npdraw parse")
    add(
        "--data-root",
        type=Path,
        default=default_root(),
        help="folder of data sets [default: NPDRAW_DATA, or data]",
    )
    add("--samples", type=int, default=SAMPLES, help="importance samples per image (S)")
    add("--images", type=int, default=1000, help="number of test images, evenly spaced")
    add("--seed", type=int, default=0, help="seed of everything")
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--threads", type=int, default=0, help="CPU threads; 0: chosen by torch")
    add("--keep", type=Path, default=Path("runs/low-data"), help="folder of NP-DRAW's artifacts")
    add("--table", type=Path, help="only print the table of this file of JSON lines")
    return parser.parse_args(given)


def main() -> None:
    """Measure, then print the table."""
    given = arguments(sys.argv[1:])
    if given.table:
        text = given.table.read_text(encoding="utf-8").splitlines()
        print(table([json.loads(line) for line in text if line.startswith("{")]))
        return
    try:
        lines = measure(given, Lines())
    except NpdrawError as error:
        sys.exit(f"{error.message}\n{error.hint}".strip())
    print(f"\n{table(lines)}")


if __name__ == "__main__":
    main()
