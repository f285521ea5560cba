"""Train the VAE for a given time, and evaluate it; everything else is as for NP-DRAW.

Batches, binarisation, optimisers, learning rate, moving average and the importance-sampling
estimate are those of npdraw's stages.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.studies.vae import VAE
from npdraw.model.importance import log_mean_exp
from npdraw.runtime.noise import batch_indices, generator, uniform
from npdraw.runtime.settings import Runtime
from npdraw.training.pauses import is_due
from npdraw.training.state import (
    State,
    ema_weights,
    learning_rate,
    new_state,
    optimizer_step,
    remember_best,
)

VALIDATION_IMAGES = 1000
"""Validation images, at most, by which the best weights are chosen."""

LEAST_SAMPLES = 400
"""Posterior samples, at least, that a validation averages: few images are sampled repeatedly."""

VALIDATION_SHARE = 0.1
"""Share of the time that validation may take, after the first steps."""


@dataclass(frozen=True)
class Settings:
    """Settings of the VAE and its training."""

    latents: int = 32
    steps: int = 1_000_000
    """Steps, at most: the learning rate falls to 0 there, or at the end of the time."""
    batch_size: int = 128
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    dropout: float = 0.0
    kl_warmup: float = 0.2
    """Fraction of the training in which the weight of the KL rises from 0 to 1."""
    warmup: float = 0.03
    ema: float = 0.998


@dataclass(frozen=True)
class Trained:
    """Result of a training."""

    seconds: float
    steps: int
    best_step: int
    validation: float
    """Negative ELBO of the best weights, nats."""


def train(
    model: VAE,
    images: Tensor,
    held_out: Tensor,
    settings: Settings,
    *,
    seconds: float,
    seed: int,
    runtime: Runtime,
    report: Callable[[str], None],
) -> Trained:
    """Train for `seconds` and leave the weights with the best validation ELBO in the model.

    `images` are uint8 [N, C, H, W], `held_out` values 0..levels - 1. Validation takes place at
    steps 0, 1, 2, 4 and 8, because training on few images soon overfits, and then as often as its
    share of the time allows.
    """
    began = validated_at = time.perf_counter()
    device = images.device
    torch.manual_seed(seed)
    model.start_from(images)
    state = new_state(
        model,
        [(model, settings.learning_rate)],
        settings.weight_decay,
        dtype=runtime.dtype(device),
    )
    cost = 0.0
    while True:
        now = time.perf_counter()
        done = min(1.0, max((now - began) / seconds, state.step / settings.steps))
        affordable = (now - validated_at) * VALIDATION_SHARE > cost
        if done == 1 or affordable or (state.step < 16 and is_due(state.step, 16)):
            with ema_weights(state), runtime.autocast(device):
                score = validate(model, held_out[:VALIDATION_IMAGES], seed)
            remember_best(state, score)
            report(f"step {state.step}, {now - began:.0f} s, validation {score:.2f}")
            validated_at = time.perf_counter()
            cost = validated_at - now
        if done == 1:
            break
        train_step(state, model, images, settings, done, seed, runtime)
    model.load_state_dict(state.best)
    model.eval()
    with runtime.autocast(device):
        score = validate(model, held_out, seed)
    return Trained(time.perf_counter() - began, state.step, state.best_step, score)


def train_step(
    state: State,
    model: VAE,
    train: Tensor,
    settings: Settings,
    done: float,
    seed: int,
    runtime: Runtime,
) -> None:
    """Binarise a batch again and take a step on the ELBO; `done` is the fraction of time spent."""
    noise = generator("train", seed, state.step, train.device)
    index = batch_indices(seed, state.step, settings.batch_size, len(train)).to(train.device)
    chances = torch.rand((len(index), *train.shape[1:]), generator=noise, device=train.device)
    normal = torch.randn((len(index), model.latents), generator=noise, device=train.device)
    images = train[index].float() / 255
    if model.levels == 2:
        images = (chances < images).float()
    with runtime.autocast(train.device):
        distortion, kl = model(images, normal)
    weight = min(1.0, done / settings.kl_warmup) if settings.kl_warmup else 1.0
    rate = learning_rate(round(done * 10_000), 10_000, settings.warmup)
    optimizer_step(state, (distortion + weight * kl).mean(), rate, settings.ema)


def validate(model: VAE, images: Tensor, seed: int, chunk: int = 200) -> float:
    """Return the negative ELBO of images of values 0..levels - 1, nats per image."""
    samples = -(-LEAST_SAMPLES // len(images))
    figures = evaluate(model, images, range(len(images)), samples, seed, chunk)
    return float(figures[:, 1:].sum(1).mean())


@torch.no_grad()
def evaluate(
    model: VAE, images: Tensor, index: range | list[int], samples: int, seed: int, chunk: int = 100
) -> Tensor:
    """Return nll, rate and distortion of each image, float64 [N, 3].

    Images have values 0..levels - 1; `index` holds their positions in the data set, which key the
    noise.
    """
    figures = []
    for start in range(0, len(images), chunk):
        x = images[start : start + chunk].float() / (model.levels - 1)
        noise = normals(seed, index[start : start + chunk], (samples, model.latents)).to(x.device)
        q = model.encode(x)
        weighted = [model.importance_sample(x, q, noise[:, s]) for s in range(samples)]
        log_weights = torch.stack([w.log_weight for w in weighted]).double()
        rate = torch.stack([w.rate for w in weighted]).double().mean(0)
        distortion = torch.stack([w.distortion for w in weighted]).double().mean(0)
        figures.append(torch.stack([-log_mean_exp(log_weights), rate, distortion], 1).cpu())
    return torch.cat(figures)


def normals(seed: int, index: range | list[int], shape: tuple[int, ...]) -> Tensor:
    """Return standard normal noise [len(index), *shape], each image's from its own stream."""
    chances = uniform("vae", seed, list(index), shape).double()
    return torch.special.ndtri(chances + 2**-25).float()  # midway between two floats
