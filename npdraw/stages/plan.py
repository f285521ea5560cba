"""How many training steps fit into a time: `npdraw run --minutes` (docs/training.md)."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from math import ceil
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch

from npdraw.config import Config
from npdraw.decoder_config import DecoderConfig
from npdraw.errors import UsageError
from npdraw.header import read_header
from npdraw.inputs.brushes import brush_of
from npdraw.inputs.images import same_images, to_levels
from npdraw.inputs.models import drawings_of, new_model, new_prior, read_parse, to_device
from npdraw.pictures.sheet import draw_for_sheet, render
from npdraw.runtime.progress import Progress
from npdraw.runtime.run_folder import read_json, write_json
from npdraw.runtime.settings import Runtime
from npdraw.stages import train_decoder, train_prior
from npdraw.training import decoder_step
from npdraw.training.examples import Examples
from npdraw.training.pauses import WATCHED_SHARE
from npdraw.training.state import new_state

PLAN = "plan.json"
"""The file in the folder of a run that keeps its plan, so that a resumed run has the same one."""

FEWEST_STEPS = 10
"""Steps of a training, at least."""

PROBED_SECONDS, PROBED_STEPS = 2.0, 3
"""For how long, and how often at least, each kind of step is timed, after one that is not."""

PROBED_IMAGES = 100
"""Held-out images whose validation is timed."""

SHEETS = 14
"""Sample sheets of a training: ten, and those of the first steps (`pauses.is_due`)."""


class Costs(NamedTuple):
    """Seconds that the trainings take, on this machine."""

    prior: float
    """A step of train-prior."""
    relaxed: float
    """A step of train-decoder in the relaxed phase, the mean with those of the decoder alone."""
    wake: float
    """One in the wake phase."""
    fixed: float
    """What does not depend on the number of steps: sheets, and the validations at the end."""


def planned(
    config: Config,
    parse_path: Path,
    minutes: float,
    began: float,
    *,
    source: str,
    root: Path,
    runtime: Runtime,
    progress: Progress,
) -> list[int]:
    """Return the steps of prior and decoder with which the trainings end `minutes` after `began`.

    Their ratio is that of the settings. `began` is a value of `time.perf_counter`. The plan is kept
    beside the parse: called again with the same time, parse and settings, it is the same.

    Raises:
        UsageError: the time is too short for a few steps.
    """
    path = parse_path.parent / PLAN
    settings = asdict(config)
    for section in ("prior", "decoder"):
        settings[section].pop("steps")
    digest = read_header(parse_path, kind="parse").digest
    key = {"minutes": minutes, "parse": digest, "settings": repr(settings)}
    kept = read_json(path)
    if {name: kept.get(name) for name in key} == key and not runtime.force:
        return list(kept["steps"])
    costs = _costs(config, parse_path, source, root, runtime, progress)
    left = minutes * 60 - (time.perf_counter() - began)
    steps = steps_for(config, costs, left)
    if min(steps) < FEWEST_STEPS:
        needed = (60 * minutes - left + costs.fixed) / 60
        raise UsageError(
            f"--minutes {minutes:g} is too short: all but the training steps takes {needed:.1f}",
            hint="Allow more, or use fewer images with --limit.",
        )
    write_json(path, key | {"steps": steps})
    progress.note(f"{steps[0]:,} steps of the prior and {steps[1]:,} of the decoder are planned")
    return steps


def steps_for(config: Config, costs: Costs, seconds: float) -> list[int]:
    """Return the steps of prior and decoder that take `seconds`, perhaps 0."""
    decoder = config.decoder
    wake = decoder.steps - decoder.relaxed_steps
    whole = config.prior.steps * costs.prior
    whole += decoder.relaxed_steps * costs.relaxed + wake * costs.wake
    share = max(0.0, seconds - costs.fixed) / (whole * (1 + WATCHED_SHARE))
    return [int(share * config.prior.steps), int(share * decoder.steps)]


def with_steps(config: Config, prior: int, decoder: int) -> Config:
    """Return the settings with other numbers of steps."""
    return replace(
        config,
        prior=replace(config.prior, steps=prior),
        decoder=replace(config.decoder, steps=decoder),
    )


def _costs(
    config: Config,
    parse_path: Path,
    source: str,
    root: Path,
    runtime: Runtime,
    progress: Progress,
) -> Costs:
    """Time some steps of both trainings with new weights, and what comes after them."""
    device = runtime.start()
    parse, settings = read_parse(parse_path), config.decoder
    brush = brush_of(config.parse, parse.tensors)
    prior = new_prior(config, brush).to(device)
    drawings = Examples(drawings_of(parse).to(device))
    train, held_out = drawings.split(parse.header.dataset["train"])
    some = held_out[:PROBED_IMAGES]
    dtype = runtime.dtype(device)
    state = new_state(prior, [(prior, 1e-4)], 0.0, dtype=dtype)
    prior_step = _seconds(
        lambda: train_prior.train_step(state, prior, train, config.prior, 0, runtime)
    )
    with runtime.autocast(device), torch.no_grad():
        fixed = _seconds(lambda: train_prior.validate(prior, some), 1) * len(held_out) / len(some)

    images = same_images(parse.header, parse_path, source, root, config.parse, progress)
    model = to_device(new_model(config, brush), device)
    learning = new_state(model, [(model, 1e-4)], 0.0, dtype=dtype)
    pixels = images.train.to(device)

    def decoder_steps(first: int, count: int) -> Callable[[], Any]:
        def step() -> None:
            learning.step = first
            for _ in range(count):
                decoder_step.train_step(learning, model, pixels, config, 0, runtime)

        return step

    model.prior.requires_grad_(settings.prior == "joint")
    cycle = settings.decoder_alone + 1
    relaxed = 0.0
    if settings.relaxed_steps:
        parsed, later = _parsed_steps(settings, cycle)
        relaxed = _seconds(decoder_steps(0, cycle)) / cycle
        if later < settings.relaxed_steps:  # these steps do not compute the parse
            after = _seconds(decoder_steps(later, cycle)) / cycle
            relaxed = parsed * relaxed + (1 - parsed) * after
    wakes = settings.relaxed_steps < settings.steps
    wake = _seconds(decoder_steps(settings.relaxed_steps, 1)) if wakes else 0.0
    model.eval()
    levels = to_levels(images.held_out[:PROBED_IMAGES], config.parse, 0).to(device)
    with runtime.autocast(device), torch.no_grad():
        validated = _seconds(lambda: train_decoder.validate(model, levels, 0), 1)
        fixed += validated * images.validation / len(levels)
        drawn = draw_for_sheet(model.prior)
        fixed += 2 * SHEETS * _seconds(lambda: draw_for_sheet(model.prior), 1)
        fixed += SHEETS * _seconds(lambda: render(model, drawn), 1)
    return Costs(prior_step, relaxed, wake, fixed)


def _seconds(work: Callable[[], object], least: int = PROBED_STEPS) -> float:
    """Return how long `work` takes, the mean of several calls after one that is not timed."""
    work()
    times: list[float] = []
    while len(times) < least or (least > 1 and sum(times) < PROBED_SECONDS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return mean(times)


def _parsed_steps(settings: DecoderConfig, cycle: int) -> tuple[float, int]:
    """Return the share of relaxed steps that compare with the parse, and the first cycle after."""
    share = 1.0 if settings.final_parse_weight else settings.parse_until
    return share, cycle * ceil((share * settings.relaxed_steps + 1) / cycle)
