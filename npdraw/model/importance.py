"""Importance sampling: a bound on the likelihood from hard samples (docs/model.md, section 7)."""

import math

import torch
from torch import Tensor

from npdraw.model.npdraw import NPDraw

FIGURES = 4
"""Figures per image: nll, rate, distortion, canvas error."""

PASSES = 25
"""Passes through the model, of a batch each, between two chances to stop (about 2 s)."""


def importance_figures(
    model: NPDraw,
    images: Tensor,
    noise: Tensor,
    estimator: str,
    side: int = 1,
    label: Tensor | None = None,
) -> Tensor:
    """Return nll, rate, distortion and canvas error of each image, float64 [N, FIGURES].

    Nll is equation (7.2) for one image, in nats; with the `estimator` "published" it is equation
    (7.5), which is not a bound. Rate and distortion, equation (7.3), are means over the samples;
    the canvas error is that of the first sample. Images are [N, C, H, W] as the model sees them;
    `noise` [N, S, T, 3] in [0, 1) has a row for each sample, of which `side` go through the model
    at once. With `label`, int64 [N], they are those of p(x | label).
    """
    q = model.encode(images)  # once for all samples
    weighted = []
    for some in noise.transpose(0, 1).split(side):  # [S, N, T, 3] -> [side, N, T, 3]
        copies = torch.cat([images] * len(some))
        labels = None if label is None else label.repeat(len(some))
        w = model.importance_sample(copies, q.repeat(len(some)), some.flatten(0, 1), labels)
        gap = w.rate if estimator == "importance" else w.analytic_rate
        terms = torch.stack([-w.distortion - gap, w.rate, w.distortion, w.canvas_error])
        weighted.append(terms.unflatten(1, (len(some), len(images))))
    log_weights, rate, distortion, canvas_error = off_mps(torch.cat(weighted, 1)).double()  # [S, N]
    return torch.stack(
        [-log_mean_exp(log_weights), rate.mean(0), distortion.mean(0), canvas_error[0]], 1
    )


def class_bounds(model: NPDraw, images: Tensor, noise: Tensor, side: int = 1) -> Tensor:
    """Return the bound on log p(x | label) of each image and class in nats, float64 [N, classes].

    Equation (7.2) with p(z | label) in place of p(z). All classes have the same drawings of
    q(z | x), so that the differences between them are those of the prior. Arguments as in
    `importance_figures`.
    """
    prior = model.class_prior
    assert prior is not None  # only models with classes are asked
    q, weighted = model.encode(images), []
    for some in noise.transpose(0, 1).split(side):
        copies = torch.cat([images] * len(some))
        w = model.importance_sample(copies, q.repeat(len(some)), some.flatten(0, 1))
        without_prior = w.log_weight - model.prior.log_prob(w.z)
        labels = torch.arange(prior.classes, device=images.device)
        terms = [prior.log_prob(w.z, label.expand(len(copies))) for label in labels]
        weights = without_prior[:, None] + torch.stack(terms, 1)
        weighted.append(weights.unflatten(0, (len(some), len(images))))
    return log_mean_exp(off_mps(torch.cat(weighted)).double())


def off_mps(values: Tensor) -> Tensor:
    """Return values on a device that computes in float64, as MPS does not: there, on the CPU."""
    return values.cpu() if values.device.type == "mps" else values


def log_mean_exp(log_weights: Tensor) -> Tensor:
    """Return log of the mean of exp over the first axis, [S, N, ...] -> [N, ...]."""
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))


def samples_per_pass(samples: int, batch_size: int) -> int:
    """Return how many samples of an image are weighted in one pass.

    A few images with many samples each fill a batch as well as many images do, at the same speed,
    and finish sooner, so that the evaluation can stop between them.
    """
    return min(batch_size, -(-samples // PASSES))
