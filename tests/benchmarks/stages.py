"""Speed of every stage at the sizes of a preset, each beside a plain way of doing the same.

The plain ways are the obvious loops: parsing image by image, painting step by step, training in
fp32, sampling with the whole prior at every step, evaluating with decoder and prior apart.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from npdraw.config import Config, preset
from npdraw.datasets import binarize, load, parse_source
from npdraw.model.bank import build_bank
from npdraw.model.canvas import paint_step
from npdraw.model.latents import Latents, blank
from npdraw.model.npdraw import NPDraw
from npdraw.model.parsing import parse
from npdraw.model.prior import Prior
from npdraw.stages import train_decoder, train_prior
from npdraw.stages.eval_nll import weigh
from npdraw.stages.loading import layout_of, new_model
from npdraw.stages.noise import uniform
from npdraw.stages.runtime import Runtime
from npdraw.stages.sheet import CHUNK, draw, render
from npdraw.stages.training import new_state
from tests.benchmarks.timing import measure, seconds

SAMPLES = 50
"""S of eval_nll."""

BATCH = 100
"""Images that eval_nll takes at once, as the command does."""


@dataclass(frozen=True)
class Bench:
    """What the stages of a preset work on; images are the embedded glyphs."""

    config: Config
    device: torch.device
    runtime: Runtime
    grey: Tensor
    """uint8 [N, C, H, W]."""
    binary: Tensor
    """float [N, C, H, W] in {0, 1}."""
    bank: Tensor
    prefix: str
    """Of the names of the lines."""
    fp32: float
    """Ceiling of fp32, GFLOP/s."""
    low: float
    """Ceiling of the precision that trains and samples, GFLOP/s."""

    def model(self) -> NPDraw:
        """Return an untrained model."""
        torch.manual_seed(0)
        model = new_model(self.config, self.bank)
        return model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def run(name: str, prefix: str, ceilings: dict[torch.dtype, float]) -> None:
    """Measure every stage at the sizes of the preset `name`; `ceilings` in GFLOP/s."""
    runtime, config = Runtime(), preset(name)
    device = runtime.start()
    images = load(parse_source("glyphs"), "train", root=Path(), image_size=config.parse.image_size)
    grey = torch.tensor(images.images)
    low = ceilings[torch.bfloat16 if runtime.bf16(device) else torch.float32]
    fp32 = ceilings[torch.float32]

    def bank() -> Tensor:
        generator = torch.Generator().manual_seed(0)
        layout, parts = layout_of(config.parse), config.parse.parts
        return build_bank(grey, layout, parts, snap=config.parse.snap, generator=generator).parts

    measure(f"{prefix}bank", len(grey), bank, ceiling=fp32)
    bench = Bench(
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


def parsing_and_painting(bench: Bench) -> Latents:
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
        lambda: parse(chunk, bench.bank, layout, threshold=threshold),
        ceiling=bench.fp32,
        reference=("one image at a time", alone),
    )
    z = parse(bench.binary[:4096], bench.bank, layout, threshold=threshold)
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


def training(bench: Bench, z: Latents) -> None:
    """Measure a step of each training, against fp32."""
    config, fp32 = bench.config, Runtime(precision="fp32")

    def prior_step(runtime: Runtime) -> object:
        return train_prior.train_step(state, prior, z, config, 0, runtime)

    prior = bench.model().prior
    state = new_state(prior, [(prior, 1e-3)], config.prior.weight_decay)
    images = config.prior.batch_size
    plain = images / seconds(lambda: prior_step(fp32))
    measure(
        f"{bench.prefix}train_prior",
        images,
        lambda: prior_step(bench.runtime),
        ceiling=bench.low,
        reference=("fp32", plain),
    )

    def step(runtime: Runtime) -> object:
        return train_decoder.train_step(state, model, bench.grey, config, 0, runtime)

    model = bench.model()
    model.prior.requires_grad_(config.decoder.prior == "joint")
    state = new_state(model, [(model, 1e-3)], config.decoder.weight_decay)
    images = config.decoder.batch_size
    plain = images / seconds(lambda: step(fp32))
    measure(
        f"{bench.prefix}train_decoder",
        images,
        lambda: step(bench.runtime),
        ceiling=bench.low,
        reference=("fp32", plain),
    )


@torch.no_grad()
def sampling(bench: Bench) -> None:
    """Measure samples, decoded and as uint8, against a prior that starts again at every step."""
    model = bench.model().eval()
    seeds = list(range(2 * CHUNK))

    def sample() -> None:
        with bench.runtime.autocast(bench.device):
            render(model, draw(model.prior, seeds))

    def uncached() -> None:
        with bench.runtime.autocast(bench.device):
            noise = uniform("sample", 0, seeds[:CHUNK], (model.layout.steps, 3)).to(bench.device)
            render(model, sample_uncached(model.prior, noise))

    measure(
        f"{bench.prefix}sample",
        len(seeds),
        sample,
        ceiling=bench.low,
        reference=("uncached", CHUNK / seconds(uncached)),
    )


def sample_uncached(prior: Prior, noise: Tensor) -> Latents:
    """Draw as `Prior.sample` does, with the whole prior at every step."""
    z = blank(len(noise), prior.layout.steps, noise.device)
    for t in range(prior.layout.steps):
        p = prior(z.one_hot(prior.layout.placements, len(prior.bank)))
        drawn = p.sample(noise)
        z.whether[:, t], z.where[:, t] = drawn.whether[:, t], drawn.where[:, t]
        z.what[:, t] = drawn.what[:, t]
    return z


@torch.no_grad()
def evaluation(bench: Bench, z: Latents) -> None:
    """Measure eval-nll with S samples, against a decoder and a prior pass for each."""
    model = bench.model().eval()
    images, drawings = bench.binary[:BATCH], z[:BATCH]
    noise = torch.rand(BATCH, SAMPLES, model.layout.steps, 3, device=bench.device)
    soft, canvas = drawings.one_hot(model.layout.placements, len(model.bank)), model.paint(drawings)

    def work() -> None:
        with bench.runtime.autocast(bench.device):
            weigh(model, images, noise, "importance")

    def passes() -> None:
        with bench.runtime.autocast(bench.device):
            model.decoder(canvas)
            model.prior(soft)

    apart = BATCH / SAMPLES / seconds(passes)
    measure(
        f"{bench.prefix}eval_nll",
        BATCH,
        work,
        ceiling=bench.low,
        reference=("decoder and prior passes apart", apart),
    )
