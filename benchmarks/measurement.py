"""Make one measurement of `scaling`, in its own process: `... FOLDER AXIS SIZE STAGE`.

Without AXIS it writes the images to FOLDER; with AXIS `machine` it measures the ceilings.
"""

import json
import platform
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.axes import AXES, config_at, per
from benchmarks.ceiling import ceiling
from benchmarks.timing import operations, seconds
from benchmarks.workloads import (
    Bench,
    Work,
    bench_of,
    decoder_step,
    evaluate_work,
    parse_work,
    prior_step,
    sample_work,
    tables_work,
)
from npdraw.datasets import Pixels
from npdraw.datasets.embedded import glyphs
from npdraw.datasets.prepare import from_arrays
from npdraw.inputs.brushes import brush_of, layout_of
from npdraw.model.latents import Latents
from npdraw.pictures.sheet import SAMPLE_BATCH
from npdraw.reading import Reading
from npdraw.runtime.progress import Silent
from npdraw.runtime.settings import Runtime
from npdraw.stages.parse import parse

IMAGES = 1000
"""Images that a stage works on, unless their number is the axis."""

ITERATIONS = 20
"""Lloyd iterations of every bank, so that only the size differs; real ones stop at convergence."""

EVALUATED = 50
"""Images evaluated at once by eval-nll."""

SAMPLES = 5
"""Importance samples (S) of eval-nll, unless S is the axis."""

SECONDS = 0.6
"""Least time over which a cost is measured; at least one call after the warm-up call."""


def peak() -> float:
    """Return the peak memory of this process, MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def prepare(folder: Path) -> None:
    """Write the glyphs, and an .npz file for each size of the data set."""
    images = glyphs("train")[:, 0]
    images.tofile(folder / "glyphs")
    for size in AXES[0].sizes:
        train = np.resize(images, (size, *images.shape[1:]))
        np.savez(folder / f"{size}.npz", train=train, test=images[:100])


def read(folder: Path, images: int, side: int) -> Pixels:
    """Return the first glyphs, repeated when they run out: uint8 [N, 1, H, W]."""
    native = np.fromfile(folder / "glyphs", np.uint8, min(images, 20_000) * 28 * 28)
    native = np.resize(native.reshape(-1, 28, 28), (images, 28, 28))
    return from_arrays(native, Reading(), side, 1)


def command(folder: Path, size: int) -> Work:
    """Return all that `npdraw parse --data npz:FILE` does."""
    config = config_at("N", size)
    return lambda: parse(
        config,
        source=f"npz:{folder / f'{size}.npz'}",
        root=folder,
        limit=None,
        seed=0,
        out=folder / f"{size}.safetensors",
        runtime=Runtime(device="cpu"),
        progress=Silent(),
    )


def workload(folder: Path, axis: str, size: int, stage: str) -> tuple[Work, int]:
    """Return what to measure, and the number by which its cost is divided."""
    config = config_at(axis, size)
    of_data_set = axis == "N"
    images = read(folder, size if of_data_set else IMAGES, config.parse.image_size)
    divisor = 1 if of_data_set else IMAGES
    if stage == "bank":
        return tables_work(torch.from_numpy(images), config, ITERATIONS), divisor
    if of_data_set:  # holding no more copies of the images than the parser itself needs
        tables = tables_work(torch.from_numpy(images[:IMAGES]), config, 2)()
        binary = torch.from_numpy((images > 127).view(np.uint8))
        return parse_work(binary, brush_of(config.parse, tables)), divisor
    bench = bench_of(config, images, 2, Runtime(device="cpu"))
    samples = size if axis == "S" else SAMPLES
    evaluated = EVALUATED if axis == "S" else EVALUATED * samples
    in_step = 1 if axis == "batch" else config.prior.batch_size
    make: dict[str, Callable[[], tuple[Work, int]]] = {
        "parse": lambda: (parse_work(bench.images, bench.brush), IMAGES),
        "paint": lambda: (_painting(bench), IMAGES),
        "sample": lambda: (sample_work(bench), SAMPLE_BATCH),
        "eval_nll": lambda: (evaluate_work(bench, EVALUATED, samples), evaluated),
        "train_prior": lambda: (partial(prior_step(bench, _parsed(bench)), bench.runtime), in_step),
        "train_decoder": lambda: (partial(decoder_step(bench), bench.runtime), in_step),
    }
    return make[stage]()


def _parsed(bench: Bench) -> Latents:
    return bench.drawings(IMAGES)


def _painting(bench: Bench) -> Work:
    return partial(bench.model().paint, _parsed(bench))


def measured(folder: Path, axis: str, size: int, stage: str) -> dict[str, object]:
    """Measure memory and time: once for the stage `command`, else over repeated calls."""
    before = peak()
    if stage == "command":
        began = time.perf_counter()
        command(folder, size)()
        taken, flops, divisor = time.perf_counter() - began, 0, 1
    else:
        work, divisor = workload(folder, axis, size, stage)
        flops = operations(work)  # and warms up
        taken = seconds(work, SECONDS, calls=1, warm=False)
    return {
        "axis": axis,
        "size": size,
        "stage": stage,
        "seconds": taken / divisor,
        "per": per(axis, stage),
        "memory_mb": round(peak() - before, 1),
        "flops": round(flops / divisor),
        "steps": layout_of(config_at(axis, size).parse).steps,
    }


def machine() -> dict[str, object]:
    """Return the machine's processor, software and ceilings."""
    runtime = Runtime(device="cpu")
    device = runtime.start()
    shown = Path("/proc/cpuinfo")  # only on Linux
    known = shown.read_text(encoding="utf-8").splitlines() if shown.exists() else []
    models = [line.partition(":")[2].strip() for line in known if line.startswith("model name")]
    model = models[0] if models else platform.processor() or "unknown"
    low = "bf16" if runtime.dtype(device) == torch.bfloat16 else "fp32"
    return {
        "axis": "machine",
        "cpu": model,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "fp32_gflops": round(ceiling(torch.float32, device, 0.3), 1),
        "trains_in": low,
        "low_gflops": round(ceiling(getattr(torch, _TORCH[low]), device, 0.3), 1),
    }


_TORCH = {"bf16": "bfloat16", "fp32": "float32"}


if __name__ == "__main__":
    folder, task = Path(sys.argv[1]), sys.argv[2:]
    if not task:
        prepare(folder)
    elif task == ["machine"]:
        print(json.dumps(machine()))
    else:
        print(json.dumps(measured(folder, task[0], int(task[1]), task[2])))
