"""Pixel distributions p(x | canvas). A likelihood is one class: parameters -> nats, mean.

docs/model.md, section 6: Bernoulli for binary images, a mixture of discretised logistics for 256
values. Every method takes the decoder's output, `parameters` [N, outputs(C), H, W], and computes in
fp32.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from npdraw.model.factors import sample_inverse_cdf


class Likelihood(Protocol):
    """A distribution of an image's pixels, given the decoder's output."""

    def outputs(self, channels: int) -> int:
        """Return how many numbers the decoder gives per pixel."""

    def start(self, channels: int) -> Tensor | None:
        """Return the initial output of a decoder, [outputs]; None: no particular one."""

    def log_prob(self, parameters: Tensor, images: Tensor, /) -> Tensor:
        """Return log p(x) in nats, [N], of images [N, C, H, W] in [0, 1]."""

    def mean(self, parameters: Tensor, /) -> Tensor:
        """Return the expected image, [N, C, H, W] in [0, 1]."""

    def sample(self, parameters: Tensor, noise: torch.Generator, /) -> Tensor:
        """Draw an image, [N, C, H, W] in [0, 1]."""


class Bernoulli:
    """Independent binary pixels; the decoder's output is one logit for each."""

    def outputs(self, channels: int) -> int:
        """Return how many numbers the decoder gives per pixel."""
        return channels

    def start(self, _: int) -> None:
        """Return None: a decoder may start with any output."""

    def log_prob(self, logits: Tensor, images: Tensor) -> Tensor:
        """Return log p(x) in nats, [N], equation (6.3).

        Logits and images, in {0, 1}, are [N, C, H, W].
        """
        losses = F.binary_cross_entropy_with_logits(_fp32(logits), images, reduction="none")
        return -losses.flatten(1).sum(1)

    def mean(self, logits: Tensor) -> Tensor:
        """Return the expected image, [N, C, H, W] in [0, 1]."""
        return torch.sigmoid(_fp32(logits))

    def sample(self, logits: Tensor, noise: torch.Generator) -> Tensor:
        """Draw an image, [N, C, H, W] in {0, 1}."""
        return torch.bernoulli(self.mean(logits), generator=noise)


LEVELS = 256
"""Values of a pixel, 0 to 255 / 255."""

LOG_SCALES = -7.0, 5.0
"""Range of the log scales, with images in [0, 1]: e^-7 is a quarter of the step between values."""


@dataclass(frozen=True)
class _Components:
    """The parameters of an image's mixture, M components per pixel."""

    log_share: Tensor
    """log probability of the component, [N, M, H, W]."""
    mean: Tensor
    """[N, M, C, H, W]; those of green and blue before the channels before them are added. With an
    origin, the mean of a value less its origin."""
    log_scale: Tensor
    """[N, M, C, H, W]."""
    slope: Tensor
    """Slopes of green on red, blue on red and blue on green, [N, M, 3 or 0, H, W]."""

    def chosen(self, index: Tensor) -> "_Components":
        """Return the component `index` [N, H, W] of each pixel, as a mixture of one."""
        rows = index[:, None]

        def pick(x: Tensor) -> Tensor:
            return x.gather(1, rows[:, :, None].expand(-1, -1, x.shape[2], -1, -1))

        log_share = self.log_share.gather(1, rows)
        return _Components(log_share, pick(self.mean), pick(self.log_scale), pick(self.slope))

    def centre(self, channel: int, values: Tensor) -> Tensor:
        """Return the mean of `channel`, [N, M, H, W], given `values` of the channels before it.

        `values` [N, M, channels, H, W] or [N, 1, channels, H, W].
        """
        mean, first = self.mean.select(2, channel), channel * (channel - 1) // 2
        for before in range(channel):
            mean = mean + self.slope.select(2, first + before) * values.select(2, before)
        return mean


class MixtureOfLogistics:
    """Pixels with 256 values: a mixture of discretised logistic distributions, equation (6.4).

    PixelCNN++ (Salimans et al. 2017, sections 2.1 and 2.2): a component is chosen for the pixel;
    then red is logistic, and the means of green and blue move linearly with the channels before
    them. The first and last bins reach to infinity, so that the 256 probabilities add up to 1.
    Images hold value / 255 and have one or three channels.
    """

    def __init__(self, components: int = 10) -> None:
        self.components = components

    def outputs(self, channels: int) -> int:
        """Return how many numbers the decoder gives per pixel."""
        return self.components * (1 + 2 * channels + channels * (channels - 1) // 2)

    def start(self, channels: int, error: float | None = None) -> Tensor:
        """Return the initial output, [outputs].

        For a decoder that starts as the canvas (`origin`), `error` is the mean squared error of the
        canvases, per pixel and channel, above 0. The scales of the components are spread around
        that of this error, from a fifth to three times; a logistic variable of scale s has the
        variance (pi s)^2 / 3.
        Without, the components lie side by side over 0..1.
        """
        output = torch.zeros(self.components, self.outputs(channels) // self.components)
        means, log_scales = output[:, 1 : 1 + channels], output[:, 1 + channels : 1 + 2 * channels]
        if error is None:
            means[:] = torch.linspace(-0.9, 0.9, self.components)[:, None]
            log_scales[:] = -math.log(2 * self.components)
        else:
            scale = math.sqrt(3 * error) / math.pi
            spread = torch.linspace(math.log(0.2), math.log(3), self.components)
            log_scales[:] = (math.log(scale) + spread)[:, None]
        return output.flatten()

    def log_prob(self, parameters: Tensor, images: Tensor, origin: Tensor | None = None) -> Tensor:
        """Return log p(x) in nats, [N]; images [N, C, H, W] of multiples of 1 / 255 in [0, 1].

        With `origin` [N, C, H, W], such as the canvas, means are relative to it, and green and blue
        move with the residuals of the channels before them: parameters of 0 have it as the mean,
        whatever the slopes are.
        """
        origins = () if origin is None else (origin,)
        if torch.is_grad_enabled() and parameters.requires_grad:
            result: Tensor = _WithGradients.apply(self._log_prob, images, parameters, *origins)
            return result
        return _in_chunks(self._log_prob, images, parameters, *origins)

    def _log_prob(self, images: Tensor, parameters: Tensor, origin: Tensor | None = None) -> Tensor:
        channels = images.shape[1]
        p, values = self._components(parameters, channels, origin), images[:, None]
        residual = values if origin is None else values - origin[:, None]
        centre = torch.stack([p.centre(channel, residual) for channel in range(channels)], 2)
        total = p.log_share + _log_bin(values, residual - centre, p.log_scale).sum(2)
        return total.logsumexp(1).flatten(1).sum(1)

    def mean(self, parameters: Tensor, origin: Tensor | None = None) -> Tensor:
        """Return the expected image, [N, C, H, W] in [0, 1].

        In each component, green and blue are taken at the expected values of the channels before
        them. This is exact except for clamping values to 0..1.
        """
        origins = () if origin is None else (origin,)
        return _in_chunks(self._mean, parameters, *origins)

    def _mean(self, parameters: Tensor, origin: Tensor | None = None) -> Tensor:
        channels = self._channels(parameters)
        p = self._components(parameters, channels, origin)
        start = torch.zeros_like(p.mean[:, :1]) if origin is None else origin[:, None]
        means: list[Tensor] = []
        for channel in range(channels):
            before = start[:, :, :channel]
            values = torch.stack(means, 2) - before if means else before
            centre = p.centre(channel, values) + start.select(2, channel)
            means.append(_mean_in_unit(centre, p.log_scale.select(2, channel)))
        return (p.log_share.exp()[:, :, None] * torch.stack(means, 2)).sum(1)

    def sample(
        self, parameters: Tensor, noise: torch.Generator, origin: Tensor | None = None
    ) -> Tensor:
        """Draw an image, [N, C, H, W] of multiples of 1 / 255 in [0, 1]; `origin` as in `log_prob`.

        A component is drawn for each pixel, then one channel after the other.
        """
        channels = self._channels(parameters)
        p = self._components(parameters, channels, origin)
        images, _, height, width = parameters.shape
        uniform = torch.rand(
            (images, 1 + channels, height, width), generator=noise, device=parameters.device
        )
        index = sample_inverse_cdf(p.log_share.movedim(1, -1), uniform[:, 0])
        p, logistic = p.chosen(index), torch.logit(uniform[:, 1:], eps=1e-7)
        start = torch.zeros_like(logistic) if origin is None else origin
        drawn = torch.zeros_like(logistic)
        for channel in range(channels):
            centre = p.centre(channel, (drawn - start)[:, None])[:, 0] + start[:, channel]
            value = centre + p.log_scale[:, 0, channel].exp() * logistic[:, channel]
            drawn[:, channel] = (value.clamp(0, 1) * (LEVELS - 1)).round() / (LEVELS - 1)
        return drawn

    def _channels(self, parameters: Tensor) -> int:
        numbers = {self.outputs(channels): channels for channels in (1, 3)}
        return numbers[parameters.shape[1]]

    def _components(
        self, parameters: Tensor, channels: int, origin: Tensor | None = None
    ) -> _Components:
        rows = _fp32(parameters).unflatten(1, (self.components, -1))
        pairs = rows.shape[2] - 1 - 2 * channels
        share, mean, log_scale, slope = rows.split([1, channels, channels, pairs], 2)
        return _Components(
            torch.log_softmax(share.squeeze(2), 1),
            (mean + 1) / 2 if origin is None else mean / 2,
            log_scale.clamp(*LOG_SCALES),
            torch.tanh(slope),
        )


CHUNK = 2**12
"""Pixels whose likelihood is computed at once on a CPU, so that they stay in its cache."""


def _chunks(images: Tensor) -> list[slice]:
    """Return the rows of images [N, C, H, W], or of their parameters, that are computed at once."""
    count, pixels = len(images), images.shape[-1] * images.shape[-2]
    size = max(1, CHUNK // max(1, pixels)) if images.device.type == "cpu" else count
    return [slice(start, start + size) for start in range(0, count, size)]


def _in_chunks(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Return `function(*tensors)` [N, ...], some images at a time; all tensors are [N, ...].

    In an exported graph, which is one for every N, all images are computed at once.
    """
    if torch.compiler.is_exporting():
        return function(*tensors)
    return torch.cat([function(*(x[rows] for x in tensors)) for rows in _chunks(tensors[0])])


class _WithGradients(torch.autograd.Function):
    """Compute values of images together with their gradients, some images at a time.

    Autograd would keep some fifty tensors as large as the mixture's parameters until the backward
    pass. The value of an image depends on that image alone, so that its gradient is known, but for
    a factor, as soon as its value is.
    """

    @staticmethod
    def forward(
        ctx: Any, function: Callable[..., Tensor], images: Tensor, *inputs: Tensor
    ) -> Tensor:
        """Return `function(images, *inputs)`, [N]; all tensors are [N, ...]."""
        values = []
        gradients = [torch.empty_like(x) for x in inputs]
        for rows in _chunks(images):
            with torch.enable_grad():
                parts = [x[rows].detach().requires_grad_() for x in inputs]
                value = function(images[rows], *parts)
                found = torch.autograd.grad(value.sum(), parts)
            for whole, part in zip(gradients, found, strict=True):
                whole[rows] = part
            values.append(value.detach())
        ctx.save_for_backward(*gradients)
        return torch.cat(values)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the stored gradients by that of each value, [N]."""
        scale, stored = upstream[0][:, None, None, None], ctx.saved_tensors
        # Into tensors of their own type: a product with fp32 would be fp32.
        return None, None, *(torch.mul(x, scale, out=torch.empty_like(x)) for x in stored)


def _fp32(parameters: Tensor) -> Tensor:
    """Return parameters of any type and memory order as fp32, one plane after the other."""
    return parameters.to(torch.float32, memory_format=torch.contiguous_format)


def likelihood_of(levels: int) -> Likelihood:
    """Return the distribution of pixels with 2 or 256 values."""
    return Bernoulli() if levels == 2 else MixtureOfLogistics()


def _log_bin(values: Tensor, shift: Tensor, log_scale: Tensor) -> Tensor:
    """Return the log probability that a logistic variable falls into the bin of a value.

    `shift` is the value less the variable's centre. With the bin's ends a > b in units of the
    scale, sigmoid(a) - sigmoid(b) is sigmoid(a) sigmoid(-b) (1 - e^(b - a)): this avoids
    cancellation far out in the tails.
    """
    half = 0.5 / (LEVELS - 1)
    scale = torch.exp(-log_scale)
    above = F.logsigmoid((shift + half) * scale)
    below = F.logsigmoid((half - shift) * scale)
    width = torch.log(-torch.expm1(-2 * half * scale))
    inside = above + below + width
    return torch.where(values < half, above, torch.where(values > 1 - half, below, inside))


def _mean_in_unit(centre: Tensor, log_scale: Tensor) -> Tensor:
    """Return the mean of a logistic variable clamped to 0..1.

    It is 1 minus the integral of the distribution function over 0..1.
    """
    scale = log_scale.exp()
    return 1 - scale * (F.softplus((1 - centre) / scale) - F.softplus(-centre / scale))
