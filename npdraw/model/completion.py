"""Completion: drawings that keep given cells, the rest sampled from p(rest | given).

A prefix is clamped, which is exact. For anything else the given cells depend on free ones before
them, so particles are drawn as far as the next given cells, weighted by the probability of these,
and resampled (sequential importance resampling; Doucet, de Freitas and Gordon 2001, chapter 1).
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from npdraw.model.latents import Factors, Latents, concatenate, sample_inverse_cdf
from npdraw.model.prior import Prior

PARTICLES = 64
"""Drawings in the making for each that is asked for."""


@torch.no_grad()
def complete(
    prior: Prior, given: Latents, fixed: Tensor, uniform: Tensor, temperature: float = 1.0
) -> Latents:
    """Return a drawing for each row of `uniform` that has the given cells of `given`.

    `given` is one drawing, [1, T]; `fixed` bool [T] says which of its cells are given, be they
    painted or blank. `uniform` [N, M + 1, T, 3] in [0, 1): row 0 decides the cells after the last
    given one, as `Prior.sample` does, and all of them if only a prefix is given; the M others are
    those of the particles. Drawing i depends on its own row alone.

    With one particle, or a temperature other than 1, drawings are plausible but not those of
    p(rest | given): with many particles and temperature 1 they are, up to 1 / M.
    """
    images, steps = len(uniform), prior.layout.steps
    free = (~fixed).nonzero().flatten()
    first_free = int(free[0]) if len(free) else steps
    last = int(fixed.nonzero().max()) + 1 if fixed.any() else 0  # cells after it are free
    known = given.repeat(images)
    if last > first_free:
        rows = [
            _chosen(prior, given, fixed, noise[1:], first_free, last, temperature)
            for noise in uniform
        ]
        known = concatenate(rows)
    return prior.sample(uniform[:, 0], temperature=temperature, given=known, given_steps=last)


def _chosen(
    prior: Prior,
    given: Latents,
    fixed: Tensor,
    uniform: Tensor,
    first_free: int,
    last: int,
    temperature: float,
) -> Latents:
    """Return one particle, [1, T], drawn by weight; its cells from `last` on are blank."""
    particles = len(uniform)
    kept = z = given.canonical().repeat(particles)
    weights = torch.zeros(particles, device=uniform.device)
    for free, begin, end in _stretches(fixed.tolist(), first_free, last):
        z = prior.sample(uniform, temperature=temperature, given=z, given_steps=free, until=begin)
        stretch = slice(None), slice(begin, end)
        z[stretch] = kept[stretch]
        factors: Factors = prior(z.one_hot(prior.layout.placements, len(prior.bank)))
        weights = weights + factors[stretch].joint(z[stretch])
        if _effective(weights) < particles / 2:
            # Systematic: one number moves all marks, which are equally far apart. Those of a given
            # cell are free for this, since nothing is drawn there.
            marks = torch.arange(particles, device=fixed.device) + uniform[0, begin, 0]
            z = z[sample_inverse_cdf(weights.expand(particles, -1), marks / particles)]
            weights = torch.zeros_like(weights)
    return z[sample_inverse_cdf(weights, uniform[0, last - 1, 1])[None]]


def _stretches(fixed: list[bool], first_free: int, last: int) -> Iterator[tuple[int, int, int]]:
    """Yield where free cells begin, the given ones after them begin, and these end."""
    end = first_free
    while end < last:
        free = end
        begin = fixed.index(True, free)
        end = fixed.index(False, begin) if False in fixed[begin:last] else last
        yield free, begin, end


def _effective(weights: Tensor) -> float:
    """Return the effective number of particles, 1 / sum of squared normalised weights.

    0 if none can have drawn what is given.
    """
    found = float((2 * weights.logsumexp(0) - (2 * weights).logsumexp(0)).exp())
    return found if math.isfinite(found) else 0.0
