"""Train a rival for a given time and keep its best weights.

Batches, binarisation, optimisers and the schedule of learning rates are those of npdraw's stages.
Time is processor time, so that other work on the machine takes nothing away from a model.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.rivals.rival import Rival, log_weights
from benchmarks.rivals.settings import Settings
from npdraw.datasets.splits import evenly_spaced
from npdraw.model.importance import log_mean_exp
from npdraw.runtime.noise import batch_indices, generator, seed_dropout
from npdraw.runtime.settings import Runtime
from npdraw.training.pauses import is_due
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

LEAST_SAMPLES = 400
"""Samples, at least, that a validation averages: few images are sampled repeatedly."""

VALIDATION_SHARE = 0.05
"""Share of the time that validations may take, after the first steps."""

FIRST_STEPS = 16
"""Steps in which validations are due at 0, 1, 2, 4 and 8: few images are soon overfitted."""

AT_ONCE = 100
"""Images evaluated or drawn at once."""


@dataclass(frozen=True)
class Trained:
    """Result of a training."""

    seconds: float
    steps: int
    best_step: int
    validation: float
    """Negative ELBO of the best weights on the held-out images of validations, nats."""


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
    """Train for `seconds` of processor time; leave the weights with the best validation in `model`.

    `images` are uint8 [N, C, H, W], `held_out` [M, C, H, W] in [0, 1]. The learning rate falls to 0
    at the end of the time, or at the last of the settings' steps. Nine parameters, because none
    follows from another.
    """
    device = images.device
    began = validated_at = time.process_time()
    model.start_from(images)
    state = new_state(
        model,
        [(model, settings.learning_rate)],
        settings.weight_decay,
        dtype=runtime.dtype(device),
    )
    chosen = evenly_spaced(len(held_out), min(VALIDATION_IMAGES, len(held_out)))
    watched, cost = held_out[torch.from_numpy(chosen)], 0.0
    samples = -(-LEAST_SAMPLES // len(watched))
    model.train()
    while True:
        now = time.process_time()
        done = min(1.0, max((now - began) / seconds, state.step / settings.steps))
        affordable = (now - validated_at) * VALIDATION_SHARE > cost
        early = state.step < FIRST_STEPS and is_due(state.step, FIRST_STEPS)
        if done == 1 or affordable or early:
            sync_metrics(state)
            with ema_weights(state), runtime.autocast(device):
                score = float(evaluate(model, watched, samples, seed)[:, 1].mean())
            remember_best(state, score)
            report(f"{done:4.0%}, step {state.step}, validation {score:.2f} nats")
            validated_at = time.process_time()
            cost = validated_at - now
        if done == 1:
            break
        _step(state, model, images, settings, done, seed, levels, runtime)
    model.load_state_dict(state.best)
    model.eval()
    return Trained(time.process_time() - began, state.step, state.best_step, state.best_score)


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
    seed_dropout(seed, state.step, 0)
    with runtime.autocast(device):
        loss = model.loss(images, noise, done).float().mean()
    rate = learning_rate(round(done * 10_000), 10_000, settings.warmup)
    optimizer_step(state, loss, rate, settings.ema)


def evaluate(model: Rival, images: Tensor, samples: int, seed: int) -> Tensor:
    """Return an upper bound on -log p(x) and the negative ELBO of images, float64 [N, 2].

    The bound is equation (7.2) with S = `samples`; images are [N, C, H, W] in [0, 1]. Without
    samples, both are the same.
    """
    figures = []
    for number, some in enumerate(images.split(AT_ONCE)):
        weights = log_weights(model, some, samples, generator("rival", seed, number, images.device))
        figures.append(torch.stack([-log_mean_exp(weights), -weights.mean(0)], 1))
    return torch.cat(figures)


def drawn(model: Rival, count: int, seed: int, device: torch.device) -> Tensor:
    """Return samples, [count, C, H, W] in [0, 1]."""
    sizes = [min(AT_ONCE, count - first) for first in range(0, count, AT_ONCE)]
    noises = (generator("drawn", seed, k, device) for k in range(len(sizes)))
    return torch.cat([model.sample(n, noise) for n, noise in zip(sizes, noises, strict=True)])
