"""One step of train-decoder: the losses of the relaxed and the wake phase, and their schedules.

docs/model.md, section 6; the terms of the losses are computed by `NPDraw.relaxed` and
`NPDraw.wake`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from npdraw.config import Config
from npdraw.decoder_config import DecoderConfig
from npdraw.inputs.images import deformed
from npdraw.model.npdraw import NPDraw
from npdraw.model.terms import Relaxation, WakeConfig
from npdraw.runtime.distributed import rank_slice
from npdraw.runtime.noise import batch_indices, generator, seed_dropout
from npdraw.runtime.settings import Runtime, send
from npdraw.training.loss import Loss, Number, take_step
from npdraw.training.state import State, learning_rate


@dataclass(frozen=True)
class Batch:
    """This process's share of a training batch, and the source of the batch's noise."""

    images: Tensor
    """Float [N, C, H, W] in [0, 1], binary if the settings say so."""
    rows: slice
    """Position of the images in the whole batch."""
    size: int
    """Number of images in the whole batch."""
    noise: torch.Generator

    def uniform(self, *shape: int) -> Tensor:
        """Draw noise of the whole batch from [0, 1) and return that of these images, [N, *shape].

        So an image has the same noise for any number of processes.
        """
        device = self.images.device
        return torch.rand((self.size, *shape), generator=self.noise, device=device)[self.rows]


def schedule(step: int, settings: DecoderConfig) -> tuple[float, float]:
    """Return temperature and parse weight at `step` of the relaxed phase.

    The temperature falls geometrically, equation (6.6), and the parse weight linearly to its floor,
    equation (6.7).
    """
    done = step / settings.relaxed_steps
    temperature = settings.temperature * (settings.final_temperature / settings.temperature) ** done
    left = max(0.0, 1 - done / settings.parse_until) if settings.parse_until else 0.0
    floor = settings.final_parse_weight
    return temperature, floor + (settings.parse_weight - floor) * left


def random_maps(count: int, share: float, spread: float, noise: torch.Generator) -> Tensor:
    """Return linear maps [count, 2, 2]: a `share` of them random, the others the identity.

    Entries of a random map are normal, around those of the identity, with standard deviation
    `spread`. Few images are overfitted less when they never look the same twice.
    """
    device = noise.device
    chosen = torch.rand((count, 1, 1), generator=noise, device=device) < share
    entries = spread * torch.randn((count, 2, 2), generator=noise, device=device)
    return torch.eye(2, device=device) + chosen * entries


def train_step(
    state: State,
    model: NPDraw,
    train: Tensor,
    config: Config,
    seed: int,
    runtime: Runtime,
    ground: Tensor | None = None,
) -> dict[str, float]:
    """Draw and binarise a batch of `train` and take one step on the loss of the current phase.

    `train` is uint8 [N, C, H, W]; deformed images have `ground`, [C] in [0, 1], around them.
    Returns the metrics of `optimizer_step`. Each process of a group
    takes its rows of the batch and of the batch's noise.
    """
    settings, step = config.decoder, state.step
    first, decay = settings.relaxed_steps, settings.ema
    seed_dropout(seed, step, state.group.rank)
    drawn = _draw_batch(state, train, config, seed, ground)
    if step < first:  # relaxed phase
        rate = learning_rate(step, first, settings.warmup)
        alone = step % (settings.decoder_alone + 1) > 0
        kind = _decoder_loss(model, drawn) if alone else _relaxed_loss(state, model, drawn, config)
    else:  # wake phase: it has its own schedule, and the moving average starts again
        done = step - first
        rate = settings.wake_rate * learning_rate(done, settings.steps - first, settings.warmup)
        decay = min(decay, (done + 1) / (done + 11))
        kind = _wake_loss(state, model, drawn, settings)
    return take_step(state, kind, drawn.size, rate, decay, runtime)


def _draw_batch(
    state: State, train: Tensor, config: Config, seed: int, ground: Tensor | None
) -> Batch:
    """Return the batch of this step: chosen, deformed and binarised, all keyed by seed and step."""
    device, settings, step = train.device, config.decoder, state.step
    noise = generator("train", seed, step, device)
    index = send(batch_indices(seed, step, settings.batch_size, len(train)), device)
    rows, size = rank_slice(state.group, len(index)), len(index)
    images = train[index[rows]].float() / 255
    if settings.deform > 0 and step < settings.relaxed_steps:
        maps = random_maps(size, 1 - step / settings.relaxed_steps, settings.deform, noise)
        images = deformed(images, maps[rows], ground)
    if config.parse.binarize:
        thresholds = torch.rand((size, *train.shape[1:]), generator=noise, device=device)
        images = (thresholds[rows] < images).float()
    return Batch(images, rows, size, noise)


def _relaxed_loss(state: State, model: NPDraw, drawn: Batch, config: Config) -> Loss:
    """Return the loss of relaxed samples, equation (6.8), and their ELBO, each [N]."""
    settings = config.decoder
    temperature, parse_weight = schedule(state.step, settings)
    uniforms = drawn.uniform(model.layout.steps, model.brush.noise_size)
    # The first rows of the whole batch are rounded; earlier ranks hold some of them.
    hard_rows = max(round(settings.hard_fraction * settings.batch_size) - drawn.rows.start, 0)
    imitate = parse_weight > 0

    def values(images: Tensor, noise: Tensor, temperature: Number, weight: Number) -> list[Tensor]:
        terms = state.replica(images, noise, Relaxation(temperature, hard_rows, imitate=imitate))
        loss = (
            terms.distortion
            + settings.kl_weight * terms.rate
            + weight * terms.parse
            + settings.canvas_weight * terms.canvas
            + settings.stroke_weight * terms.strokes
        )
        return [loss, (terms.distortion + terms.rate).detach()]

    names = ("loss", "relaxed_elbo")
    return Loss(names, values, (drawn.images, uniforms), (temperature, parse_weight), imitate)


def _decoder_loss(model: NPDraw, drawn: Batch) -> Loss:
    """Return -log p(x | z) of hard samples, [N], with gradients for the decoder alone."""
    uniforms = drawn.uniform(model.layout.steps, model.brush.numbers)

    def values(images: Tensor, noise: Tensor) -> list[Tensor]:
        return [model.decoder_alone(images, noise)]

    return Loss(("decoder_loss",), values, (drawn.images, uniforms))


def _wake_loss(state: State, model: NPDraw, drawn: Batch, settings: DecoderConfig) -> Loss:
    """Return the loss of resampled hard drawings, equation (6.11), and the bound."""
    uniforms = drawn.uniform(settings.wake_samples + 1, model.layout.steps, model.brush.numbers)

    def values(images: Tensor, noise: Tensor) -> list[Tensor]:
        wake = state.replica(images, noise, WakeConfig(settings.wake_canvas_weight))
        return [-wake.joint - wake.proposal, wake.nll]

    return Loss(("loss", "wake_nll"), values, (drawn.images, uniforms))
