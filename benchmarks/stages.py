"""Speed of every stage at the sizes of a preset, compared with a simple reference.

The references are the obvious ways: parsing and painting image by image, training in fp32, sampling
without a cache, evaluating with separate decoder and prior passes.
"""

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.timing import measure, seconds
from benchmarks.workloads import (
    Bench,
    bench_of,
    decoder_step,
    evaluate_work,
    parse_work,
    prior_step,
    sample_work,
    tables_work,
)
from npdraw.config import BATCH_SIZE, SAMPLES, Config
from npdraw.datasets import Pixels, load, parse_source
from npdraw.inputs.models import read_model
from npdraw.inputs.shipped import find_model
from npdraw.model.importance import samples_per_pass
from npdraw.model.latents import Latents
from npdraw.model.prior import Prior
from npdraw.pictures.sheet import SAMPLE_BATCH, draw, render
from npdraw.presets import preset
from npdraw.runtime.noise import uniform
from npdraw.runtime.settings import Runtime

COLOUR_IMAGES = 500
"""Colour images that the stages work on."""


@dataclass(frozen=True)
class Preset(Bench):
    """A bench at the sizes of a preset."""

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
    values = images_for(config)
    fp32, low = ceilings[torch.float32], ceilings[runtime.dtype(device)]
    tables = tables_work(torch.from_numpy(values), config)
    measure(f"{prefix}tables", len(values), tables, ceiling=fp32)
    made = bench_of(config, values, None, runtime)
    bench = Preset(*(getattr(made, field.name) for field in fields(made)), prefix, fp32, low)
    z = parsing_and_painting(bench)
    training(bench, z)
    sampling(bench)
    evaluation(bench, z)


@torch.no_grad()
def images_for(config: Config) -> Pixels:
    """Return uint8 images [N, C, H, W]: the embedded glyphs; in colour, samples of `cifar10`."""
    if config.parse.channels == 1:
        size = config.parse.image_size
        return load(parse_source("glyphs"), "train", root=Path(), image_size=size).images
    model, _, _ = read_model(find_model("cifar10"))
    _, images = render(model.eval(), draw(model.prior, list(range(COLOUR_IMAGES))))
    return images.numpy()


def parsing_and_painting(bench: Preset) -> Latents:
    """Measure parse and paint, compared with one image at a time."""
    few = bench.images[:BATCH_SIZE]

    def parse_each() -> None:
        for image in few.split(1):
            bench.brush.parse(image)

    chunk = bench.images[:1000]
    measure(
        f"{bench.prefix}parse",
        len(chunk),
        parse_work(chunk, bench.brush),
        ceiling=bench.fp32,
        reference=("one image at a time", len(few) / seconds(parse_each)),
    )
    z = bench.drawings(4096)
    drawings = z[:64]

    def paint_each() -> None:
        for index in range(len(drawings)):
            bench.brush.paint(drawings[index : index + 1])

    measure(
        f"{bench.prefix}paint",
        len(drawings),
        lambda: bench.brush.paint(drawings),
        reference=("one drawing at a time", len(drawings) / seconds(paint_each)),
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
    """Measure sampling and decoding, compared with a prior without a cache.

    Strokes with ink have no such reference, since their factors depend on their own choices.
    """
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
        reference=None if bench.brush.inked else ("uncached", SAMPLE_BATCH / seconds(uncached)),
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
