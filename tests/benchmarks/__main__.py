"""Speed of each stage on this machine, one JSON line each: `make bench`.

Embedded glyphs, preset `glyphs`, and the sizes of preset `mnist` for the training steps.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

from npdraw.config import preset
from npdraw.datasets import binarize, load, parse_source
from npdraw.model.bank import build_bank
from npdraw.model.canvas import paint
from npdraw.model.parsing import parse
from npdraw.stages.loading import layout_of, new_model
from npdraw.stages.runtime import Runtime
from npdraw.stages.sheet import draw, render
from npdraw.stages.train_decoder import train_step, validate
from npdraw.stages.training import descend, new_state

SECONDS = 3.0
"""Least time over which a rate is taken, after one call to warm up."""


def report(name: str, images: int, work: Callable[[], object]) -> None:
    """Print the images a second of `work`, which handles `images` at a call."""
    work()
    calls, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        work()
        calls += 1
    rate = images * calls / (time.perf_counter() - began)
    print(json.dumps({"name": name, "value": round(rate, 1), "unit": "images/s"}), flush=True)


def main() -> None:
    """Measure every stage at the sizes of the preset `mnist`."""
    runtime = Runtime()
    device = runtime.start()
    config = preset("mnist")
    layout, settings = layout_of(config.parse), config.decoder
    source = parse_source("glyphs")
    loaded = load(source, "train", root=Path(), image_size=config.parse.image_size)
    grey = torch.from_numpy(loaded.images).to(device)
    binary = torch.from_numpy(binarize(loaded.images, 0)).to(device).float()

    def bank() -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return build_bank(grey.cpu(), layout, 50, snap="mean", generator=generator).parts

    parts = bank().to(device)
    few = binary[: settings.batch_size]
    z = parse(few, parts, layout, threshold=config.parse.threshold)
    model = new_model(config, parts).to(device, memory_format=torch.channels_last)
    state = new_state(model, [(model, 1e-3)], 0.0)
    prior_state = new_state(model.prior, [(model.prior, 1e-3)], 0.0)

    def prior_step() -> None:
        with runtime.autocast(device):
            loss = -model.prior.log_prob(z).mean()
        descend(prior_state, loss, 1.0, 0.99)

    def sample() -> None:
        with torch.no_grad(), runtime.autocast(device):
            render(model, draw(model.prior, list(range(256))))

    def evaluate() -> None:
        with runtime.autocast(device):
            validate(model, binary[:200], 0)

    report("bank", len(grey), bank)
    report(
        "parse", len(binary), lambda: parse(binary, parts, layout, threshold=config.parse.threshold)
    )
    report("paint", len(few), lambda: paint(z, parts, layout))
    report("train_prior", len(few), prior_step)
    report("train_decoder", len(few), lambda: train_step(state, model, grey, config, 0, runtime))
    report("sample", 256, sample)
    report("eval_nll, one sample", 200, evaluate)


main()
