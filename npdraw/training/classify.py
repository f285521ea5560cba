"""Training of the classifier of `npdraw.quality`: to name classes, or to tell two sets apart."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from npdraw.errors import DivergedError
from npdraw.inputs.models import to_device
from npdraw.quality.classifier import Classifier
from npdraw.runtime.noise import batch_indices, generator
from npdraw.runtime.settings import Runtime, send
from npdraw.training.state import (
    State,
    learning_rate,
    new_state,
    optimizer_step,
    seed_weights,
    sync_metrics,
)

BATCH = 128
"""Images in a training step."""

WEIGHT_DECAY, WARMUP, DECAY = 0.01, 0.05, 0.99
"""Weight decay of kernels, share of the steps in which the learning rate rises, and decay per step
of the moving average of the weights."""

AT_ONCE = 500
"""Images classified at once."""

APART_STEPS = 500
"""Training steps of the two-sample test."""

CLASSES_RATE, APART_RATE = 2e-2, 5e-3
"""Peak learning rates for classes and for the two-sample test, where differences are small: at 0.02
it learned nothing about the samples of `mnist` (LOG.md, 2026-11-30)."""

Report = Callable[[int, dict[str, float]], object]
"""Is given the number of steps done and the metrics of the last one."""


class Labelled(NamedTuple):
    """Images with labels."""

    images: Tensor
    """uint8 [N, C, H, W]."""
    labels: Tensor
    """Whole numbers [N], from 0."""


class Schedule(NamedTuple):
    """How a classifier is trained."""

    steps: int
    learning_rate: float
    """Peak of the learning rate."""
    binarize: bool = False
    """Whether each pixel of a batch is drawn, 1 with probability value / 255."""


def trained_classifier(
    data: Labelled,
    classes: int,
    *,
    schedule: Schedule,
    seed: int,
    runtime: Runtime,
    device: torch.device,
    report: Report,
) -> Classifier:
    """Train a classifier on labelled images and return it, on `device`.

    The loss is the cross-entropy; the weights are the moving average of those of the last steps.

    Raises:
        DivergedError: loss, gradient or a weight is not finite.
    """
    seed_weights("features", seed)
    classifier = to_device(Classifier(data.images.shape[1], classes), device)
    rate, dtype = schedule.learning_rate, runtime.dtype(device)
    state = new_state(classifier, [(classifier, rate)], WEIGHT_DECAY, dtype=dtype)
    images, labels = data.images.to(device), data.labels.long().to(device)
    try:
        while state.step < schedule.steps:
            metrics = _step(state, Labelled(images, labels), schedule, seed, runtime)
            report(state.step, metrics)
        sync_metrics(state)
    except DivergedError as error:
        # Here the learning rate is not a setting.
        hint = "Try another --seed, or --precision fp32."
        raise DivergedError(error.message, hint=hint) from error
    classifier.load_state_dict(state.average)
    return classifier.eval()


def _step(
    state: State, data: Labelled, schedule: Schedule, seed: int, runtime: Runtime
) -> dict[str, float]:
    """Take one optimiser step; return its metrics."""
    images, device = data.images, data.images.device
    chosen = send(batch_indices(seed, state.step, min(BATCH, len(images)), len(images)), device)
    batch = images[chosen].float() / 255
    if schedule.binarize:
        noise = generator("features", seed, state.step, device)
        batch = (torch.rand(batch.shape, generator=noise, device=device) < batch).float()
    with runtime.autocast(device):
        loss = F.cross_entropy(state.model(batch).float(), data.labels[chosen])
    return optimizer_step(state, loss, learning_rate(state.step, schedule.steps, WARMUP), DECAY)


@torch.no_grad()
def accuracy(classifier: Classifier, data: Labelled) -> float:
    """Return the share of images, 0 to 1, whose likeliest class is their label."""
    device = classifier.head.weight.device
    right = 0
    for images, labels in zip(data.images.split(AT_ONCE), data.labels.split(AT_ONCE), strict=True):
        found = classifier(images.to(device).float() / 255).argmax(1).cpu()
        right += int((found == labels).sum())
    return right / len(data.labels)


def two_sample_accuracy(
    samples: Tensor,
    images: Tensor,
    *,
    seed: int,
    runtime: Runtime,
    device: torch.device,
    report: Report,
) -> tuple[float, float]:
    """Return the accuracy of a classifier of samples and images, and its standard error.

    The two-sample test of Lopez-Paz and Oquab (2017): the classifier is trained on a random half of
    either set, as many samples as images, and evaluated on the rest. Both are uint8 [N, C, H, W].
    0.5 is what guessing reaches, and so the best that a model can do.

    Raises:
        DivergedError: as `trained_classifier`.
    """
    half = min(len(samples), len(images)) // 2
    noise = generator("two-sample", seed, 0, torch.device("cpu"))
    mixed = [x[torch.randperm(len(x), generator=noise)] for x in (samples, images)]
    labels = torch.arange(2).repeat_interleave(half)
    learned, rest = (
        Labelled(torch.cat([x[first : first + half] for x in mixed]), labels) for first in (0, half)
    )
    classifier = trained_classifier(
        learned,
        2,
        schedule=Schedule(APART_STEPS, APART_RATE),
        seed=seed,
        runtime=runtime,
        device=device,
        report=report,
    )
    share = accuracy(classifier, rest)
    return share, math.sqrt(share * (1 - share) / (2 * half))
