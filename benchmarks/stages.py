"""Speed of every stage at the sizes of a preset, each beside a plain way of doing the same.

The plain ways are the obvious loops: parsing image by image, painting step by step, training in
fp32, sampling with the whole prior at every step, evaluating with decoder and prior apart.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.timing import measure, seconds
from benchmarks.workloads import (
    Bench,
    bank_work,
    decoder_step,
    evaluate_work,
    parse_work,
    prior_step,
    sample_work,
)
from npdraw.datasets import load, parse_source
from npdraw.datasets.splits import binarize
from npdraw.inputs.models import layout_of
from npdraw.model.canvas import paint_step
from npdraw.model.importance import samples_per_pass
from npdraw.model.latents import Latents, blank
from npdraw.model.parsing import parse
from npdraw.model.prior import Prior
from npdraw.pictures.sheet import CHUNK, render
from npdraw.presets import preset
from npdraw.runtime.noise import uniform
from npdraw.runtime.settings import Runtime

SAMPLES = 50
"""S of eval_nll."""

BATCH = 100
"""Drawings that eval_nll takes at once, as the command does."""


@dataclass(frozen=True)
class Preset(Bench):
    """The sizes of a preset; images are the embedded glyphs."""

    prefix: str
    """Of the names of the lines."""
    fp32: float
    """Ceiling of fp32, GFLOP/s."""
    low: float
    """Ceiling of the precision that trains and samples, GFLOP/s."""


def run(name: str, prefix: str, ceilings: dict[torch.dtype, float]) -> None:
    """Measure every stage at the sizes of the preset `name`; `ceilings` in GFLOP/s."""
    runtime, config = Runtime(), preset(name)
    device = runtime.start()
    images = load(parse_source("glyphs"), "train", root=Path(), image_size=config.parse.image_size)
    grey = torch.tensor(images.images)
    low = ceilings[runtime.dtype(device)]
    fp32 = ceilings[torch.float32]

    bank = bank_work(grey, config)
    measure(f"{prefix}bank", len(grey), bank, ceiling=fp32)
    bench = Preset(
        config,
        device,
        runtime,
        grey.to(device),
        torch.from_numpy(binarize(images.images, 0)).to(device).float(),
        bank().to(device),
        prefix,
        fp32,
        low,
    )
    z = parsing_and_painting(bench)
    training(bench, z)
    sampling(bench)
    evaluation(bench, z)


def parsing_and_painting(bench: Preset) -> Latents:
    """Measure parse, against one image at a time, and paint, against one step at a time."""
    layout, threshold = layout_of(bench.config.parse), bench.config.parse.threshold
    few = bench.binary[:BATCH]

    def one_by_one() -> None:
        for image in few.split(1):
            parse(image, bench.bank, layout, threshold=threshold)

    alone = len(few) / seconds(one_by_one)
    chunk = bench.binary[:1000]
    measure(
        f"{bench.prefix}parse",
        len(chunk),
        parse_work(chunk, bench.bank, bench.config),
        ceiling=bench.fp32,
        reference=("one image at a time", alone),
    )
    z = bench.drawings(4096)
    model, drawings = bench.model(), z[:64]

    def step_by_step() -> None:
        canvas = model.paint(blank(len(drawings), layout.steps, bench.device))
        for step in range(layout.steps):
            canvas = paint_step(canvas, drawings, step, bench.bank, layout)

    looped = len(drawings) / seconds(step_by_step)
    measure(
        f"{bench.prefix}paint",
        len(drawings),
        lambda: model.paint(drawings),
        reference=("one step at a time", looped),
    )
    return z


def training(bench: Preset, z: Latents) -> None:
    """Measure a step of each training, against fp32."""
    config, fp32 = bench.config, Runtime(precision="fp32")
    for name, images, step in (
        ("train_prior", config.prior.batch_size, prior_step(bench, z)),
        ("train_decoder", config.decoder.batch_size, decoder_step(bench)),
    ):
        plain = images / seconds(partial(step, fp32))
        measure(
            f"{bench.prefix}{name}",
            images,
            partial(step, bench.runtime),
            ceiling=bench.low,
            reference=("fp32", plain),
        )


@torch.no_grad()
def sampling(bench: Preset) -> None:
    """Measure samples, decoded and as uint8, against a prior that starts again at every step."""
    model, images = bench.model().eval(), 2 * CHUNK
    first = list(range(CHUNK))

    def uncached() -> None:
        with bench.runtime.autocast(bench.device):
            noise = uniform("sample", 0, first, (model.layout.steps, 3)).to(bench.device)
            render(model, sample_uncached(model.prior, noise))

    measure(
        f"{bench.prefix}sample",
        images,
        sample_work(bench, images),
        ceiling=bench.low,
        reference=("uncached", CHUNK / seconds(uncached)),
    )


def sample_uncached(prior: Prior, noise: Tensor) -> Latents:
    """Draw as `Prior.sample` does, with the whole prior at every step."""
    z = blank(len(noise), prior.layout.steps, noise.device)
    for t in range(prior.layout.steps):
        p = prior(z.one_hot(prior.layout.placements, len(prior.bank)))
        drawn = p.sample(noise)
        z[:, t] = drawn[:, t]
    return z


@torch.no_grad()
def evaluation(bench: Preset, z: Latents) -> None:
    """Measure eval-nll with S samples, against a decoder and a prior pass for each."""
    model = bench.model().eval()
    drawings = z[:BATCH]
    soft, canvas = drawings.one_hot(model.layout.placements, len(model.bank)), model.paint(drawings)

    def passes() -> None:
        with bench.runtime.autocast(bench.device):
            model.decoder(canvas)
            model.prior(soft)

    apart = BATCH / SAMPLES / seconds(passes)
    side = samples_per_pass(SAMPLES, BATCH)
    measure(
        f"{bench.prefix}eval_nll",
        BATCH // side,
        evaluate_work(bench, BATCH // side, SAMPLES, side),
        ceiling=bench.low,
        reference=("decoder and prior passes apart", apart),
    )
