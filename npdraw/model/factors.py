"""Distributions of the latents of a drawing: densities, samples, soft samples, divergences.

docs/model.md, sections 1 and 6; paper, sections 3.1 and 3.3. Letters: N images, T steps, O
placements, K parts, I inks, S contrasts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from npdraw.model.latents import Index, Latents, Relaxed, one_hot

NUMBERS = {"whether": 0, "where": 1, "what": 2, "ink": 3, "contrast": 4}
"""Which of the uniform numbers of a step decides what; plain parts need the first three."""


@dataclass(frozen=True)
class Factors:
    """Distributions of the steps: p(whether), p(where), p(what | where), in fp32.

    All but `whether` are conditional on painting, so that
    `log p(z_t) = log p(whether_t) + whether_t * (log p(where_t) + log p(what_t | where_t))`.
    With ink, p(ink) and p(contrast) are factors too. In the prior, contrast depends on ink, and
    what on both: its factors are those given the ink and the contrast of the drawing at hand.
    """

    whether: Tensor
    """Logits of painting, [N, T]."""
    where: Tensor
    """Log probabilities in nats, [N, T, O]."""
    what: Tensor
    """Log probabilities in nats, [N, T, O, K]; [N, T, 1, K] if what does not depend on where."""
    ink: Tensor | None = None
    """Log probabilities in nats, [N, T, I]; None for plain parts."""
    contrast: Tensor | None = None
    """Log probabilities in nats, [N, T, S]; None as `ink`."""
    candidates: Tensor | None = None
    """int64 [N, T, M]: the parts that `what`, [N, T, O, M], is about; None: all K, in their order.
    In a posterior, other parts have probability 0; in a prior, theirs are not listed."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by name, without those that are None."""
        named = {"whether": self.whether, "where": self.where, "what": self.what}
        listed = {} if self.candidates is None else {"candidates": self.candidates}
        return named | self._colours() | listed

    def _colours(self) -> dict[str, Tensor]:
        """Return the log probabilities of ink and contrast; empty for plain parts."""
        if self.ink is None or self.contrast is None:
            return {}
        return {"ink": self.ink, "contrast": self.contrast}

    def __getitem__(self, index: Index) -> "Factors":
        return self.map(lambda x: x[index])

    def map(self, function: Callable[[Tensor], Tensor]) -> "Factors":
        """Apply `function` to each of the tensors."""
        return Factors(**{name: function(x) for name, x in self.tensors().items()})

    def repeat(self, times: int) -> "Factors":
        """Return the distributions of all images `times` times over, [times * N, T, ...]."""
        return self.map(lambda x: x.repeat(times, *[1] * (x.ndim - 1)))

    def log_prob(self, z: Latents) -> dict[str, Tensor]:
        """Return the nats of whether, where, what, ink and contrast at every step, each [N, T].

        All but whether are 0 at steps that do not paint, whatever `z` holds there.
        """
        nats = {"whether": -F.softplus(torch.where(z.whether, -self.whether, self.whether))}
        index, zero = z.tensors(), torch.zeros((), device=self.where.device)
        choices = {"where": self.where, "what": self._what_at(z.where), **self._colours()}
        for name, log_prob in choices.items():
            if name == "what" and self.candidates is not None:
                listed = self.candidates == z.what[..., None]
                chosen = log_prob.masked_fill(~listed, float("-inf")).amax(2)
            else:
                chosen = log_prob.gather(2, index[name][..., None]).squeeze(2)
            nats[name] = torch.where(z.whether, chosen, zero)
        return nats

    def _part(self, index: Tensor) -> Tensor:
        """Return the parts at `index` [N, T] of what, int64 [N, T]."""
        if self.candidates is None:
            return index
        return self.candidates.gather(2, index[..., None]).squeeze(2)

    def joint(self, z: Latents) -> Tensor:
        """Return the log probability of whole drawings in nats, [N], equations (1.5), (6.2)."""
        return torch.stack(list(self.log_prob(z).values())).sum((0, 2))

    def _what_at(self, where: Tensor) -> Tensor:
        """Return the log probabilities of what at the given placements, [N, T, K]."""
        if self.what.shape[2] == 1:
            return self.what.squeeze(2)
        index = where[..., None, None].expand(-1, -1, 1, self.what.shape[3])
        return self.what.gather(2, index).squeeze(2)

    def sample(
        self, uniform: Tensor, temperature: float = 1.0, *, canonical: bool = True
    ) -> Latents:
        """Draw hard latents by inverting the distribution functions.

        `uniform` [N, T, 3] in [0, 1), with ink [N, T, 5], has a number for each factor, in the
        order of `NUMBERS`. `temperature` divides all logits. No factor depends on ink or contrast.
        If not `canonical`, steps that do not paint keep what they would have painted.
        """
        whether = uniform[..., 0] < torch.sigmoid(self.whether / temperature)
        where = sample_inverse_cdf(self.where / temperature, uniform[..., 1])
        what = sample_inverse_cdf(self._what_at(where) / temperature, uniform[..., 2])
        colours = {
            name: sample_inverse_cdf(log_prob / temperature, uniform[..., NUMBERS[name]])
            for name, log_prob in self._colours().items()
        }
        z = Latents(whether, where, self._part(what), **colours)
        return z.canonical() if canonical else z

    def likeliest(self) -> Latents:
        """Return the likeliest drawings: each factor's mode; what must not depend on where."""
        what = self._part(self.what.squeeze(2).argmax(2))
        colours = {name: log_prob.argmax(2) for name, log_prob in self._colours().items()}
        return Latents(self.whether > 0, self.where.argmax(2), what, **colours).canonical()

    def relax(self, uniform: Tensor, temperature: float | Tensor, hard_rows: int = 0) -> Relaxed:
        """Draw one sample: binary Concrete for whether, Gumbel-softmax for where and what.

        Equation (6.5); Maddison et al. 2017, equations 10 and 16. `uniform` [N, T, 1 + O + K], with
        ink [N, T, 1 + O + M + I + S], in [0, 1), M candidates of K parts. No factor may depend on
        another, as in the encoder. The first `hard_rows` samples are hard, see `_Hard`.
        """
        tiny = torch.finfo(uniform.dtype).tiny
        bit, rest = uniform[..., :1].clamp(1e-6, 1 - 1e-6), uniform[..., 1:]
        logistic = bit.log() - torch.log1p(-bit)
        gumbel = -torch.log((-torch.log(rest.clamp_min(tiny))).clamp_min(tiny))
        choices = {"where": self.where, "what": self.what.squeeze(2), **self._colours()}
        noises = gumbel.split([x.shape[2] for x in choices.values()], dim=2)
        drawn = {
            name: _draw(log_prob, noise, temperature, hard_rows)
            for (name, log_prob), noise in zip(choices.items(), noises, strict=True)
        }
        # Whether is a choice of two; logistic noise is the difference of their Gumbel noises.
        paint = F.logsigmoid(torch.stack([self.whether, -self.whether], 2))
        whether = _draw(paint, F.pad(logistic, (0, 1)), temperature, hard_rows)[..., 0]
        return Relaxed(whether, **drawn, candidates=self.candidates)

    def kl(self, other: "Factors") -> Tensor:
        """Return KL(self || other) of every step in nats, [N, T], equation (6.9).

        `KL_t = KL(whether) + q_t * (KL(where) + E_{o ~ q} KL(what at o))`, `q_t` the probability
        of painting; the expectation over placements is exact. With ink, KL(ink) and KL(contrast)
        are added to those of where and what. Both must list the same candidates.
        """
        paint = torch.sigmoid(self.whether)
        whether = paint * (F.logsigmoid(self.whether) - F.logsigmoid(other.whether)) + (
            1 - paint
        ) * (F.logsigmoid(-self.whether) - F.logsigmoid(-other.whether))
        q_where, q_what = self.where.exp(), self.what.exp()
        where = (q_where * (self.where - other.where)).sum(2)
        what = (q_what * (self.what - other.what)).sum(3)  # [N, T, O]
        stroke = where + (q_where * what).sum(2)
        theirs = other.tensors()
        for name, log_prob in self._colours().items():
            stroke = stroke + (log_prob.exp() * (log_prob - theirs[name])).sum(2)
        return whether + paint * stroke


def _draw(log_prob: Tensor, noise: Tensor, temperature: float | Tensor, hard_rows: int) -> Tensor:
    """Draw a choice with Gumbel noise, [N, T, choices], the first `hard_rows` of them hard."""
    noisy = log_prob + noise
    if hard_rows == 0:
        return torch.softmax(noisy / temperature, 2)
    hard: Tensor = _Hard.apply(log_prob[:hard_rows], noisy[:hard_rows].argmax(2))
    if hard_rows >= len(noisy):
        return hard
    return torch.cat([hard, torch.softmax(noisy[hard_rows:] / temperature, 2)])


class _Hard(torch.autograd.Function):
    """Choices as corners with the gradients of ReinMax, equation (6.15).

    Liu et al. 2023, algorithm 2 with temperature 1. On average they are exact where the loss is
    quadratic in the choice; straight-through gradients are exact only where it is linear.
    """

    @staticmethod
    def forward(ctx: Any, log_prob: Tensor, index: Tensor) -> Tensor:
        """Return the corner of each `index` [N, T] of `log_prob` [N, T, choices]."""
        corner = one_hot(index, log_prob.shape[2])
        ctx.save_for_backward(log_prob.exp(), corner)
        return corner

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        """Return the gradients for the log probabilities."""
        (prob, corner), (slope,) = ctx.saved_tensors, upstream
        mean = ((prob + corner) * slope).sum(2, keepdim=True) / 2
        return prob * (slope / 2 - mean) + corner * (slope - mean), None


def join_factors(layers: list[Factors]) -> Factors:
    """Join the distributions of layers along T."""
    if len(layers) == 1:
        return layers[0]
    tensors = [f.tensors() for f in layers]
    return Factors(**{name: torch.cat([t[name] for t in tensors], 1) for name in tensors[0]})


def sample_inverse_cdf(log_prob: Tensor, uniform: Tensor) -> Tensor:
    """Draw an index from softmax(`log_prob`): where its distribution function passes `uniform`.

    `log_prob` [..., K], `uniform` [...] in [0, 1); the result is int64 [...] in 0..K-1.
    """
    if log_prob.shape[-1] == 1:
        return torch.zeros_like(uniform, dtype=torch.int64)
    cumulative = torch.softmax(log_prob, -1).cumsum(-1)
    # The total is 1 up to rounding; scaling by it keeps a uniform near 1 inside the support.
    index = (cumulative <= uniform[..., None] * cumulative[..., -1:]).sum(-1)
    return index.clamp_max(log_prob.shape[-1] - 1)
