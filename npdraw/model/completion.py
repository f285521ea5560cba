"""Completion: keep given cells of a drawing and sample the rest from p(rest | given).

docs/model.md, section 5. A given prefix is clamped, which is exact. Otherwise given cells depend on
free cells before them, so particles are drawn up to the next stretch of given cells, weighted by
the probability of that stretch, and resampled (sequential importance resampling; Doucet, de Freitas
and Gordon 2001, chapter 1).
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from npdraw.model.factors import Factors, sample_inverse_cdf
from npdraw.model.latents import Latents, concatenate
from npdraw.model.prior import Prior

PARTICLES = 64
"""Particles for each completion."""


@torch.no_grad()
def complete(
    prior: Prior,
    given: Latents,
    fixed: Tensor,
    uniform: Tensor,
    temperature: float = 1.0,
    label: Tensor | None = None,
) -> Latents:
    """Return one drawing that keeps the given cells of `given` for each row of `uniform`.

    `given` is one drawing, [1, T]; `fixed` bool [T] marks the cells that are kept, painted or
    blank. `uniform` [N, M + 1, T, numbers of the brush] in [0, 1): row 0 decides the cells after
    the last given one, as in `Prior.sample`, and all of them if only a prefix is given; the M
    others are for the particles. Drawing i depends on its own row alone. A prior with classes needs
    the `label` of the drawing, int64 [1].

    With temperature 1 and M particles, drawings follow p(rest | given) up to an error of order
    1 / M. With one particle, or another temperature, they are plausible but follow it less closely.
    """
    images, steps = len(uniform), prior.layout.steps
    free = (~fixed).nonzero().flatten()
    first_free = int(free[0]) if len(free) else steps
    last = int(fixed.nonzero().max()) + 1 if fixed.any() else 0  # cells after it are free
    known = given.repeat(images)
    if last > first_free:
        rows = [
            _chosen(prior, given, fixed, noise[1:], (first_free, last), temperature, label)
            for noise in uniform
        ]
        known = concatenate(rows)
    return prior.sample(
        uniform[:, 0],
        temperature=temperature,
        given=known,
        given_steps=last,
        label=None if label is None else label.expand(images),
    )


def _chosen(
    prior: Prior,
    given: Latents,
    fixed: Tensor,
    uniform: Tensor,
    span: tuple[int, int],
    temperature: float,
    label: Tensor | None,
) -> Latents:
    """Return one particle, [1, T], chosen by its weight.

    `span` are the first free cell and the one after the last given cell; cells from there on are
    blank.
    """
    particles, (first_free, last) = len(uniform), span
    labels = None if label is None else label.expand(particles)
    kept = z = given.canonical().repeat(particles)
    weights = torch.zeros(particles, device=uniform.device)
    for free, begin, end in _stretches(fixed.tolist(), first_free, last):
        # Draw the free cells, and put in the given ones after them.
        z = prior.sample(
            uniform,
            temperature=temperature,
            given=z,
            given_steps=free,
            until=begin,
            label=labels,
        )
        stretch = slice(None), slice(begin, end)
        z[stretch] = kept[stretch]

        # Weight by the probability of the given cells, equation (5.7).
        factors: Factors = prior(prior.brush.one_hot(z), label=labels)
        weights = weights + factors[stretch].joint(z[stretch])

        if _effective(weights) < particles / 2:
            # Systematic resampling: one number shifts evenly spaced marks. A given cell's number is
            # free for this, since nothing is drawn there.
            marks = torch.arange(particles, device=fixed.device) + uniform[0, begin, 0]
            z = z[sample_inverse_cdf(weights.expand(particles, -1), marks / particles)]
            weights = torch.zeros_like(weights)
    return z[sample_inverse_cdf(weights, uniform[0, last - 1, 1])[None]]


def _stretches(fixed: list[bool], first_free: int, last: int) -> Iterator[tuple[int, int, int]]:
    """Yield where free cells begin, where the given cells after them begin, and where they end."""
    end = first_free
    while end < last:
        free = end
        begin = fixed.index(True, free)
        end = fixed.index(False, begin) if False in fixed[begin:last] else last
        yield free, begin, end


def _effective(weights: Tensor) -> float:
    """Return the effective number of particles, 1 / sum of squared normalised weights.

    0 if the given cells have probability 0 under all of them.
    """
    number = float((2 * weights.logsumexp(0) - (2 * weights).logsumexp(0)).exp())
    return number if math.isfinite(number) else 0.0
