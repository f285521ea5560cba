"""PixelCNN with gated layers (van den Oord et al. 2016, Conditional Image Generation).

Each pixel is given all pixels above it and those left of it. Their features come from two stacks:
a vertical one, which sees the rows above, and a horizontal one, which sees the pixels to the left
and the vertical one, so that no pixel before is missed (van den Oord et al. 2016, section 2.2).
Colour channels of a pixel depend on each other within the likelihood, as in PixelCNN++ (Salimans et
al. 2017).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.rivals.rival import Rival
from npdraw.model.likelihood import likelihood_of


def gate(x: Tensor) -> Tensor:
    """Return `tanh(a) * sigmoid(b)` of the two halves of the channels, their equation (2)."""
    a, b = x.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)


class GatedLayer(nn.Module):
    """One layer of both stacks, their figure 2."""

    def __init__(self, inputs: int, width: int, size: int, *, first: bool) -> None:
        """Kernels reach `size` // 2 pixels; the `first` layer must not see the pixel itself."""
        super().__init__()
        self.reach, self.first = size // 2, first
        self.vertical = nn.Conv2d(inputs, 2 * width, (self.reach + 1, size))
        self.horizontal = nn.Conv2d(inputs, 2 * width, (1, self.reach + (not first)))
        self.down = nn.Conv2d(2 * width, 2 * width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, vertical: Tensor, horizontal: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next features of both stacks, [N, width, H, W] each."""
        reach = self.reach
        v = self.vertical(F.pad(vertical, (reach, reach, reach, 0)))
        above = F.pad(v, (0, 0, 1, 0))[:, :, :-1]  # of the row above, which knows its own row
        left = F.pad(horizontal, (reach, 0))
        h = self.horizontal(left[..., :-1] if self.first else left) + self.down(above)
        out: Tensor = self.out(gate(h))
        return gate(v), out if self.first else horizontal + out


class PixelCNN(Rival):
    """The likelihood of images, pixel by pixel in raster order."""

    deterministic = exact = True

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        levels: int,
        width: int = 64,
        depth: int = 10,
        dropout: float = 0.0,
    ) -> None:
        """Images have the `shape` (channels, height, width) and pixels `levels` values, 2 or 256.

        There is a layer of 7 x 7 pixels, then `depth` layers of 3 x 3.
        """
        super().__init__()
        self.shape, self.likelihood = shape, likelihood_of(levels)
        self.layers = nn.ModuleList([GatedLayer(shape[0], width, 7, first=True)])
        self.layers.extend(GatedLayer(width, width, 3, first=False) for _ in range(depth))
        self.drop = nn.Dropout2d(dropout)
        self.join = nn.Conv2d(width, width, 1)
        self.head = nn.Conv2d(width, self.likelihood.outputs(shape[0]), 1)
        start = self.likelihood.start(shape[0])
        if start is not None:
            nn.init.zeros_(self.head.weight)
            self.head.bias = nn.Parameter(start)

    def forward(self, images: Tensor) -> Tensor:
        """Return the parameters of each pixel, given those before it, [N, outputs, H, W]."""
        vertical = horizontal = 2 * images - 1
        for layer in self.layers:
            vertical, horizontal = layer(self.drop(vertical), self.drop(horizontal))
        return self.read_out(horizontal)

    def read_out(self, features: Tensor) -> Tensor:
        """Return parameters [N, outputs, H, W] of the features of the horizontal stack."""
        parameters: Tensor = self.head(F.silu(self.join(F.silu(features))))
        return parameters

    def loss(self, images: Tensor, noise: torch.Generator, done: float) -> Tensor:
        """Return -log p(x), [N]."""
        del noise, done
        return -self.likelihood.log_prob(self(images), images)

    def log_weight(self, images: Tensor, noise: torch.Generator) -> Tensor:
        """Return log p(x), [N]."""
        del noise
        return self.likelihood.log_prob(self(images), images)

    @torch.no_grad()
    def sample(self, count: int, noise: torch.Generator) -> Tensor:
        """Draw images, [count, C, H, W], one pixel after the other."""
        _, height, width = self.shape
        images = torch.zeros(count, *self.shape, device=noise.device)
        seen = _Seen(self, count, noise.device)
        for row in range(height):
            for column in range(width):
                pixel = self.likelihood.sample(seen.parameters(column), noise)
                images[:, :, row : row + 1, column : column + 1] = pixel
                seen.add_pixel(pixel)
            seen.add_row(images[:, :, row : row + 1])
        return images


class _Seen:
    """What the layers remember of the pixels before the next one, so that each is computed once."""

    def __init__(self, model: PixelCNN, count: int, device: torch.device) -> None:
        self.model = model
        width = model.shape[2]
        self.rows, self.above = [], []
        for layer in model.layers:
            inputs, outputs = layer.vertical.in_channels, layer.vertical.out_channels
            self.rows.append(torch.zeros(count, inputs, layer.reach, width, device=device))
            self.above.append(layer.down(torch.zeros(count, outputs, 1, width, device=device)))
        self._start_row()

    def _start_row(self) -> None:
        """Forget the pixels to the left: there are none."""
        self.left = [x.new_zeros(*x.shape[:2], 1, x.shape[2]) for x in self.rows]

    def parameters(self, column: int) -> Tensor:
        """Return the parameters of the next pixel, which is in `column`, [N, outputs, 1, 1]."""
        features = self.left[0]
        for k, layer in enumerate(self.model.layers):
            window = features if layer.first else torch.cat([self.left[k], features], 3)
            h = layer.horizontal(window) + self.above[k][..., column : column + 1]
            out = layer.out(gate(h))
            if not layer.first:
                self.left[k] = window[..., 1:]
            features = out if layer.first else features + out
        return self.model.read_out(features)

    def add_pixel(self, pixel: Tensor) -> None:
        """Go on to the right of a pixel [N, C, 1, 1]."""
        self.left[0] = torch.cat([self.left[0], 2 * pixel - 1], 3)[..., 1:]

    def add_row(self, pixels: Tensor) -> None:
        """Go on below a row [N, C, 1, W]."""
        features = 2 * pixels - 1
        for k, layer in enumerate(self.model.layers):
            window = torch.cat([self.rows[k], features], 2)
            self.rows[k] = window[:, :, 1:]
            v = layer.vertical(F.pad(window, (layer.reach, layer.reach)))
            self.above[k] = layer.down(v)
            features = gate(v)
        self._start_row()
