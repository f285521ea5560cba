"""What a training step asks of the model, and what the model answers.

docs/model.md, sections 6 and 7. Everything is per image, in nats unless stated.
"""

from dataclasses import dataclass

from torch import Tensor

from npdraw.model.latents import Latents


@dataclass(frozen=True)
class Relaxation:
    """How a relaxed sample of a batch is drawn."""

    temperature: float | Tensor
    """Temperature of binary Concrete and Gumbel-softmax, above 0."""
    hard_rows: int = 0
    """The first images of a batch whose latents are hard (`Factors.relax`)."""
    imitate: bool = False
    """Compute the cross-entropy to the parse; otherwise it is 0."""


@dataclass(frozen=True)
class WakeConfig:
    """How one of several hard samples is chosen in the wake phase."""

    canvas_weight: float
    """Weight of the canvas's squared error, in nats per unit; with 0 the chosen sample nearly
    follows the posterior p(z | x)."""


@dataclass(frozen=True)
class Terms:
    """Terms of the loss of a relaxed sample, equation (6.8), each [N]."""

    distortion: Tensor
    """-log p(x | canvas), nats."""
    rate: Tensor
    """Analytic KL(q || p) given the sampled prefix, nats."""
    parse: Tensor
    """Cross-entropy of the parse under q, nats; of each layer given the canvas before it."""
    canvas: Tensor
    """Squared error of the canvas image, summed over pixels and channels."""
    strokes: Tensor
    """Strokes that q expects to paint, given those of earlier layers."""


@dataclass(frozen=True)
class WakeTerms:
    """Log densities of the drawing chosen for each image, equation (6.11), [N], nats."""

    joint: Tensor
    """log p(x, z)."""
    proposal: Tensor
    """log q(z | x)."""
    nll: Tensor
    """-log of the mean of p(x, z) / q(z | x) over all samples, equation (7.2); no gradient."""


@dataclass(frozen=True)
class ImportanceSample:
    """One hard posterior sample and its log densities, each [N], nats."""

    z: Latents
    """The sample."""
    distortion: Tensor
    """-log p(x | z)."""
    rate: Tensor
    """log q(z | x) - log p(z)."""
    analytic_rate: Tensor
    """KL(q || p) given the sampled prefix, in closed form for every step."""
    canvas_error: Tensor
    """Mean over pixels and channels of (canvas image - image)^2."""

    @property
    def log_weight(self) -> Tensor:
        """log w = log p(x | z) + log p(z) - log q(z | x), equation (7.1)."""
        return -self.distortion - self.rate
