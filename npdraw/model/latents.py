"""Latents of a drawing, z_t = (whether_t, where_t, what_t), and distributions over them.

docs/model.md, section 1; paper, section 3.1. Letters: N images, T steps, O placements, K parts.

A step belongs to one cell of the grid. *Whether* says if the cell is painted, and so holds the
place of a stroke: the prior's distribution over the next cell is stored as hazards of *whether*,
equations (1.3) and (1.4). *Where* is only the offset within the cell, one of its O placements. With
O = 1 (`jitter = 1`, as in every preset) it is always 0 and costs no nats. *What* is the part.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Index = Tensor | slice | tuple[Tensor | slice | int, ...]
"""What selects rows [N], or rows and steps [N, T], of a tensor."""


@dataclass(frozen=True)
class Latents:
    """Hard drawings. A step that does not paint has `where = what = 0` by convention.

    The three tensors are indexed, assigned and mapped together: `z[rows]`, `z[:, steps] = other`,
    `z.map(function)`.
    """

    whether: Tensor
    """bool [N, T]: does the step paint?"""
    where: Tensor
    """int64 [N, T] in 0..O-1: which of the step's placements."""
    what: Tensor
    """int64 [N, T] in 0..K-1: which part of the bank."""

    def __post_init__(self) -> None:
        """Raise `ValueError` if the three differ in shape, or `whether` is not bool."""
        if not self.whether.shape == self.where.shape == self.what.shape:
            shapes = [tuple(x.shape) for x in (self.whether, self.where, self.what)]
            raise ValueError(f"whether, where, what must have one shape, got {shapes}")
        if self.whether.dtype != torch.bool:
            raise ValueError(f"whether must be bool, got {self.whether.dtype}")

    def __len__(self) -> int:
        return self.whether.shape[0]

    def __getitem__(self, index: Index) -> "Latents":
        return self.map(lambda x: x[index])

    def __setitem__(self, index: Index, other: "Latents") -> None:
        """Write `other` into the tensors of these drawings."""
        self.whether[index], self.where[index] = other.whether, other.where
        self.what[index] = other.what

    def map(self, function: Callable[..., Tensor], *others: "Latents") -> "Latents":
        """Apply `function` to each of the three tensors, together with those of `others`."""
        return Latents(
            function(self.whether, *(z.whether for z in others)),
            function(self.where, *(z.where for z in others)),
            function(self.what, *(z.what for z in others)),
        )

    def to(self, device: torch.device) -> "Latents":
        """Return the same drawings on `device`."""
        return self.map(lambda x: x.to(device))

    def clone(self) -> "Latents":
        """Return a copy that shares no memory with these drawings."""
        return self.map(torch.clone)

    def repeat(self, times: int) -> "Latents":
        """Return all drawings `times` times over, [times * N, T]."""
        return self.map(lambda x: x.repeat(times, 1))

    def canonical(self) -> "Latents":
        """Return the drawings with `where = what = 0` at steps that do not paint."""
        return Latents(self.whether, self.where * self.whether, self.what * self.whether)

    def only(self, cells: Tensor) -> "Latents":
        """Return the drawings with their strokes at `cells`, bool [T] or [N, T], and no others.

        One drawing [1, T] is repeated for the rows of `cells`.
        """
        kept = self.whether & cells
        return Latents(kept, self.where * kept, self.what * kept)

    def with_cells(self, cells: Tensor, other: "Latents") -> "Latents":
        """Return the drawings with `cells`, bool [T] or [N, T], taken from `other`.

        One drawing [1, T], in self or in `other`, is repeated for the rows of `cells`.
        """
        return self.map(lambda mine, theirs: torch.where(cells, theirs, mine), other).canonical()

    def differs(self, other: "Latents") -> Tensor:
        """Return at which steps the drawings differ, bool [N, T].

        What is stored at steps that do not paint does not count.
        """
        a, b = self.canonical(), other.canonical()
        return (a.whether != b.whether) | (a.where != b.where) | (a.what != b.what)

    def put_stroke(self, image: int, step: int, where: int, what: int) -> None:
        """Paint `step` of one drawing, in place."""
        self.whether[image, step], self.where[image, step] = True, where
        self.what[image, step] = what

    def one_hot(self, placements: int, parts: int) -> "Relaxed":
        """Return the corner of the relaxed latents that these drawings are."""
        return Relaxed(
            self.whether.float(),
            one_hot(self.where, placements),
            one_hot(self.what, parts),
        )


def one_hot(index: Tensor, size: int) -> Tensor:
    """Return float [..., size] with a 1 at each `index` [...].

    `F.one_hot` reads the indices to check them, which makes the CPU wait for the GPU.
    """
    zeros = torch.zeros(*index.shape, size, device=index.device)
    return zeros.scatter_(-1, index[..., None], 1.0)


def blank(images: int, steps: int, device: torch.device | None = None) -> Latents:
    """Return `images` drawings of `steps` steps that paint nothing."""
    zeros = torch.zeros(images, steps, dtype=torch.int64, device=device)
    return Latents(zeros.bool(), zeros, zeros.clone())


def concatenate(drawings: list[Latents]) -> Latents:
    """Join drawings along N."""
    first, *rest = drawings
    return first.map(lambda *tensors: torch.cat(tensors), *rest)


@dataclass(frozen=True)
class Relaxed:
    """Soft drawings, differentiable; one-hot values are hard drawings."""

    whether: Tensor
    """float [N, T] in [0, 1]."""
    where: Tensor
    """float [N, T, O], sums to 1 over O."""
    what: Tensor
    """float [N, T, K], sums to 1 over K."""


def straight_through(z: Relaxed, rows: int) -> Relaxed:
    """Round the first `rows` of soft drawings to hard ones; gradients pass straight through."""
    return Relaxed(
        _through((z.whether[:rows] > 0.5).float(), z.whether),
        _through(one_hot(z.where[:rows].argmax(2), z.where.shape[2]), z.where),
        _through(one_hot(z.what[:rows].argmax(2), z.what.shape[2]), z.what),
    )


def _through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return the values of `hard` in its rows, with the gradients of `soft` everywhere."""
    shift = torch.zeros_like(soft)
    shift[: len(hard)] = hard - soft[: len(hard)].detach()
    return soft + shift


@dataclass(frozen=True)
class Factors:
    """Distributions of the steps: p(whether), p(where), p(what | where), in fp32.

    `where` and `what` are conditional on painting, so that
    `log p(z_t) = log p(whether_t) + whether_t * (log p(where_t) + log p(what_t | where_t))`.
    """

    whether: Tensor
    """Logits of painting, [N, T]."""
    where: Tensor
    """Log probabilities in nats, [N, T, O]."""
    what: Tensor
    """Log probabilities in nats, [N, T, O, K]; [N, T, 1, K] if what does not depend on where."""

    def __getitem__(self, index: Index) -> "Factors":
        return self.map(lambda x: x[index])

    def map(self, function: Callable[[Tensor], Tensor]) -> "Factors":
        """Apply `function` to each of the three tensors."""
        return Factors(function(self.whether), function(self.where), function(self.what))

    def repeat(self, times: int) -> "Factors":
        """Return the distributions of all images `times` times over, [times * N, T, ...]."""
        return self.map(lambda x: x.repeat(times, *[1] * (x.ndim - 1)))

    def log_prob(self, z: Latents) -> tuple[Tensor, Tensor, Tensor]:
        """Return the nats of whether, where and what at every step, each [N, T].

        Where and what are 0 at steps that do not paint, whatever `z` holds there.
        """
        whether = -F.softplus(torch.where(z.whether, -self.whether, self.whether))
        where = self.where.gather(2, z.where[..., None]).squeeze(2)
        what = self._what_at(z.where).gather(2, z.what[..., None]).squeeze(2)
        zero = torch.zeros((), device=where.device)
        return (
            whether,
            torch.where(z.whether, where, zero),
            torch.where(z.whether, what, zero),
        )

    def joint(self, z: Latents) -> Tensor:
        """Return the log probability of whole drawings in nats, [N], equations (1.5), (6.2)."""
        return torch.stack(self.log_prob(z)).sum((0, 2))

    def _what_at(self, where: Tensor) -> Tensor:
        """Return the log probabilities of what at the given placements, [N, T, K]."""
        if self.what.shape[2] == 1:
            return self.what.squeeze(2)
        index = where[..., None, None].expand(-1, -1, 1, self.what.shape[3])
        return self.what.gather(2, index).squeeze(2)

    def sample(self, uniform: Tensor, temperature: float = 1.0) -> Latents:
        """Draw hard latents by inverting the distribution functions.

        `uniform` [N, T, 3] in [0, 1) decides whether, where and what. `temperature` divides the
        logits of all three.
        """
        whether = uniform[..., 0] < torch.sigmoid(self.whether / temperature)
        where = sample_inverse_cdf(self.where / temperature, uniform[..., 1])
        what = sample_inverse_cdf(self._what_at(where) / temperature, uniform[..., 2])
        return Latents(whether, where, what).canonical()

    def relax(self, uniform: Tensor, temperature: float) -> Relaxed:
        """Draw one soft sample: binary Concrete for whether, Gumbel-softmax for where and what.

        Equation (6.5); Maddison et al. 2017, equations 10 and 16. `uniform` [N, T, 1 + O + K] in
        [0, 1). `what` must not depend on where, as in the encoder.
        """
        tiny = torch.finfo(uniform.dtype).tiny
        bit, rest = uniform[..., :1].clamp(1e-6, 1 - 1e-6), uniform[..., 1:]
        logistic = (bit.log() - torch.log1p(-bit)).squeeze(-1)
        gumbel = -torch.log((-torch.log(rest.clamp_min(tiny))).clamp_min(tiny))
        where_noise, what_noise = gumbel.split([self.where.shape[2], self.what.shape[3]], dim=2)
        return Relaxed(
            torch.sigmoid((self.whether + logistic) / temperature),
            torch.softmax((self.where + where_noise) / temperature, dim=2),
            torch.softmax((self.what.squeeze(2) + what_noise) / temperature, dim=2),
        )

    def kl(self, other: "Factors") -> Tensor:
        """Return KL(self || other) of every step in nats, [N, T], equation (6.9).

        `KL_t = KL(whether) + q_t * (KL(where) + E_{o ~ q} KL(what at o))`, `q_t` the probability
        of painting; the expectation over placements is exact.
        """
        paint = torch.sigmoid(self.whether)
        whether = paint * (F.logsigmoid(self.whether) - F.logsigmoid(other.whether)) + (
            1 - paint
        ) * (F.logsigmoid(-self.whether) - F.logsigmoid(-other.whether))
        q_where, q_what = self.where.exp(), self.what.exp()
        where = (q_where * (self.where - other.where)).sum(2)
        what = (q_what * (self.what - other.what)).sum(3)  # [N, T, O]
        return whether + paint * (where + (q_where * what).sum(2))


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
