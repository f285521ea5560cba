"""NP-DRAW in the same processor time: its stages, with as many steps as the time allows."""

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

from torch import Tensor

from benchmarks.rivals.task import Task
from benchmarks.workloads import Bench, decoder_step, prior_step
from npdraw.config import BATCH_SIZE, Config
from npdraw.inputs.brushes import brush_of
from npdraw.inputs.images import TrainingImages
from npdraw.inputs.models import read_parse
from npdraw.runtime.progress import Progress
from npdraw.runtime.settings import Runtime
from npdraw.stages.eval_nll import eval_nll
from npdraw.stages.parse import parse
from npdraw.stages.train_decoder import train_decoder
from npdraw.stages.train_prior import train_prior

TIMED = 3
"""Steps that are timed, after one more, to learn how many the time allows."""

OVERHEAD = 0.3
"""Share of the time for validations, the last one on all held-out images, sheets, checkpoints."""


def train_and_evaluate(
    task: Task, config: Config, data: TrainingImages, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Run the stages in `folder`, from the start, and return the figures of the model."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    runtime = Runtime(device="cpu", threads=task.threads)
    paths = {kind: folder / f"{kind}.safetensors" for kind in ("parse", "prior", "model")}
    common: dict[str, Any] = {"seed": task.seed, "runtime": runtime, "progress": progress}
    where: dict[str, Any] = {"source": task.source, "root": task.root}
    began = time.process_time()
    parse(config, limit=task.limit, out=paths["parse"], **where, **common)
    left = task.seconds - (time.process_time() - began)
    config = planned(config, data.train, paths["parse"], left, runtime)
    changes = {name: asdict(getattr(config, name)) for name in ("parse", "prior", "decoder")}
    train_prior(paths["parse"], changes=changes, out=paths["prior"], **common)
    trained = train_decoder(
        paths["parse"], paths["prior"], changes=changes, out=paths["model"], **where, **common
    )
    seconds = time.process_time() - began
    evaluated = eval_nll(
        paths["model"],
        samples=task.samples,
        images=task.images,
        estimator="importance",
        batch_size=BATCH_SIZE,
        out=None,
        **where,
        **common,
    )
    return {
        "seconds": seconds,
        "steps": trained["steps"],
        "best_step": trained["best_step"],
        "validation": trained["elbo"],
        **{name: evaluated[name] for name in ("nll", "nll_se", "elbo", "rate", "canvas_mse")},
    }


def planned(
    config: Config, images: Tensor, parse_path: Path, seconds: float, runtime: Runtime
) -> Config:
    """Return settings with as many steps as fit into `seconds`, at most those of `config`.

    Steps of prior and decoder keep their ratio.
    """
    device = runtime.start()
    brush = brush_of(config.parse, read_parse(parse_path).tensors).to(device)
    values = images[: 4 * max(config.prior.batch_size, config.decoder.batch_size)]
    in_unit = values.float() / 255
    if config.parse.binarize:
        in_unit = in_unit.round()
    bench = Bench(config, device, runtime, values.to(device), in_unit.to(device), brush)
    wanted = [
        config.prior.steps * _seconds(prior_step(bench, bench.drawings(len(values))), runtime),
        config.decoder.steps * _seconds(decoder_step(bench), runtime),
    ]
    share = min(1.0, seconds * (1 - OVERHEAD) / sum(wanted))
    prior, decoder = (max(1, round(share * x.steps)) for x in (config.prior, config.decoder))
    return replace(
        config,
        prior=replace(config.prior, steps=prior),
        decoder=replace(config.decoder, steps=decoder),
    )


def _seconds(step: Callable[[Runtime], object], runtime: Runtime) -> float:
    """Return how long a step takes, the median of `TIMED`."""
    step(runtime)
    times = []
    for _ in range(TIMED):
        began = time.process_time()
        step(runtime)
        times.append(time.process_time() - began)
    return median(times)
