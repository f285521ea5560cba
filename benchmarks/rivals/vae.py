"""A plain convolutional VAE as a baseline for NP-DRAW (Kingma & Welling 2014).

The latent of an image is one Gaussian vector; the prior is the standard normal. The decoder is the
upward half of NP-DRAW's, fed by a linear map of the latent instead of the canvas, so about as
large; the encoder is a downward half of the same blocks.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.rivals.rival import Rival, start_of_pixels
from npdraw.model.blocks import residual_blocks
from npdraw.model.decoder import SliceDecoder
from npdraw.model.likelihood import likelihood_of

LARGEST_LOG_SCALE = 4.0
"""Bound on the absolute log standard deviation of the posterior."""


@dataclass(frozen=True)
class Gaussian:
    """q(z | x): independent normal distributions, fp32 [N, L] each."""

    mean: Tensor
    log_scale: Tensor
    """Logarithm of the standard deviation."""

    def sample(self, normal: Tensor) -> Tensor:
        """Return z [N, L] for standard normal numbers [N, L]; differentiable."""
        return self.mean + self.log_scale.exp() * normal

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z), [N]."""
        return standard_normal((z - self.mean) / self.log_scale.exp()) - self.log_scale.sum(1)

    def kl(self) -> Tensor:
        """Return KL(q || N(0, 1)) in nats, [N] (Kingma & Welling, appendix B)."""
        variance = (2 * self.log_scale).exp()
        return (0.5 * (variance + self.mean.square() - 1) - self.log_scale).sum(1)


def standard_normal(z: Tensor) -> Tensor:
    """Return log N(z; 0, 1) summed over the last axis."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)


class Encoder(nn.Module):
    """From images to the posterior: squares of pixels, then residual blocks and downsampling."""

    def __init__(
        self,
        image: tuple[int, int],
        latents: int,
        channels: tuple[int, ...],
        depth: int,
        patch: int,
    ) -> None:
        super().__init__()
        colours, side = image
        self.patch, self.multiple = patch, patch * 2 ** (len(channels) - 1)
        coarse = -(-side // self.multiple)
        self.stem = nn.Conv2d(colours * patch**2, channels[0], 3, padding=1)
        self.down = nn.ModuleList(residual_blocks(c, depth) for c in channels)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(channels))
        self.head = nn.Linear(channels[-1] * coarse**2, 2 * latents)
        preserve_scale(self.stem, *self.shrink)

    def forward(self, images: Tensor, drop: nn.Module) -> Gaussian:
        """Return q for images [N, C, H, W]; `drop` drops out features."""
        patches = F.pixel_unshuffle(padded(images, self.multiple), self.patch)
        h = self.stem(patches.contiguous(memory_format=torch.channels_last))
        for blocks, shrink in zip(self.down, [*self.shrink, nn.Identity()], strict=True):
            h = shrink(blocks(h))
        mean, log_scale = self.head(drop(F.silu(h).flatten(1))).float().chunk(2, 1)
        return Gaussian(mean, log_scale.clamp(-LARGEST_LOG_SCALE, LARGEST_LOG_SCALE))


class Decoder(nn.Module):
    """From z to the parameters of each pixel: the upward half of NP-DRAW's decoder."""

    def __init__(
        self,
        side: int,
        outputs: int,
        latents: int,
        channels: tuple[int, ...],
        depth: int,
        patch: int,
    ) -> None:
        super().__init__()
        self.side, self.patch = side, patch
        coarse = -(-side // (patch * 2 ** (len(channels) - 1)))
        self.shape = channels[0], coarse, coarse
        self.unfold = nn.Linear(latents, channels[0] * coarse**2)
        self.widen = nn.Conv2d(channels[0], channels[-1], 3, padding=1)
        self.middle = residual_blocks(channels[-1], depth)
        pairs = list(pairwise(channels[::-1]))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for b, a in pairs)
        self.up = nn.ModuleList(residual_blocks(a, depth) for _, a in pairs)
        fine = max(8, channels[0] // patch**2)
        self.unpatch = nn.Conv2d(channels[0], fine * patch**2, 1)
        self.join = nn.Conv2d(fine, 2 * fine, 3, padding=1)
        self.head = nn.Conv2d(2 * fine, outputs, 3, padding=1, bias=False)
        self.background = nn.Parameter(torch.zeros(outputs, side, side))
        nn.init.zeros_(self.head.weight)
        preserve_scale(self.unfold, self.widen, *self.grow, self.unpatch, self.join)

    def forward(self, z: Tensor, drop: nn.Module) -> Tensor:
        """Return fp32 [N, outputs, H, W] for z [N, L]; `drop` drops out features."""
        h = self.unfold(z).unflatten(1, self.shape)
        h = h.contiguous(memory_format=torch.channels_last)
        h = self.middle(self.widen(drop(F.silu(h))))
        for grow, blocks in zip(self.grow, self.up, strict=True):
            h = blocks(grow(h))
        fine = F.pixel_shuffle(self.unpatch(F.silu(h)), self.patch)
        output: Tensor = self.head(F.silu(self.join(F.silu(fine))))
        return output[:, :, : self.side, : self.side].float() + self.background


def preserve_scale(*layers: nn.Module) -> None:
    """Initialise layers so that they preserve the scale of their input (He et al. 2015).

    torch's default shrinks it, and all information from z passes through these layers.
    """
    for layer in layers:
        assert isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
        weight = layer.weight
        inputs = len(weight) if isinstance(layer, nn.ConvTranspose2d) else weight[0].numel()
        nn.init.normal_(weight, std=(2 / inputs) ** 0.5)
        nn.init.zeros_(layer.bias)


def padded(images: Tensor, multiple: int) -> Tensor:
    """Pad the height and width of images to a multiple."""
    height, width = images.shape[2:]
    return F.pad(images, (0, -width % multiple, 0, -height % multiple))


class VAE(Rival):
    """Encoder, decoder and ELBO."""

    deterministic = False

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        levels: int,
        latents: int = 32,
        channels: tuple[int, ...] = (64, 112),
        depth: int = 2,
        patch: int = 2,
        dropout: float = 0.0,
        kl_warmup: float = 0.2,
        error: float | None = None,
    ) -> None:
        """Images have the `shape` (channels, height, width) and pixels `levels` values, 2 or 256.

        `channels`, `depth` and `patch` are as in NP-DRAW's decoder. In the first `kl_warmup` of the
        training the weight of the KL rises from 0 to 1. With `error`, the decoder makes a canvas,
        grey at first with that mean squared error, from which NP-DRAW's decoder of strokes with ink
        gives the pixels, in slices. Nine parameters, because all are settings.
        """
        super().__init__()
        colours, height, _ = shape
        self.latents, self.warmup = latents, kl_warmup
        self.likelihood = likelihood_of(levels)
        outputs = self.likelihood.outputs(colours) if error is None else colours + 1
        self.pixels = (
            None if error is None else SliceDecoder(colours, channels, depth, patch, error)
        )
        self.encoder = Encoder((colours, height), latents, channels, depth, patch)
        self.decoder = Decoder(height, outputs, latents, channels, depth, patch)
        self.drop = nn.Dropout(dropout)

    @torch.no_grad()
    def start_from(self, images: Tensor) -> None:
        """Start at the means of pixels, or with a grey canvas."""
        if self.pixels is None:
            self.decoder.background.copy_(start_of_pixels(self.likelihood, images))
        else:
            self.decoder.background.fill_(0.5)

    def loss(self, images: Tensor, noise: torch.Generator, done: float) -> Tensor:
        """Return the negative ELBO, [N], with the KL in closed form."""
        weight = min(1.0, done / self.warmup) if self.warmup else 1.0
        q = self.encode(images)
        return weight * q.kl() - self.log_likelihood(images, self._drawn(q, noise))

    def log_weight(self, images: Tensor, noise: torch.Generator) -> Tensor:
        """Return log p(x, z) - log q(z | x) of one z ~ q, [N]."""
        q = self.encode(images)
        z = self._drawn(q, noise)
        return self.log_likelihood(images, z) + standard_normal(z) - q.log_prob(z)

    def _drawn(self, q: Gaussian, noise: torch.Generator) -> Tensor:
        return q.sample(torch.randn(q.mean.shape, generator=noise, device=q.mean.device))

    def encode(self, images: Tensor) -> Gaussian:
        """Return q(z | x)."""
        q: Gaussian = self.encoder(images, self.drop)
        return q

    def log_likelihood(self, images: Tensor, z: Tensor) -> Tensor:
        """Return log p(x | z), [N]."""
        output: Tensor = self.decoder(z, self.drop)
        if self.pixels is not None:
            return self.pixels.log_prob(output, images)
        return self.likelihood.log_prob(output, images)

    @torch.no_grad()
    def sample(self, count: int, noise: torch.Generator) -> Tensor:
        """Draw images, [count, C, H, W]."""
        z = torch.randn((count, self.latents), generator=noise, device=noise.device)
        output: Tensor = self.decoder(z, self.drop)
        if self.pixels is not None:
            return self.pixels.sample(output, noise)
        return self.likelihood.sample(output, noise)
