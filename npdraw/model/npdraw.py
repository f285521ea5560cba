"""The whole model: encoder q(z|x), prior p(z), painting, decoder p(x|canvas(z)).

docs/model.md, sections 6 and 7; paper, section 3.3. It is trained in two phases: on one relaxed
sample of q per image (`relaxed`), then on hard samples (`wake`), since likelihoods are those of
hard drawings.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from npdraw.model.brush import Brush, Painting
from npdraw.model.decoder import new_decoder
from npdraw.model.encoder import Match, new_encoder
from npdraw.model.factors import Factors, join_factors, sample_inverse_cdf
from npdraw.model.latents import (
    Latents,
    Relaxed,
    concatenate,
    join_soft_steps,
    join_steps,
)
from npdraw.model.likelihood import likelihood_of
from npdraw.model.prior import Prior
from npdraw.model.terms import (
    ImportanceSample,
    Relaxation,
    Terms,
    WakeConfig,
    WakeTerms,
)

LEAST_ERROR = 1e-5
"""Least mean squared error of canvases that encoder and decoder start for: below it, differences
are those between neighbouring values."""

DECODED_NUMBERS = 100 * 2**17
"""Numbers from the decoder at once without gradients: 2^17 pixels in colour, 50 MB in fp32."""


Drawing = TypeVar("Drawing", Latents, Relaxed)


class NPDraw(nn.Module):
    """The whole of NP-DRAW: brush, prior, encoder and decoder."""

    def __init__(
        self,
        brush: Brush,
        prior: Prior,
        *,
        levels: int,
        upscale: int,
        encoder_channels: int,
        encoder_depth: int,
        encoder_gain: float,
        decoder_channels: tuple[int, ...],
        decoder_depth: int,
        decoder_patch: int,
        canvas_error: float = 0.01,
        class_prior: Prior | None = None,
    ) -> None:
        """Pixels have `levels` values, 2 or 256; the image has `upscale` times the canvas's side.

        With ink the decoder starts as the canvas, with scales that fit its mean squared error,
        `canvas_error`, and an `encoder_gain` of 0 stands for 1 / (2 canvas_error): if values were
        normal around the canvas with that variance and all strokes equally likely, q would start as
        the exact posterior. `class_prior` is p(z | label), if the model has classes. Twelve
        parameters, because most are settings.
        """
        super().__init__()
        # The tables are small, and each network has its own: DistributedDataParallel cannot send
        # buffers that modules share.
        self.brush, self.layout, self.prior = deepcopy(brush), brush.layout, prior
        self.class_prior = class_prior
        self.levels, self.upscale = levels, upscale
        self.likelihood = likelihood_of(levels)
        error = max(canvas_error, LEAST_ERROR)
        gain = encoder_gain or (0.5 / error if brush.inked else 0.0)
        self.encoder = new_encoder(deepcopy(brush), encoder_channels, encoder_depth, gain)
        self.decoder = new_decoder(
            self.likelihood,
            brush.channels,
            decoder_channels,
            decoder_depth,
            decoder_patch,
            error if brush.inked else None,
        )

    @property
    def classes(self) -> int:
        """Number of classes; 0 if there is only p(z)."""
        return 0 if self.class_prior is None else self.class_prior.classes

    def in_unit(self, values: Tensor) -> Tensor:
        """Return images in [0, 1] of integers 0..levels - 1."""
        return values.float() / (self.levels - 1)

    def forward(
        self, images: Tensor, uniform: Tensor, how: Relaxation | WakeConfig
    ) -> Terms | WakeTerms:
        """Return `wake` if `how` is a `WakeConfig`, else `relaxed`.

        Both go through `forward` because DistributedDataParallel synchronises gradients only there.
        """
        if isinstance(how, WakeConfig):
            return self.wake(images, uniform, how)
        return self.relaxed(images, uniform, how)

    def posterior(
        self,
        seen: Tensor,
        draw: Callable[[Factors, int, Match | None], Drawing],
        first: Factors | None = None,
    ) -> tuple[Factors, list[Drawing], Painting]:
        """Return q(z | x), the drawings that `draw` makes layer by layer, and how they are painted.

        `draw` is given the distributions of the steps of a layer, its number, and the gains that
        they depend on. Images `seen` [N, C, h, w] have the size of the canvas; `first` is q of the
        first layer, if it is known (`encode`), and then its gains are None.
        """
        factors, layers, painting = [], [], Painting()
        for layer in range(len(self.layout.grids)):
            if layer == 0 and first is not None:
                q, gains = first, None
            else:
                gains = self.encoder.gains(seen, layer, painting.canvas)
                q = self.encoder(seen, layer, painting.canvas, gains)
            factors.append(q)
            layers.append(draw(q, layer, gains))
            painting = self.brush.paint_next(layers[-1], painting)
        return join_factors(factors), layers, painting

    def relaxed(self, images: Tensor, uniform: Tensor, relaxation: Relaxation) -> Terms:
        """Return the terms of the loss of one relaxed sample per image, equation (6.8).

        Images [N, C, H, W] in [0, 1], `uniform` [N, T, noise_size of the brush] in [0, 1).
        """
        seen, spans = self.layout.shrink(images), self.layout.spans
        imitation = images.new_zeros(len(images))

        def draw(q: Factors, layer: int, gains: Match | None) -> Relaxed:
            nonlocal imitation
            if relaxation.imitate:
                with torch.no_grad():
                    parse = self.encoder.parse(seen, gains)
                imitation = imitation - q.joint(parse)
            noise = uniform[:, spans[layer]]
            return q.relax(noise, relaxation.temperature, relaxation.hard_rows)

        q, layers, painting = self.posterior(seen, draw)
        canvas = painting.canvases[-1]
        error = (canvas[:, :-1] - seen).square()
        return Terms(
            distortion=-self.log_likelihood(canvas, images),
            rate=q.kl(self.prior(join_soft_steps(layers), painting)).sum(1),
            parse=imitation,
            canvas=error.flatten(1).sum(1),
            strokes=torch.sigmoid(q.whether).sum(1),
        )

    def decoder_alone(self, images: Tensor, uniform: Tensor) -> Tensor:
        """Return -log p(x | z) in nats, [N], of one hard drawing z ~ q for each image.

        Only the decoder has gradients. Images [N, C, H, W] in [0, 1]; `uniform` [N, T, numbers of
        the brush] in [0, 1).
        """
        spans = self.layout.spans
        with torch.no_grad():
            _, _, painting = self.posterior(
                self.layout.shrink(images),
                lambda q, layer, _: q.sample(uniform[:, spans[layer]], canonical=False),
            )
        return -self.log_likelihood(painting.canvases[-1], images)

    def wake(self, images: Tensor, uniform: Tensor, how: WakeConfig) -> WakeTerms:
        """Return log densities of one drawing per image, nearly a sample of p(z | x).

        Of S hard samples of q, one is chosen with probability proportional to its weight, equation
        (6.10): p(x, z) / q(z | x) with `canvas_weight` 0 (sampling importance resampling). Raising
        its log p(x, z) raises the bound of S samples on log p(x); raising its log q(z | x) makes q
        cover the posterior, where an ELBO lets it settle on one mode. Both are reweighted
        wake-sleep (Bornschein and Bengio 2015, equations 5 and 9), with one drawing in place of the
        weighted mean over S.

        A `canvas_weight` above 0 prefers, among drawings that explain x, those whose canvas looks
        like x.

        Images [N, C, H, W] in [0, 1]; `uniform` [N, S + 1, T, numbers of the brush] in [0, 1), the
        last row chooses.
        """
        # Draw the samples; their weights are computed without dropout.
        q = self.encode(images)
        learning = self.prior.training
        self.prior.eval()
        drawn = [self.importance_sample(images, q, noise) for noise in uniform[:, :-1].unbind(1)]
        self.prior.train(learning)

        # Choose one of them for each image, equation (6.10).
        weights = torch.stack([w.log_weight for w in drawn], 1)
        pixels = images[0].numel() / self.upscale**2
        errors = torch.stack([w.canvas_error for w in drawn], 1) * pixels
        chosen = sample_inverse_cdf(weights - how.canvas_weight * errors, uniform[:, -1, 0, 0])
        rows = torch.arange(len(images), device=images.device)
        z = concatenate([w.z for w in drawn])[chosen * len(images) + rows]

        # Its densities, with gradients, equation (6.11).
        known, spans = self.layout.shrink(images), self.layout.spans
        q, _, painting = self.posterior(known, lambda _, layer, __: z[:, spans[layer]], q)
        log_likelihood = self.log_likelihood(painting.canvases[-1], images)
        return WakeTerms(
            joint=log_likelihood + self.prior.log_prob(z),
            proposal=q.joint(z),
            nll=math.log(len(drawn)) - weights.logsumexp(1),
        )

    def encode(self, images: Tensor) -> Factors:
        """Return q(first layer | x) for images [N, C, H, W] in [0, 1]; without ink it is q(z | x).

        It does not depend on what is drawn, and so is the same for all samples of an image.
        """
        factors: Factors = self.encoder(self.layout.shrink(images), 0, None)
        return factors

    def paint(self, z: Latents) -> Tensor:
        """Return the canvas of hard drawings, [N, C + 1, H, W] (`Brush.paint`)."""
        return self.brush.paint(z)

    def log_likelihood(self, canvas: Tensor, images: Tensor) -> Tensor:
        """Return log p(x | canvas) in nats, [N], of images [N, C, H, W] in [0, 1]."""
        return self._decoded(self.decoder.log_prob, canvas, images)

    def decode(self, canvas: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Return images of canvases, [N, C, H, W] in [0, 1]: as expected, or drawn with `noise`."""
        if noise is not None:
            return self._decoded(lambda seen: self.decoder.sample(seen, noise), canvas)
        return self._decoded(self.decoder.mean, canvas)

    def _decoded(self, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        """Apply `function` to enlarged canvases and the other tensors, some images at a time.

        In an exported graph, which is one for every N, all images are decoded at once.
        """
        pixels = self.layout.height * self.layout.width * self.upscale**2
        numbers = pixels * self.likelihood.outputs(self.brush.channels)
        size = max(1, DECODED_NUMBERS // numbers)
        at_once = torch.is_grad_enabled() or torch.compiler.is_exporting()
        chunks = [tensors] if at_once else zip(*(x.split(size) for x in tensors), strict=True)
        results = []
        for canvas, *others in chunks:
            seen = F.interpolate(canvas, scale_factor=self.upscale) if self.upscale > 1 else canvas
            results.append(function(seen, *others))
        return torch.cat(results)

    @torch.no_grad()
    def importance_sample(
        self, images: Tensor, first: Factors, uniform: Tensor, label: Tensor | None = None
    ) -> ImportanceSample:
        """Draw one hard sample z ~ q for each image and return its log densities: equation (7.1).

        `first` is `encode(images)`, or rows of it; `uniform` [N, T, numbers of the brush] in
        [0, 1). With `label`, int64 [N], the prior is p(z | label).
        """
        seen, spans = self.layout.shrink(images), self.layout.spans
        q, layers, painting = self.posterior(
            seen,
            lambda q, layer, _: q.sample(uniform[:, spans[layer]], canonical=False),
            first,
        )
        # The analytic rate averages over strokes that might have been painted: the prior is asked
        # about those, too.
        drawn = join_steps(layers)
        prior = self.prior if label is None else self.class_prior
        assert prior is not None
        z = drawn.canonical()
        p = prior(self.brush.one_hot(drawn, q.candidates), painting, label)
        canvas = painting.canvases[-1]
        error = (canvas[:, :-1] - seen).square()
        return ImportanceSample(
            z=z,
            distortion=-self.log_likelihood(canvas, images),
            rate=q.joint(z) - p.joint(z),
            analytic_rate=q.kl(p).sum(1),
            canvas_error=error.flatten(1).mean(1),
        )
