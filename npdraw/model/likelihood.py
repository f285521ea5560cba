"""Pixel distributions p(x | canvas). A likelihood is one class: parameters -> nats, mean.

docs/model.md, section 6: Bernoulli for binary images, a mixture of discretised logistics for 256
values. Every method takes the decoder's output, `parameters` [N, outputs(C), H, W], and computes in
fp32.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Likelihood(Protocol):
    """What a pixel distribution can do."""

    def outputs(self, channels: int) -> int:
        """Return how many numbers the decoder gives for a pixel."""

    def start(self, channels: int) -> Tensor | None:
        """Return the numbers that a decoder gives at first, [outputs]; None: any."""

    def log_prob(self, parameters: Tensor, images: Tensor, /) -> Tensor:
        """Return log p(x) in nats, [N], of images [N, C, H, W] in [0, 1]."""

    def mean(self, parameters: Tensor, /) -> Tensor:
        """Return the expected image, [N, C, H, W] in [0, 1]."""


class Bernoulli:
    """Independent binary pixels; the decoder's output is one logit for each."""

    def outputs(self, channels: int) -> int:
        """Return how many numbers the decoder gives for a pixel."""
        return channels

    def start(self, _: int) -> None:
        """Return that a decoder may begin with any numbers."""

    def log_prob(self, logits: Tensor, images: Tensor) -> Tensor:
        """Return log p(x) in nats, [N]; logits and images in {0, 1} are [N, C, H, W]."""
        losses = F.binary_cross_entropy_with_logits(logits, images, reduction="none")
        return -losses.flatten(1).sum(1)

    def mean(self, logits: Tensor) -> Tensor:
        """Return the expected image, [N, C, H, W] in [0, 1]."""
        return torch.sigmoid(logits)


LEVELS = 256
"""Values of a pixel, 0 to 255 / 255."""

LOG_SCALES = -7.0, 5.0
"""Of a component, in images' units: e^-7 is a quarter of the distance of two values."""


@dataclass(frozen=True)
class _Components:
    """What the parameters of an image say, M components a pixel."""

    log_share: Tensor
    """log probability of the component, [N, M, H, W]."""
    mean: Tensor
    """[N, M, C, H, W]; of green and blue before what red and green add."""
    log_scale: Tensor
    """[N, M, C, H, W]."""
    slope: Tensor
    """What a unit of red adds to green, of red to blue, of green to blue, [N, M, 3 or 0, H, W]."""

    def centre(self, channel: int, values: Tensor) -> Tensor:
        """Return the mean of `channel` [N, M, H, W] where the channels before it are `values`.

        `values` [N, M, channels, H, W] or [N, 1, channels, H, W].
        """
        mean, first = self.mean[:, :, channel], channel * (channel - 1) // 2
        for before in range(channel):
            mean = mean + self.slope[:, :, first + before] * values[:, :, before]
        return mean


class MixtureOfLogistics:
    """Pixels with 256 values: a mixture of logistic distributions, cut into bins.

    PixelCNN++ (Salimans et al. 2017, sections 2.1 and 2.2): a component is chosen for the pixel;
    then red is logistic, and the means of green and blue move linearly with the channels before.
    The first and the last bin reach to infinity, so that the probabilities add up to 1. Images
    hold value / 255; log probabilities are those of the value, one of 256. One or three channels.
    """

    def __init__(self, components: int = 10) -> None:
        self.components = components

    def outputs(self, channels: int) -> int:
        """Return how many numbers the decoder gives for a pixel."""
        return self.components * (1 + 2 * channels + channels * (channels - 1) // 2)

    def start(self, channels: int) -> Tensor:
        """Return the numbers to begin with, [outputs]: components side by side over 0..1."""
        found = torch.zeros(self.components, self.outputs(channels) // self.components)
        found[:, 1 : 1 + channels] = torch.linspace(-0.9, 0.9, self.components)[:, None]
        found[:, 1 + channels : 1 + 2 * channels] = -math.log(2 * self.components)
        return found.flatten()

    def log_prob(self, parameters: Tensor, images: Tensor) -> Tensor:
        """Return log p(x) in nats, [N]; images [N, C, H, W] of multiples of 1 / 255 in [0, 1]."""
        channels = images.shape[1]
        found = self._components(parameters, channels)
        total, values = found.log_share, images[:, None]
        for channel in range(channels):
            centre = found.centre(channel, values)
            total = total + _log_bin(values[:, :, channel], centre, found.log_scale[:, :, channel])
        return total.logsumexp(1).flatten(1).sum(1)

    def mean(self, parameters: Tensor) -> Tensor:
        """Return the expected image, [N, C, H, W] in [0, 1].

        Green and blue are those of the expected channels before, component by component: exact
        but for what lies outside of 0..1, which is cut there.
        """
        channels = self._channels(parameters)
        found = self._components(parameters, channels)
        means: list[Tensor] = []
        for channel in range(channels):
            values = torch.stack(means, 2) if means else found.mean
            means.append(
                _mean_in_unit(found.centre(channel, values), found.log_scale[:, :, channel])
            )
        return (found.log_share.exp()[:, :, None] * torch.stack(means, 2)).sum(1)

    def _channels(self, parameters: Tensor) -> int:
        numbers = {self.outputs(channels): channels for channels in (1, 3)}
        return numbers[parameters.shape[1]]

    def _components(self, parameters: Tensor, channels: int) -> _Components:
        rows = parameters.float().unflatten(1, (self.components, -1))
        pairs = rows.shape[2] - 1 - 2 * channels
        share, mean, log_scale, slope = rows.split([1, channels, channels, pairs], 2)
        return _Components(
            torch.log_softmax(share.squeeze(2), 1),
            (mean + 1) / 2,
            log_scale.clamp(*LOG_SCALES),
            torch.tanh(slope),
        )


def likelihood_of(levels: int) -> Likelihood:
    """Return the distribution of pixels with 2 or 256 values."""
    return Bernoulli() if levels == 2 else MixtureOfLogistics()


def _log_bin(values: Tensor, centre: Tensor, log_scale: Tensor) -> Tensor:
    """Return the log probability that a logistic variable falls in the bin of a value.

    With the bin's ends a > b in units of the scale, sigmoid(a) - sigmoid(b) is
    sigmoid(a) sigmoid(-b) (1 - e^(b - a)): no difference of close numbers, however far out.
    """
    half = 0.5 / (LEVELS - 1)
    scale = torch.exp(-log_scale)
    above = F.logsigmoid((values + half - centre) * scale)
    below = F.logsigmoid(-(values - half - centre) * scale)
    width = torch.log(-torch.expm1(-2 * half * scale))
    inside = above + below + width
    return torch.where(values < half, above, torch.where(values > 1 - half, below, inside))


def _mean_in_unit(centre: Tensor, log_scale: Tensor) -> Tensor:
    """Return the mean of a logistic variable whose values outside of 0..1 are moved to its ends.

    It is 1 less the integral of the distribution function over 0..1.
    """
    scale = log_scale.exp()
    return 1 - scale * (F.softplus((1 - centre) / scale) - F.softplus(-centre / scale))
