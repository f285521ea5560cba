"""A trained model to draw with, from Python: `npdraw.load("mnist")`. The commands use it too."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from npdraw.config import BATCH_SIZE, CLASS_SAMPLES, SAMPLES, Config
from npdraw.drawings import display
from npdraw.drawings.bounds import bounds
from npdraw.drawings.display import Drawings
from npdraw.drawings.preprocess import Images, check_levels, preprocessed
from npdraw.errors import UsageError
from npdraw.header import Header
from npdraw.inputs.classes import check_classes, class_names, label_of
from npdraw.inputs.models import read_model, to_device
from npdraw.model.brush import Brush
from npdraw.model.completion import PARTICLES, complete
from npdraw.model.factors import Factors
from npdraw.model.latents import Latents, concatenate, join_steps
from npdraw.model.layout import Layout
from npdraw.model.npdraw import NPDraw
from npdraw.model.prior import Prior
from npdraw.pictures.sheet import check_candidates, draw, draw_of_classes
from npdraw.runtime.noise import uniform
from npdraw.runtime.settings import Runtime


@dataclass(frozen=True)
class DrawingModel:
    """A trained model: samples, parses, encodes, paints, decodes, evaluates and completes.

    Tensors are on the CPU: N images, C channels, H W pixels of an image and h w of a canvas, T
    steps, K parts of P x P pixels. A drawing is a row of `Drawings`: whether, where and what of
    each step. In a notebook a model shows samples of it, and drawings show themselves.
    """

    network: NPDraw
    config: Config
    header: Header
    path: Path
    device: torch.device
    runtime: Runtime

    __repr__, _repr_html_, _repr_png_ = display.line, display.page, display.sheet
    _sheet = cached_property(display.new_sheet)

    @cached_property
    def layout(self) -> Layout:
        """Where the steps of a drawing place their parts on the canvas."""
        return self.network.layout

    @cached_property
    def brush(self) -> Brush:
        """What strokes are made of: the parts of a bank, or patterns, inks and contrasts."""
        return self.network.brush

    @cached_property
    def parts(self) -> list[Tensor]:
        """Pictures of the parts of each layer, [K, C, P, P] in [0, 1]; see `Brush.pictures`."""
        return [part.cpu() for part in self.brush.pictures()]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that it can draw; none unless `npdraw train-classes` wrote it."""
        return class_names(self.header)

    def sample(
        self,
        n: int = 1,
        seed: int = 0,
        *,
        temperature: float = 1.0,
        label: str | int | None = None,
        candidates: int = 1,
    ) -> Drawings:
        """Return `n` new drawings, those of `npdraw sample --seeds SEED-...`.

        Drawing i depends on the seed `seed` + i alone. `temperature` divides all logits of the
        prior: below 1, drawings are likelier and more alike. `label` is one of `classes`; without
        it, drawings are those of p(z). With `label`, each is the one of `candidates` that most
        probably is of that class (`sheet.draw_of_classes`).

        Raises:
            UsageError: `n` or `temperature` is not above 0, `seed` is negative, the class does not
                exist, or there are several candidates without a class.
        """
        _check_drawn(n, seed, temperature)
        check_candidates(candidates, labelled=label is not None)
        prior, y = self._prior(label)
        seeds = list(range(seed, seed + n))
        with torch.no_grad(), self.runtime.autocast(self.device):
            if y is None:
                return self._shown(draw(prior, seeds, temperature))
            labels = [int(y)] * n
            return self._shown(draw_of_classes(prior, seeds, labels, temperature, candidates))

    def _prior(self, label: str | int | None) -> tuple[Prior, Tensor | None]:
        """Return the prior of drawings of a class, and the label [1] to ask it for."""
        if label is None:
            return self.network.prior, None
        y = label_of(self.header, label)
        assert self.network.class_prior is not None  # it has a class of this name
        return self.network.class_prior, torch.tensor([y], device=self.device)

    def parse(self, images: Images) -> Drawings:
        """Return the drawings that the heuristic parser finds (docs/model.md, section 3).

        Each step takes the part that lowers the squared error of the canvas most. Errors as
        `preprocess`.
        """

        def parsed(x: Tensor, _: range) -> Latents:
            return self.brush.parse(self.layout.shrink(x))

        return self._drawings(self.preprocess(images), parsed)

    def encode(self, images: Images, seed: int | None = None) -> Drawings:
        """Return drawings of images from the posterior q(z | x): the likeliest, or a sample.

        Without a `seed`, a step is painted if its probability is above 1/2, with the likeliest
        placement and part. With a `seed`, drawings are sampled. Errors as `preprocess`.
        """

        def drawn(x: Tensor, index: range) -> Latents:
            if seed is None:
                return self._posterior(x, lambda q, _: q.likeliest())
            shape = self.layout.steps, self.brush.numbers
            noise = uniform("encode", seed, index, shape).to(self.device)
            return self._posterior(x, lambda q, span: q.sample(noise[:, span]))

        return self._drawings(self.preprocess(images, seed or 0), drawn)

    def _posterior(self, x: Tensor, draw: Callable[[Factors, slice], Latents]) -> Latents:
        """Return drawings of images [N, C, H, W], each layer made by `draw` from q of its steps."""
        seen, spans = self.layout.shrink(x), self.layout.spans
        _, layers, _ = self.network.posterior(seen, lambda q, layer, _: draw(q, spans[layer]))
        return join_steps(layers)

    def paint(self, drawings: Latents) -> Tensor:
        """Return the canvases, float [N, C + 1, h, w]: the image and the coverage, in [0, 1].

        Strokes with ink may add up to a little less than 0 or more than 1.

        Raises:
            UsageError: the drawings do not fit the cells, placements and parts of this model.
        """
        drawings = drawings.canonical()
        cells, shape = self.layout.steps, list(drawings.whether.shape)
        if len(shape) != 2 or not shape[0] or shape[1] != cells:
            raise UsageError(
                f"drawings of shape {shape}; this model has [N, {cells}], N at least 1"
            )
        tensors = drawings.tensors()
        if tensors.keys() != {"whether", *self.brush.sizes}:
            raise UsageError(f"drawings of {', '.join(tensors)}; this model has other strokes")
        for name, most in self.brush.sizes.items():
            index = tensors[name]
            if index.min() < 0 or index.max() >= most:
                raise UsageError(
                    f"{name} of the drawings is in {int(index.min())}..{int(index.max())}; "
                    f"this model has 0..{most - 1}"
                )
        with torch.no_grad():
            return self.network.paint(drawings.to(self.device)).cpu()

    def decode(self, canvases: Tensor) -> Tensor:
        """Return the expected images of canvases, float [N, C, H, W] in [0, 1].

        Raises:
            UsageError: the canvases do not have the shape that `paint` returns.
        """
        side = self.config.parse.canvas_side
        shape = [self.config.parse.channels + 1, side, side]
        if canvases.ndim != 4 or not len(canvases) or list(canvases.shape[1:]) != shape:
            raise UsageError(
                f"canvases of shape {list(canvases.shape)}; this model has "
                f"[N, {', '.join(map(str, shape))}], N at least 1"
            )
        images = []
        for chunk in canvases.split(BATCH_SIZE):
            with torch.no_grad(), self.runtime.autocast(self.device):
                images.append(self.network.decode(chunk.to(self.device)).float().cpu())
        return torch.cat(images)

    def nll(self, images: Images, samples: int = SAMPLES, seed: int = 0) -> Tensor:
        """Return the bound on the negative log-likelihood of each image in nats, float64 [N].

        Importance sampling with `samples` hard drawings per image, equation (7.2) of docs/model.md.
        For all test images of a dataset, as uint8, the mean is the `nll` of `npdraw eval-nll`.

        Raises:
            UsageError: `samples` is less than 1, or floats are between the values that the model
                explains, 0 and 1 or multiples of 1 / 255; otherwise as `preprocess`.
        """
        x = self.preprocess(images, seed)
        check_levels(x, self.config.parse)
        return bounds(self.network, x, samples, seed, self.device, self.runtime)

    def classify(self, images: Images, samples: int = CLASS_SAMPLES, seed: int = 0) -> Tensor:
        """Return p(label | image) for each of `classes`, float64 [N, classes].

        By Bayes' rule from the bounds on p(x | label) (`importance.class_bounds`), with all classes
        equally likely before the image is seen.

        Raises:
            UsageError: the model has no classes; otherwise as `nll`.
        """
        check_classes(self.header)
        x = self.preprocess(images, seed)
        check_levels(x, self.config.parse)
        found = bounds(self.network, x, samples, seed, self.device, self.runtime, classes=True)
        return found.softmax(1)

    def complete(
        self,
        given: Latents,
        fixed: Tensor,
        n: int = 1,
        seed: int = 0,
        *,
        temperature: float = 1.0,
        particles: int = PARTICLES,
        label: str | int | None = None,
    ) -> Drawings:
        """Return `n` drawings that keep the cells `fixed`, bool [T], of the drawing `given` [1, T].

        The rest is sampled (docs/model.md, section 5; `npdraw.model.completion`). Completion i has
        the seed `seed` + i. If nothing is fixed, it is `sample`. `label` as there.

        Raises:
            UsageError: `given` is not one drawing, `fixed` is not a mask of its cells, `n`,
                `particles` or `temperature` is not above 0, `seed` is negative, or the class
                does not exist.
        """
        _check_drawn(n, seed, temperature)
        prior, y = self._prior(label)
        cells = torch.Size([self.layout.steps])
        if given.whether.shape != (1, *cells) or fixed.shape != cells or fixed.dtype != torch.bool:
            raise UsageError(
                f"given is of shape {list(given.whether.shape)} and fixed {fixed.dtype} of shape "
                f"{list(fixed.shape)}; expected [1, {cells[0]}] and bool [{cells[0]}]"
            )
        if particles < 1:
            raise UsageError(f"{particles} particles; at least 1 is needed")
        if fixed.all():
            return self._shown(given.canonical().repeat(n))
        shape = self.layout.steps, self.brush.numbers
        drawings: list[Latents] = []
        for number in range(seed, seed + n):
            free = uniform("sample", 0, [number], shape)
            noise = torch.cat([free, uniform("complete", number, range(particles), shape)])
            if not fixed.any():
                drawings.append(self.sample(1, number, temperature=temperature, label=label))
                continue
            with torch.no_grad(), self.runtime.autocast(self.device):
                drawn = complete(
                    prior,
                    given.to(self.device),
                    fixed.to(self.device),
                    noise[None].to(self.device),
                    temperature,
                    y,
                )
            drawings.append(drawn)
        return self._shown(concatenate(drawings))

    def preprocess(self, images: Images, seed: int = 0) -> Tensor:
        """Return images as the model sees them: float [N, C, H, W].

        For a model of binary images, uint8 ones are binarised from `seed`, 1 with probability
        value / 255, as `npdraw eval-nll` does.

        Raises:
            UsageError: the images have another shape, or floats outside [0, 1].
        """
        return preprocessed(images, self.network, self.config.parse, seed)

    def _shown(self, z: Latents) -> Drawings:
        """Return drawings as those of this model, on the CPU."""
        return Drawings(**z.to(_CPU).tensors(), model=self)

    def _drawings(self, x: Tensor, make: Callable[[Tensor, range], Latents]) -> Drawings:
        """Return the drawings that `make` returns for batches of images and their indices."""
        drawings = []
        for first in range(0, len(x), BATCH_SIZE):
            some = x[first : first + BATCH_SIZE].to(self.device)
            with torch.no_grad(), self.runtime.autocast(self.device):
                drawings.append(make(some, range(first, first + len(some))).to(_CPU))
        return self._shown(concatenate(drawings))


_CPU = torch.device("cpu")


def _check_drawn(n: int, seed: int, temperature: float) -> None:
    """Raise `UsageError` if the arguments of `sample` or `complete` are out of range."""
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
