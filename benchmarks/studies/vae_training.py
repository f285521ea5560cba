"""Training the VAE by the clock, and evaluating it; all else as NP-DRAW's.

Batches, binarisation, optimisers, learning rate and moving average are those of npdraw's stages,
and so is the importance-sampling estimate.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.studies.vae import VAE
from npdraw.model.importance import log_mean_exp
from npdraw.runtime.noise import batch, generator, uniform
from npdraw.runtime.settings import Runtime
from npdraw.training.state import (
    State,
    ema_weights,
    is_due,
    learning_rate,
    new_state,
    optimizer_step,
    remember_best,
)

WATCHED = 1000
"""Validation images that decide which weights are best, at most."""

LEAST_SAMPLES = 400
"""Posterior samples of which a validation is the mean: a few images are drawn several times."""

JUDGING = 0.1
"""Share of the time that validation may take, but for the first steps."""


@dataclass(frozen=True)
class Settings:
    """How the VAE is trained."""

    latents: int = 32
    steps: int = 1_000_000
    """Most steps: the learning rate falls to 0 there, or at the end of the time if that is first.
    """
    batch_size: int = 128
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    dropout: float = 0.0
    kl_warmup: float = 0.2
    """Share of the training in which the weight of the KL rises from 0 to 1."""
    warmup: float = 0.03
    ema: float = 0.998


@dataclass(frozen=True)
class Trained:
    """What a training was."""

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
    tell: Callable[[str], None],
) -> Trained:
    """Train for `seconds` and leave the weights with the best validation ELBO in the model.

    `images` uint8 [N, C, H, W], `held_out` of values 0..levels - 1. Validation begins at steps 0,
    1, 2, 4, 8, so that few images are stopped in time, and then comes as often as its share of the
    time allows.
    """
    began = judged_at = time.perf_counter()
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
        affordable = (now - judged_at) * JUDGING > cost
        if done == 1 or affordable or (state.step < 16 and is_due(state.step, 16)):
            with ema_weights(state), runtime.autocast(device):
                score = validate(model, held_out[:WATCHED], seed)
            remember_best(state, score)
            tell(f"step {state.step}, {now - began:.0f} s, validation {score:.2f}")
            judged_at = time.perf_counter()
            cost = judged_at - now
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
    """Binarise a batch afresh and take a step down the bound; `done` of the time is over."""
    noise = generator("train", seed, state.step, train.device)
    index = batch(seed, state.step, settings.batch_size, len(train)).to(train.device)
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

    Images of values 0..levels - 1; `index` says which numbers of the data set they have, which key
    the noise.
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
    """Return standard normal numbers [len(index), *shape], each image's from its own stream."""
    chances = uniform("vae", seed, list(index), shape).double()
    return torch.special.ndtri(chances + 2**-25).float()  # in the middle between two floats
