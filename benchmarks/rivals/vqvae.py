"""VQ-VAE (van den Oord et al. 2017) with a Transformer over its codes as the prior.

An encoder gives each cell of a grid a vector, which is replaced by the nearest one of a codebook;
a decoder makes the image from those. Encoder and decoder learn through the replaced vectors as if
nothing had happened (straight-through), the codebook as a moving average of what it replaces
(their appendix A.1), and a causal Transformer learns to predict the codes in raster order. The
blocks of both networks are those of NP-DRAW, and so of about the same size.

Two additions, which most later implementations share, keep all codes in use: vectors are
normalised, so that they stay near the codebook, and codes that are hardly used start again at
vectors of the batch. Without them three codes remain (LOG.md, 2026-12-01).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.rivals.rival import Rival
from npdraw.model.blocks import residual_blocks
from npdraw.model.likelihood import likelihood_of

RESTART = 0.5
"""Share of the training in which unused codes start again: a new code disturbs the decoder."""


class Codebook(nn.Module):
    """Vectors that replace others."""

    def __init__(self, codes: int, width: int, decay: float = 0.95) -> None:
        super().__init__()
        self.decay = decay
        self.vectors: Tensor
        self.uses: Tensor
        self.sums: Tensor
        self.register_buffer("vectors", torch.randn(codes, width))
        self.register_buffer("uses", torch.ones(codes))
        self.register_buffer("sums", self.vectors.clone())

    def nearest(self, x: Tensor) -> Tensor:
        """Return the codes of vectors [M, width], int64 [M]."""
        return torch.cdist(x.float(), self.vectors).argmin(1)

    @torch.no_grad()
    def follow(self, x: Tensor, codes: Tensor) -> None:
        """Move each vector towards those of `x` [M, width] that it replaced, their (6) to (8)."""
        kept = self.decay
        counts = torch.bincount(codes, minlength=len(self.uses)).to(self.uses.dtype)
        self.uses.mul_(kept).add_(counts, alpha=1 - kept)
        totals = torch.zeros_like(self.sums).index_add_(0, codes, x.float())
        self.sums.mul_(kept).add_(totals, alpha=1 - kept)
        used = self.uses[:, None] > 1e-6  # sums and uses of an unused code decay to 0
        self.vectors.copy_(torch.where(used, self.sums / self.uses[:, None], self.vectors))

    @torch.no_grad()
    def restart(self, x: Tensor, noise: torch.Generator) -> None:
        """Put codes with less than a tenth of the mean use at random vectors of `x` [M, width]."""
        usual = self.uses.mean()
        unused = self.uses < 0.1 * usual
        drawn = torch.randint(len(x), (len(self.uses),), generator=noise, device=x.device)
        self.vectors.copy_(torch.where(unused[:, None], x.float()[drawn], self.vectors))
        self.uses.copy_(torch.where(unused, usual, self.uses))
        self.sums.copy_(self.vectors * self.uses[:, None])


class CodePrior(nn.Module):
    """A causal Transformer over the codes of an image."""

    def __init__(self, codes: int, cells: int, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(1, 1, width))
        self.embedding = nn.Embedding(codes, width)
        self.position = nn.Parameter(0.02 * torch.randn(cells, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, codes)

    def forward(self, codes: Tensor) -> Tensor:
        """Return the logits of each code, given those before it, [N, t + 1, K] for [N, t]."""
        first = self.start.expand(len(codes), -1, -1)
        x = torch.cat([first, self.embedding(codes)], 1)[:, : len(self.position)]
        x = x + self.position[: x.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device)
        logits: Tensor = self.head(self.norm(self.layers(x, mask, is_causal=True)))
        return logits

    def log_prob(self, codes: Tensor) -> Tensor:
        """Return the log probability of codes [N, cells] in nats, [N]."""
        logits = self(codes).float()
        return -F.cross_entropy(logits.transpose(1, 2), codes, reduction="none").sum(1)


class VQVAE(Rival):
    """Encoder, codebook, decoder and prior."""

    deterministic = True
    """No sample is drawn: an image has one code, and `log_weight` is its log p(x, code), which is
    below log p(x)."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        levels: int,
        codes: int = 16,
        width: int = 64,
        depth: int = 2,
        reduce: int = 4,
        prior_width: int = 128,
        prior_depth: int = 4,
        dropout: float = 0.0,
    ) -> None:
        """Images have the `shape` (channels, height, width) and pixels `levels` values, 2 or 256.

        Cells are `reduce` x `reduce` pixels, 2 or 4, which must divide the sides. Nine parameters,
        because all are settings.
        """
        super().__init__()
        channels, height, breadth = shape
        self.shape, self.grid = shape, (height // reduce, breadth // reduce)
        self.likelihood = likelihood_of(levels)
        self.outputs = self.likelihood.outputs(channels)
        half = reduce // 2
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, half, stride=half),
            residual_blocks(width, depth),
        )
        self.codebook = Codebook(codes, width)
        self.decoder = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            residual_blocks(width, depth),
            nn.SiLU(),
            nn.ConvTranspose2d(width, width, half, stride=half),
            residual_blocks(width, depth),
            nn.SiLU(),
        )
        self.head = nn.Conv2d(width, 4 * self.outputs, 3, padding=1)
        start = self.likelihood.start(channels)
        if start is not None:
            nn.init.zeros_(self.head.weight)
            self.head.bias = nn.Parameter(start.repeat_interleave(4))
        cells = self.grid[0] * self.grid[1]
        self.prior = CodePrior(codes, cells, prior_width, prior_depth, dropout)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors of each cell [N * cells, width], and their codes [N, cells]."""
        vectors = self.encoder(2 * images - 1).permute(0, 2, 3, 1).flatten(0, 2)
        vectors = F.layer_norm(vectors.float(), vectors.shape[1:])
        return vectors, self.codebook.nearest(vectors).view(len(images), -1)

    def decode(self, vectors: Tensor) -> Tensor:
        """Return parameters [N, outputs, H, W] of vectors [N * cells, width]."""
        grid = vectors.view(-1, *self.grid, vectors.shape[1]).permute(0, 3, 1, 2)
        return F.pixel_shuffle(self.head(self.decoder(grid)), 2)

    def loss(self, images: Tensor, noise: torch.Generator, done: float) -> Tensor:
        """Return -log p(x, code) and a quarter of the distance to the codebook, [N].

        Their equation (3), with the prior's nats; the codebook moves.
        """
        vectors, codes = self.encode(images)
        replaced = self.codebook.vectors[codes.flatten()]
        if self.training:
            self.codebook.follow(vectors, codes.flatten())
            if done < RESTART:
                self.codebook.restart(vectors, noise)
        through = vectors + (replaced - vectors).detach()
        apart = (vectors - replaced).square().view(len(images), -1).sum(1)
        distortion = -self.likelihood.log_prob(self.decode(through), images)
        return distortion - self.prior.log_prob(codes) + 0.25 * apart

    def log_weight(self, images: Tensor, noise: torch.Generator) -> Tensor:
        """Return log p(x, code), [N]."""
        del noise
        _, codes = self.encode(images)
        parameters = self.decode(self.codebook.vectors[codes.flatten()])
        return self.likelihood.log_prob(parameters, images) + self.prior.log_prob(codes)

    @torch.no_grad()
    def sample(self, count: int, noise: torch.Generator) -> Tensor:
        """Draw images, [count, C, H, W]: codes in raster order, then pixels."""
        codes = torch.zeros(count, 0, dtype=torch.int64, device=noise.device)
        for _ in range(self.grid[0] * self.grid[1]):
            chances = self.prior(codes)[:, -1].float().softmax(1)
            codes = torch.cat([codes, torch.multinomial(chances, 1, generator=noise)], 1)
        parameters = self.decode(self.codebook.vectors[codes.flatten()])
        return self.likelihood.sample(parameters, noise)
