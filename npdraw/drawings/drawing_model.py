"""A trained model to draw with, from Python: `npdraw.load("mnist")`. The commands use it too."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from npdraw.config import BATCH_SIZE, SAMPLES, Config
from npdraw.errors import UsageError
from npdraw.header import Header
from npdraw.inputs.images import to_levels
from npdraw.inputs.models import read_model, to_device
from npdraw.model.completion import PARTICLES, complete
from npdraw.model.importance import importance_figures, samples_per_pass
from npdraw.model.latents import Latents, concatenate
from npdraw.model.layout import Layout
from npdraw.model.npdraw import NPDraw
from npdraw.model.parsing import parse
from npdraw.pictures.sheet import draw
from npdraw.runtime.noise import uniform
from npdraw.runtime.settings import Runtime

Images = Tensor | NDArray[np.uint8] | NDArray[np.float32]
"""Images [N, C, H, W], or grey ones [N, H, W]: uint8, or floats in [0, 1]."""


@dataclass(frozen=True)
class DrawingModel:
    """Draws, reads and paints drawings. Letters as in `npdraw.model`; tensors are on the CPU.

    A drawing is a row of `Latents`: whether, where and what of each of T steps.
    """

    network: NPDraw
    config: Config
    header: Header
    path: Path
    device: torch.device
    runtime: Runtime

    @cached_property
    def layout(self) -> Layout:
        """Where the steps of a drawing put their parts on the canvas."""
        return self.network.layout

    @cached_property
    def bank(self) -> Tensor:
        """The parts, [K, C, P, P] in [0, 1]."""
        return self.network.bank.cpu()

    def sample(self, n: int = 1, seed: int = 0, *, temperature: float = 1.0) -> Latents:
        """Return `n` new drawings, those of `npdraw sample --seeds SEED-...`.

        Drawing i has the seed `seed` + i and depends on nothing else. `temperature` divides all
        logits of the prior: below 1 drawings are likelier and more alike.
        """
        _check_drawn(n, seed, temperature)
        with torch.no_grad(), self.runtime.autocast(self.device):
            return draw(self.network.prior, list(range(seed, seed + n)), temperature).to(_CPU)

    def parse(self, images: Images) -> Latents:
        """Return the drawings that the heuristic parser makes of images (paper, section 3.1).

        Each step takes the part that lowers the squared error of the canvas most.
        """
        settings = self.config.parse

        def parsed(x: Tensor, _: range) -> Latents:
            return parse(
                self.layout.shrink(x),
                self.network.bank,
                self.layout,
                threshold=settings.threshold,
                sweeps=settings.sweeps,
                compositing=settings.compositing,
            )

        return self._drawings(self.preprocess(images), parsed)

    def encode(self, images: Images, seed: int | None = None) -> Latents:
        """Return drawings of images from the posterior q(z | x): the likeliest, or a sample.

        A step is painted if its probability is above 1/2, with the likeliest placement and part;
        with a `seed` everything is drawn at random.
        """

        def drawn(x: Tensor, index: range) -> Latents:
            q = self.network.encode(x)
            if seed is None:
                where, what = q.where.argmax(2), q.what.squeeze(2).argmax(2)
                return Latents(q.whether > 0, where, what).canonical()
            noise = uniform("encode", seed, index, (self.layout.steps, 3))
            return q.sample(noise.to(self.device))

        return self._drawings(self.preprocess(images, seed or 0), drawn)

    def paint(self, drawings: Latents) -> Tensor:
        """Return the canvases, float [N, C + 1, h, w]: the image in [0, 1] and the coverage.

        `UsageError` if the drawings are not of this model's cells, placements and parts.
        """
        drawings = drawings.canonical()
        cells, found = self.layout.steps, list(drawings.whether.shape)
        if len(found) != 2 or not found[0] or found[1] != cells:
            raise UsageError(
                f"drawings of shape {found}; this model has [N, {cells}], N at least 1"
            )
        for name, most in (("where", self.layout.placements), ("what", len(self.network.bank))):
            index = getattr(drawings, name)
            if index.min() < 0 or index.max() >= most:
                raise UsageError(
                    f"{name} of the drawings is in {int(index.min())}..{int(index.max())}; "
                    f"this model has 0..{most - 1}"
                )
        with torch.no_grad():
            return self.network.paint(drawings.to(self.device)).cpu()

    def decode(self, canvases: Tensor) -> Tensor:
        """Return the expected images of canvases, float [N, C, H, W] in [0, 1].

        `UsageError` if the canvases are not as `paint` makes them.
        """
        side = self.config.parse.canvas_side
        shape = [self.config.parse.channels + 1, side, side]
        if canvases.ndim != 4 or not len(canvases) or list(canvases.shape[1:]) != shape:
            raise UsageError(
                f"canvases of shape {list(canvases.shape)}; this model has "
                f"[N, {', '.join(map(str, shape))}], N at least 1"
            )
        found = []
        for chunk in canvases.split(BATCH_SIZE):
            with torch.no_grad(), self.runtime.autocast(self.device):
                found.append(self.network.decode(chunk.to(self.device)).float().cpu())
        return torch.cat(found)

    def nll(self, images: Images, samples: int = SAMPLES, seed: int = 0) -> Tensor:
        """Return the bound on the negative log-likelihood of each image in nats, float64 [N].

        Importance sampling with `samples` hard drawings each (docs/model.md, section 7). Of all
        test images of a data set, as uint8, the mean is what `npdraw eval-nll` tells.
        """
        if samples < 1:
            raise UsageError(f"{samples} samples of each image; at least 1 is needed")
        x, found = self.preprocess(images, seed), []
        side = samples_per_pass(samples, BATCH_SIZE)
        step = max(1, BATCH_SIZE // side)
        for first in range(0, len(x), step):
            some = x[first : first + step].to(self.device)
            index = range(first, first + len(some))
            noise = uniform("eval", seed, index, (samples, self.layout.steps, 3)).to(self.device)
            with torch.no_grad(), self.runtime.autocast(self.device):
                found.append(
                    importance_figures(self.network, some, noise, "importance", side)[:, 0].cpu()
                )
        return torch.cat(found)

    def complete(
        self,
        given: Latents,
        fixed: Tensor,
        n: int = 1,
        seed: int = 0,
        *,
        temperature: float = 1.0,
        particles: int = PARTICLES,
    ) -> Latents:
        """Return `n` drawings that keep the cells `fixed`, bool [T], of the drawing `given` [1, T].

        Completion i has the seed `seed` + i. With nothing fixed it is `sample`; see
        `npdraw.model.completion` for how the rest is drawn.

        Raises:
            UsageError: `given` is not one drawing, or `fixed` no mask of its cells; no completion,
                no particle, a negative seed or a temperature that is not above 0 is asked for.
        """
        _check_drawn(n, seed, temperature)
        cells = torch.Size([self.layout.steps])
        if given.whether.shape != (1, *cells) or fixed.shape != cells or fixed.dtype != torch.bool:
            raise UsageError(
                f"given is of shape {list(given.whether.shape)} and fixed {fixed.dtype} of shape "
                f"{list(fixed.shape)}; expected [1, {cells[0]}] and bool [{cells[0]}]"
            )
        if particles < 1:
            raise UsageError(f"{particles} particles; at least 1 is needed")
        if fixed.all():
            return concatenate([given.canonical()] * n)
        shape = self.layout.steps, 3
        found = []
        for number in range(seed, seed + n):
            free = uniform("sample", 0, [number], shape)
            noise = torch.cat([free, uniform("complete", number, range(particles), shape)])
            if not fixed.any():
                found.append(self.sample(1, number, temperature=temperature))
                continue
            with torch.no_grad(), self.runtime.autocast(self.device):
                drawn = complete(
                    self.network.prior,
                    given.to(self.device),
                    fixed.to(self.device),
                    noise[None].to(self.device),
                    temperature,
                )
            found.append(drawn.to(_CPU))
        return concatenate(found)

    def preprocess(self, images: Images, seed: int = 0) -> Tensor:
        """Return images as the model sees them: float [N, C, H, W].

        For a model of binary images, uint8 ones are binarised from `seed`, 1 with probability
        value / 255, as `npdraw eval-nll` does.

        Raises:
            UsageError: they have another shape, or floats outside of [0, 1].
        """
        parse_settings = self.config.parse
        x = torch.as_tensor(images)
        x = x[:, None] if x.ndim == 3 else x
        side = parse_settings.image_size
        if x.ndim != 4 or not len(x) or list(x.shape[1:]) != [parse_settings.channels, side, side]:
            raise UsageError(
                f"images of shape {list(x.shape)}; this model has "
                f"[N, {parse_settings.channels}, {side}, {side}], N at least 1"
            )
        if x.dtype == torch.uint8:
            return self.network.in_unit(to_levels(x, parse_settings, seed))
        if not (x.is_floating_point() and bool(((x >= 0) & (x <= 1)).all())):
            raise UsageError("images are neither uint8 nor floats in 0..1")
        return x.float()

    def _drawings(self, x: Tensor, make: Callable[[Tensor, range], Latents]) -> Latents:
        """Make drawings of observed images and of which of them they are, some at a time."""
        found = []
        for first in range(0, len(x), BATCH_SIZE):
            some = x[first : first + BATCH_SIZE].to(self.device)
            with torch.no_grad(), self.runtime.autocast(self.device):
                found.append(make(some, range(first, first + len(some))).to(_CPU))
        return concatenate(found)


_CPU = torch.device("cpu")


def _check_drawn(n: int, seed: int, temperature: float) -> None:
    """Raise `UsageError` if so many drawings cannot be asked for."""
    if n < 1 or not temperature > 0:
        raise UsageError(f"{n} drawings at temperature {temperature}: both must be above 0")
    if seed < 0:
        raise UsageError(f"seed {seed} is negative")


def open_model(path: Path, runtime: Runtime) -> DrawingModel:
    """Read a trained model and put it on the device of `runtime`; errors as `read_model`."""
    device = runtime.start()
    network, config, artifact = read_model(path)
    to_device(network, device)
    return DrawingModel(network, config, artifact.header, path, device, runtime)
