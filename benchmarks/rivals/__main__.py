"""NP-DRAW and other models, trained for the same time on the same images: `make rivals`.

    python -m benchmarks.rivals --data mnist --seconds 600 DRAW PixelCNN

NP-DRAW comes first: its steps are planned for the time, and the others have as much as it then
took. Time is processor time, of one thread unless --threads says otherwise. For each data set and
model: a JSON line with bound, time, size and the quality of samples, a sheet of samples, and the
samples. Models whose results with the same options are in the output folder are not trained again,
so a stopped command resumes with the next one. Then the tables are printed.
"""

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.rivals import npdraw_row, settings
from benchmarks.rivals.quality import quality
from benchmarks.rivals.tables import tables
from benchmarks.rivals.task import Task
from benchmarks.rivals.training import drawn, evaluate, train
from npdraw.config import Config
from npdraw.datasets import default_root, parse_source
from npdraw.datasets.splits import parse_limit
from npdraw.errors import NpdrawError
from npdraw.inputs.images import (
    TrainingImages,
    check_test_images,
    copies_per_image,
    load_test_images,
    to_levels,
    training_images,
)
from npdraw.inputs.models import read_model, to_device
from npdraw.pictures.files import write_still
from npdraw.pictures.sheet import draw_pixels, tile
from npdraw.presets import preset
from npdraw.quality.distances import LEAST
from npdraw.runtime.reporting import Lines
from npdraw.runtime.run_folder import read_json, write_json
from npdraw.runtime.settings import Runtime

SHEET = 64
"""Samples on a sheet."""

DEVICE = "cpu"
"""Processor time says nothing about the time of a GPU."""

Line = dict[str, Any]


def measure(name: str, task: Task, folder: Path, progress: Lines) -> Line:
    """Train and evaluate a model; write samples, and return its line."""
    source, usual = parse_source(task.source), preset(task.source)
    data = training_images(source, task.root, usual.parse, task.limit, progress)
    count = len(data.train) // copies_per_image(usual.parse)
    config = settings.ours(usual, count)
    if config.parse != usual.parse:
        data = training_images(source, task.root, config.parse, task.limit, progress)
    if name == settings.OURS:
        line, samples = ours(task, config, data, folder, progress)
    else:
        line, samples = rival(name, count, task, data, progress)
    write_still(folder / f"{name}.png", tile(samples[:SHEET]), {})
    np.savez_compressed(folder / f"{name}.npz", samples=samples.numpy())
    return {
        "model": name,
        "data": task.source,
        "limit": task.limit,
        "train": count,
        "held_out": data.validation,
        **line,
        "bits_per_dim": line["nll"] / (math.prod(data.images.shape[1:]) * math.log(2)),
    }


def ours(
    task: Task, config: Config, data: TrainingImages, folder: Path, progress: Lines
) -> tuple[Line, Tensor]:
    """Return the line of NP-DRAW and its samples."""
    folder = folder / settings.OURS
    line = npdraw_row.train_and_evaluate(task, config, data, folder, progress)
    runtime = Runtime(device=DEVICE, threads=task.threads)
    model, _config, _artifact = read_model(folder / "model.safetensors")
    device = runtime.start()
    to_device(model, device)
    began = time.process_time()
    with runtime.autocast(device):
        samples = draw_pixels(model, list(range(task.drawings)), task.seed)
    line["seconds_per_sample"] = (time.process_time() - began) / task.drawings
    line["parameters"] = sum(p.numel() for p in model.parameters())
    return line, samples


def rival(
    name: str, count: int, task: Task, data: TrainingImages, progress: Lines
) -> tuple[Line, Tensor]:
    """Return the line of another model, with settings for `count` images, and its samples."""
    torch.manual_seed(task.seed)
    model, how = settings.rival(name, task.source, count)
    runtime = Runtime(device=DEVICE, threads=task.threads, precision=how.precision)
    device, config = runtime.start(), preset(task.source).parse
    to_device(model, device)
    top = config.levels - 1
    held_out = to_levels(data.held_out, config, task.seed).float().to(device) / top
    trained = train(
        model,
        data.train.to(device),
        held_out,
        how,
        seconds=task.seconds,
        seed=task.seed,
        levels=config.levels,
        runtime=runtime,
        report=progress.note,
    )
    source = parse_source(task.source)
    test, _index = load_test_images(source, task.root, config, task.seed, task.images, progress)
    with runtime.autocast(device):
        nll, elbo = evaluate(model, test.float().to(device) / top, task.samples, task.seed).T
        began = time.process_time()
        samples = (drawn(model, task.drawings, task.seed, device) * 255).round().byte().cpu()
    line = {
        "seconds": trained.seconds,
        "steps": trained.steps,
        "best_step": trained.best_step,
        "validation": trained.validation,
        "nll": float(nll.mean()),
        "nll_se": float(nll.std()) / math.sqrt(len(nll)),
        "elbo": float(elbo.mean()),
        "exact": model.exact,
        "seconds_per_sample": (time.process_time() - began) / task.drawings,
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    return line, samples


def main() -> None:
    """Measure what is asked for, then print the tables."""
    try:
        given = arguments()
        for data in given.data:
            for limit in given.limit:
                measure_all(given, data, limit)
    except NpdrawError as error:
        sys.exit(f"{error.message}\n{error.hint}".strip())
    print(tables(given.out))


def measure_all(given: argparse.Namespace, data: str, limit: str | None) -> None:
    """Measure NP-DRAW and the models asked for on a data set, those that are not measured yet."""
    folder = given.out / (data if limit is None else f"{data}-{limit}")
    task = Task(
        source=data,
        root=given.data_root,
        limit=None if limit is None else parse_limit(limit),
        seconds=given.seconds,
        samples=given.samples,
        images=given.images,
        drawings=given.drawings,
        seed=given.seed,
        threads=given.threads,
    )
    source, config = parse_source(data), preset(data).parse
    check_test_images(source, task.root, config, task.images, None)
    known = settings.models(data)
    asked = [name for name in known if name in (given.models or known)]
    for name in dict.fromkeys([settings.OURS, *asked]):
        path = folder / f"{name}.json"
        line = read_json(path)
        options = {key: x for key, x in asdict(task).items() if key != "root"}
        if line.get("options") != options:
            folder.mkdir(parents=True, exist_ok=True)
            line = measure(name, task, folder, Lines()) | {"options": options}
            write_json(path, line)
        if "quality" not in line:
            line["quality"] = quality(folder / f"{name}.npz", task, Lines())
            write_json(path, line)
        print(json.dumps(line), flush=True)
        if name == settings.OURS:
            task = replace(task, seconds=line["seconds"])


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.rivals",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("models", nargs="*", metavar="MODEL", help="beside NP-DRAW; default: all of the data set")
    add("--data", nargs="+", default=["mnist"], help="data sets; their presets have their pixels")
    add("--limit", nargs="+", default=[None], help="training images, or a fraction of them")
    add("--data-root", type=Path, default=default_root(), help="folder of data sets")
    add("--seconds", type=float, default=300.0, help="processor time of a training [300]")
    add("--samples", type=int, default=50, help="importance samples (S) [50]")
    add("--images", type=int, default=1000, help="test images for the likelihood [1000]")
    add("--drawings", type=int, default=2000, help="samples to compare [2000]")
    add("--seed", type=int, default=0, help="seed of everything [0]")
    add("--threads", type=int, default=1, help="threads of a training [1]")
    add("--out", type=Path, default=Path("runs/rivals"), help="results [runs/rivals]")
    given = parser.parse_args()
    for data in given.data:
        unknown = set(given.models) - set(settings.models(data))
        if unknown:
            known = ", ".join(settings.models(data))
            parser.error(f"unknown model {min(unknown)} for {data}; known: {known}")
    if given.drawings < LEAST:
        parser.error(f"--drawings {given.drawings}: at least {LEAST} can be compared")
    if not given.seconds > 0:
        parser.error(f"--seconds {given.seconds} must be above 0")
    if given.samples < 1 or given.images < 2 or given.seed < 0:
        parser.error("--samples must be at least 1, --images at least 2, and --seed at least 0")
    return given


if __name__ == "__main__":
    main()
