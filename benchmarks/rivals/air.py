"""Attend, Infer, Repeat (Eslami et al. 2016): a count of objects, where each is, and what it is.

A recurrent encoder decides step by step whether there is another object, where it is (scale and
position) and what it looks like (a Gaussian code of its glimpse). A decoder turns each code into a
patch, and patches are added where their objects are. Gradients of the count are those of the score
function, with a learned baseline (Eslami et al. 2016, section 2.2; NVIL, Mnih and Gregor 2014).

As in the paper, except that pixels are binary, or have 256 values, with a likelihood of their own,
so that nats can be compared; and that the prior is learned: the probability of a further object,
and the means and standard deviations of where objects are. The paper's digits are anywhere in the
image; those of MNIST are in the middle.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.rivals.rival import Rival
from benchmarks.rivals.vae import LARGEST_LOG_SCALE, Gaussian, standard_normal
from npdraw.model.likelihood import likelihood_of

EMPTY = -3.0
"""Initial logit of ink outside all objects. With a canvas that starts as the mean image, objects
explain so little in the first steps that the model learns to use none."""

WHERE = 3
"""Numbers that say where an object is: scale, right and down."""

SPREAD = 0.5, 1.0, 1.0
"""Standard deviations in the prior, at first, of the log scale of an object and of its position
before the hyperbolic tangent; the means are 0: in the middle, and as large as the image."""


def placed(patches: Tensor, where: Tensor, size: tuple[int, int]) -> Tensor:
    """Return patches [N, C, P, P] on empty images of `size`, [N, C, H, W]."""
    scale, shift = _scale_and_shift(where)
    maps = torch.eye(2, 3, device=where.device) / scale[:, None, None]
    maps[:, :, 2] = -shift / scale[:, None]
    grid = F.affine_grid(maps, [*patches.shape[:2], *size], align_corners=False)
    return F.grid_sample(patches, grid, align_corners=False)


def glimpse(images: Tensor, where: Tensor, side: int) -> Tensor:
    """Return the patches of images [N, C, H, W] where objects are, [N, C, side, side]."""
    scale, shift = _scale_and_shift(where)
    maps = torch.eye(2, 3, device=where.device) * scale[:, None, None]
    maps[:, :, 2] = shift
    size = [*images.shape[:2], side, side]
    grid = F.affine_grid(maps, size, align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _scale_and_shift(where: Tensor) -> tuple[Tensor, Tensor]:
    """Return scales [N], 1 for the whole image, and shifts [N, 2], within the image."""
    scale = where[:, 0].exp().clamp(0.05, 2)
    return scale, torch.tanh(where[:, 1:])


@dataclass(frozen=True)
class Objects:
    """The objects drawn for each image, and log densities, [N] each, nats."""

    canvas: Tensor
    count_rate: Tensor
    """log q - log p of the decisions whether there is another object."""
    rate: Tensor
    """log q - log p of what and where of the objects that there are."""
    kl: Tensor
    """The same in closed form, given the decisions."""
    scores: Tensor
    """log q of each decision, [N, most], with gradients."""
    baselines: Tensor
    """What the loss is expected to be before each decision, [N, most], with their own gradients."""


class AIR(Rival):
    """Encoder, decoder of patches, and likelihood."""

    deterministic = False

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        levels: int,
        most: int = 3,
        latents: int = 32,
        states: int = 256,
        hidden: int = 256,
        patch: int = 20,
        kl_warmup: float = 0.0,
    ) -> None:
        """Images have the `shape` (channels, height, width) and pixels `levels` values, 2 or 256.

        There are at most `most` objects. In the first `kl_warmup` of the training the weight of all
        rates rises from 0 to 1.
        """
        super().__init__()
        self.shape, self.most, self.latents, self.patch = shape, most, latents, patch
        self.warmup = kl_warmup
        self.likelihood = likelihood_of(levels)
        channels, height, width = shape
        pixels = channels * height * width
        self.outputs = self.likelihood.outputs(channels)
        self.seen = nn.Sequential(nn.Linear(pixels, hidden), nn.SiLU())
        self.encoder = nn.LSTMCell(hidden + 1 + WHERE + latents, states)
        self.present_head = nn.Linear(states, 1)
        self.where_head = nn.Linear(states, 2 * WHERE)
        self.what = nn.Sequential(nn.Linear(channels * patch**2, hidden), nn.SiLU())
        self.what_head = nn.Linear(hidden + states, 2 * latents)
        self.decoder = nn.Sequential(
            nn.Linear(latents, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
        )
        self.patch_head = nn.Linear(hidden, self.outputs * patch**2)
        self.baseline = nn.Sequential(
            nn.Linear(states + hidden, hidden), nn.SiLU(), nn.Linear(hidden, 1)
        )
        self.another = nn.Parameter(torch.zeros(most))
        self.middle = nn.Parameter(torch.zeros(WHERE))
        self.spread = nn.Parameter(torch.tensor(SPREAD))
        start = self.likelihood.start(channels)
        empty = torch.full((self.outputs,), EMPTY) if start is None else start
        self.background = nn.Parameter(empty[:, None, None])
        # There are objects at first, or none would ever be learned.
        nn.init.constant_(self.present_head.bias, 3.0)

    def loss(self, images: Tensor, noise: torch.Generator, done: float) -> Tensor:
        """Return the negative ELBO, [N], with terms whose gradients are those of the decisions.

        Their values are 0: `(loss - baseline) * (score - score)` for each decision, and likewise
        the squared error of its baseline, which knows nothing of this decision or later ones.
        """
        weight = min(1.0, done / self.warmup) if self.warmup else 1.0
        drawn = self._draw(images, noise)
        distortion = -self.likelihood.log_prob(drawn.canvas, images)
        loss = distortion + weight * (drawn.kl + drawn.count_rate)
        missing = loss.detach()[:, None] - drawn.baselines
        gradients = (missing.detach() * drawn.scores).sum(1) + missing.square().sum(1) / 100
        return loss + gradients - gradients.detach()

    def log_weight(self, images: Tensor, noise: torch.Generator) -> Tensor:
        """Return log p(x, z) - log q(z | x) of one z ~ q, [N]."""
        drawn = self._draw(images, noise)
        return self.likelihood.log_prob(drawn.canvas, images) - drawn.count_rate - drawn.rate

    def _draw(self, images: Tensor, noise: torch.Generator) -> Objects:
        """Draw objects for each image from q, one at a time."""
        count = len(images)
        seen = self.seen(2 * images.flatten(1) - 1)
        state = seen.new_zeros(count, self.encoder.hidden_size)
        states = state, state
        canvas = self.background.expand(count, -1, *self.shape[1:])
        present = seen.new_ones(count)
        last = seen.new_zeros(count, 1 + WHERE + self.latents)
        count_rate = rate = kl = baseline = seen.new_zeros(count)
        scores, baselines = [], []
        for step in range(self.most):
            states = self.encoder(torch.cat([seen, last], 1), states)
            h = states[0]
            baseline = baseline + present * self.baseline(torch.cat([h, seen], 1).detach())[:, 0]
            baselines.append(baseline)
            logit = self.present_head(h).squeeze(1)
            chance = torch.rand(count, generator=noise, device=h.device)
            found = (chance < torch.sigmoid(logit)).to(h.dtype) * present
            chosen = present * _log_bernoulli(logit, found)
            count_rate = count_rate + chosen.detach()
            count_rate = count_rate - present * _log_bernoulli(self.another[step], found)
            scores.append(chosen)
            present = found
            where, q_where = self._gaussian(self.where_head(h), noise)
            patches = glimpse(images, self._place(where), self.patch).flatten(1)
            features = torch.cat([self.what(2 * patches - 1), h], 1)
            what, q_what = self._gaussian(self.what_head(features), noise)
            for z, q in ((where, q_where), (what, q_what)):
                rate = rate + present * (q.log_prob(z) - standard_normal(z))
                kl = kl + present * q.kl()
            canvas = canvas + present[:, None, None, None] * self._object(where, what)
            last = torch.cat([present[:, None], where, what], 1) * present[:, None]
        decisions = torch.stack(scores, 1), torch.stack(baselines, 1)
        return Objects(canvas, count_rate, rate, kl, *decisions)

    def _gaussian(self, numbers: Tensor, noise: torch.Generator) -> tuple[Tensor, Gaussian]:
        """Return a sample and its distribution, from twice as many numbers."""
        mean, log_scale = numbers.chunk(2, 1)
        q = Gaussian(mean, log_scale.clamp(-LARGEST_LOG_SCALE, LARGEST_LOG_SCALE))
        normal = torch.randn(mean.shape, generator=noise, device=mean.device)
        return q.sample(normal.to(mean.dtype)), q

    def _object(self, where: Tensor, what: Tensor) -> Tensor:
        """Return what an object adds to the canvas, [N, outputs, H, W]."""
        patches = self.patch_head(self.decoder(what))
        patches = patches.view(-1, self.outputs, self.patch, self.patch)
        return placed(patches, self._place(where), self.shape[1:])

    def _place(self, where: Tensor) -> Tensor:
        """Return log scales and positions, [N, 3] as the latents, standard normal in the prior."""
        return self.middle + self.spread * where

    def decode(self, present: Tensor, where: Tensor, what: Tensor) -> Tensor:
        """Return the canvases of objects, [N, outputs, H, W].

        `present` [N, most] of 0 and 1, `where` [N, most, 3], `what` [N, most, latents].
        """
        canvas = self.background.expand(len(present), -1, *self.shape[1:])
        for there, *z in zip(present.unbind(1), where.unbind(1), what.unbind(1), strict=True):
            canvas = canvas + there[:, None, None, None] * self._object(*z)
        return canvas

    @torch.no_grad()
    def sample(self, count: int, noise: torch.Generator) -> Tensor:
        """Draw images, [count, C, H, W]."""
        device = noise.device
        chances = torch.rand((count, self.most), generator=noise, device=device)
        present = (chances < torch.sigmoid(self.another)).float().cumprod(1)
        where = torch.randn((count, self.most, WHERE), generator=noise, device=device)
        what = torch.randn((count, self.most, self.latents), generator=noise, device=device)
        return self.likelihood.sample(self.decode(present, where, what), noise)


def _log_bernoulli(logit: Tensor, value: Tensor) -> Tensor:
    """Return the log probability of `value`, 0 or 1."""
    return value * logit - F.softplus(logit)
