"""The work that the benchmarks measure: the functions of each stage, ready to call repeatedly."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from npdraw.config import Config
from npdraw.datasets import Pixels
from npdraw.datasets.splits import binarize
from npdraw.inputs.brushes import brush_of, layout_of
from npdraw.inputs.models import new_model, to_device
from npdraw.model.bank import build_bank
from npdraw.model.encoder import PartEncoder
from npdraw.model.importance import importance_figures
from npdraw.model.latents import Latents, blank
from npdraw.model.npdraw import NPDraw
from npdraw.model.parsing import parse
from npdraw.pictures.sheet import SAMPLE_BATCH, draw, render
from npdraw.runtime.settings import Runtime
from npdraw.stages import train_decoder, train_prior
from npdraw.stages.parse import IMAGES_AT_ONCE
from npdraw.training.state import new_state

Work = Callable[[], object]


@dataclass(frozen=True)
class Bench:
    """Settings, images and part bank that the stages work on."""

    config: Config
    device: torch.device
    runtime: Runtime
    grey: Tensor
    """uint8 [N, C, H, W]."""
    binary: Tensor
    """float [N, C, H, W] in {0, 1}."""
    bank: Tensor
    """float [K, C, P, P]."""

    @property
    def dtype(self) -> torch.dtype:
        """Data type of large products."""
        return self.runtime.dtype(self.device)

    def model(self) -> NPDraw:
        """Return an untrained model whose drawings are about as long as a trained model's."""
        torch.manual_seed(0)
        model = new_model(self.config, brush_of(self.config.parse, {"bank": self.bank}))
        whether = self.drawings(200).whether
        painted, left = float(whether.sum()), float((~whether).sum())
        with torch.no_grad():
            model.prior.whether_head.weight.zero_()
            model.prior.whether_head.bias.fill_(math.log((painted + 0.5) / (left + 0.5)))
            assert isinstance(model.encoder, PartEncoder)
            model.encoder.heads.bias[0] = -2.0  # rarely paints where the image is blank
        return to_device(model, self.device)

    def drawings(self, images: int) -> Latents:
        """Parse the first `images` images."""
        layout, threshold = layout_of(self.config.parse), self.config.parse.threshold
        return parse(self.binary[:images], self.bank, layout, threshold=threshold)


def bench_of(config: Config, images: Pixels, iterations: int) -> Bench:
    """Return a bench on the CPU for uint8 images; the bank takes `iterations` Lloyd iterations."""
    runtime = Runtime(device="cpu")
    grey = torch.from_numpy(images)
    binary = torch.from_numpy(binarize(images, 0)).float()
    bank = bank_work(grey, config, iterations)()
    return Bench(config, runtime.start(), runtime, grey, binary, bank)


def bank_work(grey: Tensor, config: Config, iterations: int | None = None) -> Callable[[], Tensor]:
    """Build the bank of uint8 images, in `iterations` Lloyd iterations or until it converges."""
    layout, settings = layout_of(config.parse), config.parse

    def work() -> Tensor:
        generator = torch.Generator().manual_seed(0)
        limits = {} if iterations is None else {"tolerance": -1e9, "iterations": iterations}
        return build_bank(
            grey,
            layout,
            settings.parts,
            snap=settings.snap,
            threshold=settings.threshold,
            generator=generator,
            **limits,  # type: ignore[arg-type]
        ).parts

    return work


def parse_work(binary: Tensor, bank: Tensor, config: Config) -> Callable[[], Latents]:
    """Parse binary images, uint8 or float, in chunks as the stage does."""
    layout, threshold = layout_of(config.parse), config.parse.threshold

    def work() -> Latents:
        z = blank(len(binary), layout.steps, binary.device)
        for start in range(0, len(binary), IMAGES_AT_ONCE):
            part = slice(start, start + IMAGES_AT_ONCE)
            drawn = parse(binary[part].float(), bank, layout, threshold=threshold)
            z[part] = drawn
        return z

    return work


def prior_step(bench: Bench, z: Latents) -> Callable[[Runtime], object]:
    """Return a training step of train-prior on drawings, to run in any precision."""
    prior, config = bench.model().prior, bench.config
    state = new_state(prior, [(prior, 1e-3)], config.prior.weight_decay, dtype=bench.dtype)

    def step(runtime: Runtime) -> object:
        return train_prior.train_step(state, prior, z, config, 0, runtime)

    return step


def decoder_step(bench: Bench) -> Callable[[Runtime], object]:
    """Return a training step of train-decoder, to run in any precision."""
    model, config = bench.model(), bench.config
    model.prior.requires_grad_(config.decoder.prior == "joint")
    state = new_state(model, [(model, 1e-3)], config.decoder.weight_decay, dtype=bench.dtype)

    def step(runtime: Runtime) -> object:
        return train_decoder.train_step(state, model, bench.grey, config, 0, runtime)

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
    binary = bench.binary[:images]
    noise = torch.rand(
        images, samples, model.layout.steps, model.brush.numbers, device=bench.device
    )

    @torch.no_grad()
    def work() -> None:
        with bench.runtime.autocast(bench.device):
            importance_figures(model, binary, noise, "importance", side)

    return work
