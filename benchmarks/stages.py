"""Speed of every stage at the sizes of a preset, compared with a simple reference.

The references are the obvious ways: parsing image by image, painting step by step, training in
fp32, sampling without a cache, evaluating with separate decoder and prior passes.
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
from npdraw.config import BATCH_SIZE, SAMPLES
from npdraw.datasets import load, parse_source
from npdraw.datasets.splits import binarize
from npdraw.inputs.models import layout_of
from npdraw.model.importance import samples_per_pass
from npdraw.model.latents import Latents, blank
from npdraw.model.parsing import parse
from npdraw.model.prior import Prior
from npdraw.pictures.sheet import SAMPLE_BATCH, render
from npdraw.presets import preset
from npdraw.runtime.noise import uniform
from npdraw.runtime.settings import Runtime


@dataclass(frozen=True)
class Preset(Bench):
    """A bench at the sizes of a preset; images are the embedded glyphs."""

    prefix: str
    """Prefix of the names of the lines."""
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
    """Measure parse and paint, compared with one image and one step at a time."""
    layout, threshold = layout_of(bench.config.parse), bench.config.parse.threshold
    few = bench.binary[:BATCH_SIZE]

    def one_by_one() -> None:
        for image in few.split(1):
            parse(image, bench.bank, layout, threshold=threshold)

    one_at_a_time = len(few) / seconds(one_by_one)
    chunk = bench.binary[:1000]
    measure(
        f"{bench.prefix}parse",
        len(chunk),
        parse_work(chunk, bench.bank, bench.config),
        ceiling=bench.fp32,
        reference=("one image at a time", one_at_a_time),
    )
    z = bench.drawings(4096)
    model, drawings = bench.model(), z[:64]

    def step_by_step() -> None:
        canvas = model.paint(blank(len(drawings), layout.steps, bench.device))
        for cell in torch.eye(layout.steps, dtype=torch.bool, device=bench.device):
            canvas = torch.maximum(canvas, model.paint(drawings.only(cell)))

    looped = len(drawings) / seconds(step_by_step)
    measure(
        f"{bench.prefix}paint",
        len(drawings),
        lambda: model.paint(drawings),
        reference=("one step at a time", looped),
    )
    return z


def training(bench: Preset, z: Latents) -> None:
    """Measure a step of each training, compared with fp32."""
    config, fp32 = bench.config, Runtime(precision="fp32")
    for name, images, step in (
        ("train_prior", config.prior.batch_size, prior_step(bench, z)),
        ("train_decoder", config.decoder.batch_size, decoder_step(bench)),
    ):
        baseline = images / seconds(partial(step, fp32))
        measure(
            f"{bench.prefix}{name}",
            images,
            partial(step, bench.runtime),
            ceiling=bench.low,
            reference=("fp32", baseline),
        )


@torch.no_grad()
def sampling(bench: Preset) -> None:
    """Measure sampling and decoding, compared with a prior without a cache."""
    model, images = bench.model().eval(), 2 * SAMPLE_BATCH
    first = list(range(SAMPLE_BATCH))

    def uncached() -> None:
        with bench.runtime.autocast(bench.device):
            noise = uniform("sample", 0, first, (model.layout.steps, model.brush.numbers)).to(
                bench.device
            )
            render(model, sample_uncached(model.prior, noise))

    measure(
        f"{bench.prefix}sample",
        images,
        sample_work(bench, images),
        ceiling=bench.low,
        reference=("uncached", SAMPLE_BATCH / seconds(uncached)),
    )


def sample_uncached(prior: Prior, noise: Tensor) -> Latents:
    """Draw as `Prior.sample` does, but run the whole prior at every step."""
    z = prior.brush.blank(len(noise))
    for t in range(prior.layout.steps):
        p = prior(prior.brush.one_hot(z))
        drawn = p.sample(noise)
        z[:, t] = drawn[:, t]
    return z


@torch.no_grad()
def evaluation(bench: Preset, z: Latents) -> None:
    """Measure eval-nll, compared with one decoder and one prior pass per sample."""
    model = bench.model().eval()
    drawings = z[:BATCH_SIZE]
    soft, canvas = model.brush.one_hot(drawings), model.paint(drawings)

    def passes() -> None:
        with bench.runtime.autocast(bench.device):
            model.decode(canvas)
            model.prior(soft)

    separate = BATCH_SIZE / SAMPLES / seconds(passes)
    side = samples_per_pass(SAMPLES, BATCH_SIZE)
    measure(
        f"{bench.prefix}eval_nll",
        BATCH_SIZE // side,
        evaluate_work(bench, BATCH_SIZE // side, SAMPLES, side),
        ceiling=bench.low,
        reference=("separate decoder and prior passes", separate),
    )
