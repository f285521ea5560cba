"""DRAW with attention (Gregor et al. 2015): a recurrent VAE that writes on a canvas.

In each of T steps an encoder reads a patch of the image and of what the canvas lacks, one Gaussian
vector is drawn, and a decoder writes a patch onto the canvas. Where to read and write, and at what
zoom, is chosen by the decoder (Gregor et al. 2015, section 3.2). The canvas in the end gives the
distribution of the pixels. Equations are those of the paper.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.rivals.rival import Rival, spread, start_of_pixels
from benchmarks.rivals.vae import LARGEST_LOG_SCALE, Gaussian, standard_normal
from npdraw.model.likelihood import likelihood_of


class Window(nn.Module):
    """A square of Gaussian filters on the image, chosen from the decoder's state."""

    def __init__(self, states: int, size: int, height: int, width: int) -> None:
        """There are `size` x `size` filters."""
        super().__init__()
        self.size, self.height, self.width = size, height, width
        self.head = nn.Linear(states, 5)

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return filters for rows [N, size, H] and columns [N, size, W], and intensity [N].

        Equations (19) to (26).
        """
        across, down, log_variance, log_spacing, log_intensity = self.head(state).unbind(1)
        middle_x = (self.width + 1) / 2 * (across + 1)
        middle_y = (self.height + 1) / 2 * (down + 1)
        most = max(self.height, self.width) - 1
        spacing = most / max(self.size - 1, 1) * log_spacing.exp()
        offsets = torch.arange(self.size, device=state.device) + 0.5 - self.size / 2
        places = offsets * spacing[:, None]
        rows = self._filters(middle_y[:, None] + places, log_variance, self.height)
        columns = self._filters(middle_x[:, None] + places, log_variance, self.width)
        return rows, columns, log_intensity.exp()

    def _filters(self, centres: Tensor, log_variance: Tensor, length: int) -> Tensor:
        pixels = torch.arange(1, length + 1, device=centres.device)
        distance = (pixels - centres[..., None]).square()
        weights = torch.exp(-distance / (2 * log_variance.exp()[:, None, None]))
        return weights / (weights.sum(2, keepdim=True) + 1e-8)


def read(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return what the filters see of images [N, C, H, W], [N, C, size, size], equation (27)."""
    return torch.einsum("nih,nchw,njw->ncij", rows, images, columns)


def write(patches: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return patches [N, C, size, size] on the canvas, [N, C, H, W], equation (29)."""
    return torch.einsum("nih,ncij,njw->nchw", rows, patches, columns)


@dataclass(frozen=True)
class Drawn:
    """A drawing of each image, with what it costs, [N] each, nats."""

    canvas: Tensor
    kl: Tensor
    """Sum over the steps of KL(q || N(0, 1)), equation (11)."""
    rate: Tensor
    """log q(z | x) - log p(z) of the vectors that were drawn."""


class DRAW(Rival):
    """Encoder, decoder, and the canvas between them."""

    deterministic = False

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        levels: int,
        steps: int = 16,
        latents: int = 32,
        states: int = 256,
        read_size: int = 2,
        write_size: int = 5,
        kl_warmup: float = 0.0,
    ) -> None:
        """Images have the `shape` (channels, height, width) and pixels `levels` values, 2 or 256.

        In the first `kl_warmup` of the training the weight of the KL rises from 0 to 1.
        """
        super().__init__()
        self.shape, self.steps, self.latents, self.warmup = shape, steps, latents, kl_warmup
        self.likelihood = likelihood_of(levels)
        channels, height, width = shape
        self.outputs = self.likelihood.outputs(channels)
        self.read_window = Window(states, read_size, height, width)
        self.write_window = Window(states, write_size, height, width)
        seen = 2 * channels * read_size**2
        self.encoder = nn.LSTMCell(seen + states, states)
        self.posterior_head = nn.Linear(states, 2 * latents)
        self.decoder = nn.LSTMCell(latents, states)
        self.patch_head = nn.Linear(states, self.outputs * write_size**2)
        self.first_canvas = nn.Parameter(torch.zeros(self.outputs, height, width))
        for layer in (self.encoder, self.decoder, self.posterior_head, self.patch_head):
            spread(layer)

    @torch.no_grad()
    def start_from(self, images: Tensor) -> None:
        """Start at the means of pixels."""
        self.first_canvas.copy_(start_of_pixels(self.likelihood, images))

    def loss(self, images: Tensor, noise: torch.Generator, done: float) -> Tensor:
        """Return the negative ELBO, [N], equations (9) to (12)."""
        weight = min(1.0, done / self.warmup) if self.warmup else 1.0
        drawn = self._draw(images, noise)
        return weight * drawn.kl - self.likelihood.log_prob(drawn.canvas, images)

    def log_weight(self, images: Tensor, noise: torch.Generator) -> Tensor:
        """Return log p(x, z) - log q(z | x) of one z ~ q, [N]."""
        drawn = self._draw(images, noise)
        return self.likelihood.log_prob(drawn.canvas, images) - drawn.rate

    def _draw(self, images: Tensor, noise: torch.Generator) -> Drawn:
        """Draw each image once, equations (3) to (8)."""
        canvas, decoder = self._start(len(images))
        encoder = decoder
        kl = rate = images.new_zeros(len(images))
        for _ in range(self.steps):
            missing = images - self.likelihood.mean(canvas)
            rows, columns, intensity = self.read_window(decoder[0])
            seen = read(torch.cat([images, missing], 1), rows, columns).flatten(1)
            seen = intensity[:, None] * seen
            encoder = self.encoder(torch.cat([seen, decoder[0]], 1), encoder)
            mean, log_scale = self.posterior_head(encoder[0]).float().chunk(2, 1)
            q = Gaussian(mean, log_scale.clamp(-LARGEST_LOG_SCALE, LARGEST_LOG_SCALE))
            normal = torch.randn(mean.shape, generator=noise, device=mean.device)
            z = q.sample(normal.to(mean.dtype))
            kl, rate = kl + q.kl(), rate + q.log_prob(z) - standard_normal(z)
            canvas, decoder = self._step(z, canvas, decoder)
        return Drawn(canvas, kl, rate)

    def decode(self, z: Tensor) -> Tensor:
        """Return the canvases of vectors [N, steps, latents], [N, outputs, H, W]."""
        canvas, decoder = self._start(len(z))
        for step in z.unbind(1):
            canvas, decoder = self._step(step, canvas, decoder)
        return canvas

    def _start(self, count: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the first canvas and state of the decoder."""
        state = self.first_canvas.new_zeros(count, self.decoder.hidden_size)
        return self.first_canvas.expand(count, -1, -1, -1), (state, state)

    def _step(
        self, z: Tensor, canvas: Tensor, decoder: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return canvas and state after a step of the decoder, equations (7) and (8)."""
        decoder = self.decoder(z, decoder)
        rows, columns, intensity = self.write_window(decoder[0])
        size = self.write_window.size
        patches = self.patch_head(decoder[0]).view(-1, self.outputs, size, size)
        return canvas + write(patches, rows, columns) / intensity[:, None, None, None], decoder

    @torch.no_grad()
    def sample(self, count: int, noise: torch.Generator) -> Tensor:
        """Draw images, [count, C, H, W], equations (13) to (16)."""
        shape = count, self.steps, self.latents
        z = torch.randn(shape, generator=noise, device=noise.device)
        return self.likelihood.sample(self.decode(z), noise)
