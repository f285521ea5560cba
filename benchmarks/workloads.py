"""The work that the benchmarks measure: the functions of each stage, ready to call repeatedly."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from npdraw.config import Config
from npdraw.datasets import Pixels
from npdraw.datasets.splits import binarize
from npdraw.inputs.brushes import brush_of, layout_of
from npdraw.inputs.models import new_model, to_device
from npdraw.model.bank import build_bank
from npdraw.model.brush import Brush
from npdraw.model.encoder import PartEncoder
from npdraw.model.importance import importance_figures
from npdraw.model.ink import InkBrush
from npdraw.model.latents import Latents, blank
from npdraw.model.npdraw import NPDraw
from npdraw.model.palette import build_palette
from npdraw.pictures.sheet import SAMPLE_BATCH, draw, render
from npdraw.runtime.settings import Runtime
from npdraw.stages import train_decoder, train_prior
from npdraw.stages.parse import IMAGES_AT_ONCE
from npdraw.training.examples import Examples
from npdraw.training.state import new_state

Work = Callable[[], object]


@dataclass(frozen=True)
class Bench:
    """Settings, images and brush that the stages work on."""

    config: Config
    device: torch.device
    runtime: Runtime
    values: Tensor
    """uint8 [N, C, H, W]."""
    images: Tensor
    """The same as the model sees them: float [N, C, H, W], of two or 256 values in [0, 1]."""
    brush: Brush

    @property
    def dtype(self) -> torch.dtype:
        """Data type of large products."""
        return self.runtime.dtype(self.device)

    def model(self) -> NPDraw:
        """Return an untrained model whose drawings are about as long as a trained model's."""
        torch.manual_seed(0)
        model = new_model(self.config, self.brush)
        whether = self.drawings(200).whether
        painted, left = float(whether.sum()), float((~whether).sum())
        with torch.no_grad():
            model.prior.whether_head.weight.zero_()
            model.prior.whether_head.bias.fill_(math.log((painted + 0.5) / (left + 0.5)))
            if isinstance(model.encoder, PartEncoder):
                model.encoder.heads.bias[0] = -2.0  # rarely paints where the image is blank
        return to_device(model, self.device)

    def drawings(self, images: int) -> Latents:
        """Parse the first `images` images."""
        return self.brush.parse(self.images[:images])


def bench_of(config: Config, values: Pixels, iterations: int | None, runtime: Runtime) -> Bench:
    """Return a bench for uint8 images [N, C, H, W]; `iterations` as in `tables_work`."""
    device, uint8 = runtime.start(), torch.from_numpy(values)
    tables = tables_work(uint8, config, iterations)()
    images = torch.from_numpy(binarize(values, 0)) if config.parse.binarize else uint8 / 255
    brush = brush_of(config.parse, tables).to(device)
    return Bench(config, device, runtime, uint8.to(device), images.float().to(device), brush)


def tables_work(
    values: Tensor, config: Config, iterations: int | None = None
) -> Callable[[], dict[str, Tensor]]:
    """Build the tables of a brush from uint8 images [N, C, H, W].

    A bank takes `iterations` Lloyd iterations; None: until it converges.
    """
    layout, settings = layout_of(config.parse), config.parse
    common: dict[str, Any] = {"snap": settings.snap, "threshold": settings.threshold}

    def bank() -> dict[str, Tensor]:
        noise = torch.Generator().manual_seed(0)
        limits = {} if iterations is None else {"tolerance": -1e9, "iterations": iterations}
        made = build_bank(values, layout, settings.parts, generator=noise, **common, **limits)
        return {"bank": made.parts}

    def palette() -> dict[str, Tensor]:
        made = build_palette(
            values,
            layout,
            patterns=settings.parts,
            inks=settings.inks,
            contrasts=settings.contrasts,
            ground=torch.zeros(settings.channels),
            generator=torch.Generator().manual_seed(0),
            **common,
        )
        return InkBrush(layout, made).tables()

    return palette if settings.inks else bank


def parse_work(images: Tensor, brush: Brush) -> Callable[[], Latents]:
    """Parse images of the model's values, uint8 or float, in chunks as the stage does."""

    def work() -> Latents:
        z = blank(len(images), brush.layout.steps, images.device, inked=brush.inked)
        for start in range(0, len(images), IMAGES_AT_ONCE):
            part = slice(start, start + IMAGES_AT_ONCE)
            z[part] = brush.parse(images[part].float())
        return z

    return work


def prior_step(bench: Bench, z: Latents) -> Callable[[Runtime], object]:
    """Return a training step of train-prior on drawings, to run in any precision."""
    prior, config = bench.model().prior, bench.config
    state = new_state(prior, [(prior, 1e-3)], config.prior.weight_decay, dtype=bench.dtype)

    def step(runtime: Runtime) -> object:
        return train_prior.train_step(state, prior, Examples(z), config.prior, 0, runtime)

    return step


def decoder_step(bench: Bench) -> Callable[[Runtime], object]:
    """Return a training step of train-decoder, to run in any precision."""
    model, config = bench.model(), bench.config
    model.prior.requires_grad_(config.decoder.prior == "joint")
    state = new_state(model, [(model, 1e-3)], config.decoder.weight_decay, dtype=bench.dtype)

    def step(runtime: Runtime) -> object:
        return train_decoder.train_step(state, model, bench.values, config, 0, runtime)

    return step


def sample_work(bench: Bench, images: int = SAMPLE_BATCH) -> Work:
    """Sample `images` drawings and decode them to uint8."""
    model = bench.model().eval()
    seeds = list(range(images))

    @torch.no_grad()
    def work() -> None:
        with bench.runtime.autocast(bench.device):
            render(model, draw(model.prior, seeds))

    return work


def evaluate_work(bench: Bench, images: int, samples: int, side: int = 1) -> Work:
    """Evaluate the first `images` with S = `samples`, `side` samples at once."""
    model = bench.model().eval()
    some = bench.images[:images]
    noise = torch.rand(
        images, samples, model.layout.steps, model.brush.numbers, device=bench.device
    )

    @torch.no_grad()
    def work() -> None:
        with bench.runtime.autocast(bench.device):
            importance_figures(model, some, noise, "importance", side)

    return work
