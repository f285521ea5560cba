"""Train a rival for a given time and keep its best weights; all else is as for NP-DRAW.

Batches, binarisation, optimisers, learning rate and moving average are those of npdraw's stages.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.rivals.rival import Rival, bound
from npdraw.datasets.splits import evenly_spaced
from npdraw.runtime.noise import batch_indices, generator
from npdraw.runtime.settings import Runtime
from npdraw.training.state import (
    State,
    ema_weights,
    learning_rate,
    new_state,
    optimizer_step,
    remember_best,
    sync_metrics,
)

VALIDATION_IMAGES = 500
"""Held-out images, at most, that validations during training use."""

VALIDATIONS = 20
"""Validations in a training, at equal distances in time."""

AT_ONCE = 100
"""Images evaluated or drawn at once."""


@dataclass(frozen=True)
class Settings:
    """How a rival is trained."""

    batch_size: int = 128
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    warmup: float = 0.03
    """Share of the training in which the learning rate rises."""
    ema: float = 0.998
    precision: str = "auto"
    """As `--precision`: recurrent states and the densities of what they draw need fp32."""


@dataclass(frozen=True)
class Trained:
    """Result of a training."""

    seconds: float
    steps: int
    best_step: int
    validation: float
    """Bound of one sample of the best weights on held-out images, nats."""


def train(
    model: Rival,
    images: Tensor,
    held_out: Tensor,
    settings: Settings,
    *,
    seconds: float,
    seed: int,
    levels: int,
    runtime: Runtime,
    report: Callable[[str], None],
) -> Trained:
    """Train for `seconds` and leave the weights with the best validation in the model.

    `images` are uint8 [N, C, H, W], `held_out` [M, C, H, W] in [0, 1]. The learning rate falls to 0
    at the end of the time. Nine parameters, because none follows from another.
    """
    device = images.device
    state = new_state(
        model,
        [(model, settings.learning_rate)],
        settings.weight_decay,
        dtype=runtime.dtype(device),
    )
    chosen = evenly_spaced(len(held_out), min(VALIDATION_IMAGES, len(held_out)))
    watched = held_out[torch.from_numpy(chosen)]
    began, validated = time.perf_counter(), 0
    model.train()
    while True:
        done = min(1.0, (time.perf_counter() - began) / seconds)
        if done * VALIDATIONS >= validated + 1:
            validated = int(done * VALIDATIONS)
            sync_metrics(state)
            with ema_weights(state), runtime.autocast(device):
                score = float(evaluate(model, watched, 1, seed).mean())
            remember_best(state, score)
            report(f"{done:4.0%}, step {state.step}, validation {score:.2f} nats")
        if done == 1:
            break
        _step(state, model, images, settings, done, seed, levels, runtime)
    model.load_state_dict(state.best)
    model.eval()
    return Trained(time.perf_counter() - began, state.step, state.best_step, state.best_score)


def _step(
    state: State,
    model: Rival,
    train_images: Tensor,
    settings: Settings,
    done: float,
    seed: int,
    levels: int,
    runtime: Runtime,
) -> None:
    """Take a step on the loss of a batch, binarised again if pixels have two values."""
    device = train_images.device
    noise = generator("train", seed, state.step, device)
    index = batch_indices(seed, state.step, settings.batch_size, len(train_images)).to(device)
    images = train_images[index].float() / 255
    if levels == 2:
        images = (torch.rand(images.shape, generator=noise, device=device) < images).float()
    torch.manual_seed(seed + state.step)  # dropout
    with runtime.autocast(device):
        loss = model.loss(images, noise, done).float().mean()
    rate = learning_rate(round(done * 10_000), 10_000, settings.warmup)
    optimizer_step(state, loss, rate, settings.ema)


def evaluate(model: Rival, images: Tensor, samples: int, seed: int) -> Tensor:
    """Return an upper bound on -log p(x) of images [N, C, H, W] in [0, 1], float64 [N]."""
    parts = enumerate(images.split(AT_ONCE))
    return torch.cat(
        [bound(model, x, samples, generator("rival", seed, k, images.device)) for k, x in parts]
    )


def drawn(model: Rival, count: int, seed: int, device: torch.device) -> Tensor:
    """Return samples, [count, C, H, W] in [0, 1]."""
    sizes = [min(AT_ONCE, count - first) for first in range(0, count, AT_ONCE)]
    noises = (generator("drawn", seed, k, device) for k in range(len(sizes)))
    return torch.cat([model.sample(n, noise) for n, noise in zip(sizes, noises, strict=True)])
