"""The whole model: encoder q(z|x), prior p(z), painting, decoder p(x|canvas(z)).

Model.md sections 6 and 7; paper section 3.3.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from npdraw.model.canvas import paint, paint_relaxed
from npdraw.model.decoder import Decoder
from npdraw.model.encoder import Encoder
from npdraw.model.latents import Factors, Latents, harden
from npdraw.model.layout import Layout
from npdraw.model.likelihood import Bernoulli
from npdraw.model.prior import Prior


@dataclass(frozen=True)
class Terms:
    """Parts of the training loss, each [N]."""

    distortion: Tensor
    """-log p(x | canvas), nats."""
    rate: Tensor
    """Analytic KL(q || p) given the sampled prefix, nats."""
    parse: Tensor
    """Cross-entropy of the parse under q, nats."""
    canvas: Tensor
    """Squared error of the canvas image, summed over pixels and channels."""


@dataclass(frozen=True)
class Weighted:
    """One hard posterior sample and its log densities, each [N], nats."""

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
        """log w = log p(x | z) + log p(z) - log q(z | x)."""
        return -self.distortion - self.rate


class NPDraw(nn.Module):
    """NP-DRAW: all parts joined; complete in itself, the bank included."""

    def __init__(
        self,
        layout: Layout,
        bank: Tensor,
        prior: Prior,
        *,
        compositing: str,
        encoder_channels: int,
        encoder_depth: int,
        decoder_channels: tuple[int, ...],
        decoder_depth: int,
        decoder_patch: int,
    ) -> None:
        """`bank` [K, C, P, P] in [0, 1]."""
        super().__init__()
        channels = bank.shape[1]
        self.layout, self.compositing = layout, compositing
        self.likelihood = Bernoulli()
        self.bank: Tensor
        self.register_buffer("bank", bank.clone(), persistent=False)
        self.prior = prior
        self.encoder = Encoder(layout, channels, len(bank), encoder_channels, encoder_depth)
        outputs = self.likelihood.outputs(channels)
        self.decoder = Decoder(
            channels + 1, outputs, decoder_channels, decoder_depth, decoder_patch
        )

    def noise_size(self) -> int:
        """Uniform numbers a step of a relaxed sample needs: whether, placements, parts."""
        return 1 + self.layout.placements + len(self.bank)

    def forward(
        self,
        images: Tensor,
        parse: Latents | None,
        uniform: Tensor,
        temperature: float,
        hard_rows: int = 0,
    ) -> Terms:
        """Return the parts of the training loss from one relaxed sample.

        Images [N, C, H, W] in {0, 1}, their `parse` (None: the term is 0), `uniform`
        [N, T, noise_size] in [0, 1). The latents of the first `hard_rows` images are rounded, their
        gradients straight-through.
        """
        q = self.encoder(images, self.bank)
        z = harden(q.relax(uniform, temperature), hard_rows)
        canvas = paint_relaxed(z, self.bank, self.layout, self.compositing)
        output = self.decoder(canvas)
        error = (canvas[:, : images.shape[1]] - images).square()
        if parse is None:
            imitation = images.new_zeros(len(images))
        else:
            imitation = -torch.stack(q.log_prob(parse)).sum((0, 2))
        return Terms(
            distortion=-self.likelihood.log_prob(output, images),
            rate=q.kl(self.prior(z)).sum(1),
            parse=imitation,
            canvas=error.flatten(1).sum(1),
        )

    def encode(self, images: Tensor) -> Factors:
        """Return q(z | x) for images [N, C, H, W] in [0, 1]."""
        factors: Factors = self.encoder(images, self.bank)
        return factors

    def paint(self, z: Latents) -> Tensor:
        """Return the canvas of hard drawings, [N, C + 1, H, W] (`canvas.paint`)."""
        return paint(z, self.bank, self.layout, self.compositing)

    def decode(self, canvas: Tensor) -> Tensor:
        """Return the expected image for a canvas, [N, C, H, W] in [0, 1]."""
        return self.likelihood.mean(self.decoder(canvas))

    @torch.no_grad()
    def weigh(self, images: Tensor, q: Factors, uniform: Tensor) -> Weighted:
        """Draw one hard sample z ~ q for each image and return its log densities (section 7).

        `q` is `encode(images)`, or rows of it; `uniform` [N, T, 3] in [0, 1).
        """
        z = q.sample(uniform)
        p: Factors = self.prior(z.one_hot(self.layout.placements, len(self.bank)))
        canvas = self.paint(z)
        rate = torch.stack(q.log_prob(z)).sum((0, 2)) - torch.stack(p.log_prob(z)).sum((0, 2))
        error = (canvas[:, : images.shape[1]] - images).square()
        return Weighted(
            distortion=-self.likelihood.log_prob(self.decoder(canvas), images),
            rate=rate,
            analytic_rate=q.kl(p).sum(1),
            canvas_error=error.flatten(1).mean(1),
        )
