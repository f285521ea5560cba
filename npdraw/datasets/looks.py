"""What pictures look like, one by one: colour, transparency, border, and how grey they are."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

_SIDE = 128  # pixels of a row or column that are looked at, evenly spaced
_CHROMA = 32  # of 255: the largest difference of red, green and blue of scanned paper and ink
_COLOURED = 0.005  # of the pixels: a thin line
_TRACE = 0.0005
_PAPER = 128  # of 255: tinted paper is lighter, and
_TINT = 0.8  # of its mean value is the least of its red, green and blue; they are
_ALIKE = 0.1  # of it alike all around
_SOLID, _CLEAR = 224, 32  # of 255: pixels of more opacity are opaque, of less transparent
_EVEN = 24  # of 255: most of a border of one colour is within it
_LIGHT_INK = 160  # mean of 255
_VERY_LIGHT_INK = 215
_CLEARLY = 0.1  # of the range: a third tone differs more from dark and light
_EQUAL = 0.01  # of the range: neighbours in an area of one tone differ less
_BESIDE = 0.01  # of the pixels are darker than a third tone, and as many lighter


@dataclass(frozen=True)
class Look:
    """A picture, in 8 bits, on its own."""

    pixels: Pixels
    """Evenly spaced pixels, [h, w, 4]: red, green, blue and opacity."""
    colours: Pixels
    """Red, green and blue of the opaque ones, [h, w, 3] or [n, 3], each with its neighbours."""

    @classmethod
    def at(cls, picture: Image.Image, smooth: Image.Image | None = None) -> "Look":
        """Look at a picture in mode L, RGB or RGBA; `smooth` is what `smoothed` makes of it."""
        pixels = np.asarray(thinned(picture))
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        colours = np.broadcast_to(pixels[..., :3], (*pixels.shape[:2], 3))
        opacity = pixels[..., 3:] if pixels.shape[2] == 4 else np.full_like(pixels[..., :1], 255)
        pixels = np.concatenate([colours, opacity], axis=2)
        if picture.mode == "RGB":
            seen = np.asarray(smooth or smoothed(picture))
        else:  # hidden pixels have any colour
            seen = pixels[pixels[..., 3] >= _SOLID][:, :3]
        return cls(pixels, seen)

    @property
    def transparent(self) -> float:
        """Share of the pixels that are transparent."""
        return float((self.pixels[..., 3] < _CLEAR).mean())

    @property
    def coloured(self) -> bool:
        """Whether enough of its pixels for a thin line differ clearly from grey, or the paper."""
        return self._chromatic(without_tint(self.colours)) > _COLOURED

    @property
    def tinged(self) -> bool:
        """Whether there is any colour, that of paper included."""
        return self._chromatic(self.colours) > _TRACE

    def _chromatic(self, colours: NDArray[Any]) -> float:
        """Return the share of the pixels that have one of these colours, clearly not grey."""
        red, green, blue = np.moveaxis(colours.astype(np.float32), -1, 0)
        lightest = np.maximum(np.maximum(red, green), blue)
        chroma = lightest - np.minimum(np.minimum(red, green), blue)
        return int(np.count_nonzero(chroma > _CHROMA)) / self.pixels[..., 0].size

    @property
    def opaque(self) -> Pixels:
        """Its opaque pixels in grey, [n]."""
        return grey(self.pixels[..., :3])[self.pixels[..., 3] >= _SOLID]

    @property
    def dark_on_clear(self) -> bool:
        """Whether its opaque pixels are to be shown on white: they are dark, or not very light."""
        solid = self.pixels[self.pixels[..., 3] >= _SOLID][:, :3]
        return len(solid) > 0 and float(solid.mean()) < (
            _VERY_LIGHT_INK if self.coloured else _LIGHT_INK
        )

    def on(self, ground: tuple[int, int, int]) -> Pixels:
        """Return the picture on a ground, [h, w, 3]."""
        opacity = self.pixels[..., 3:].astype(np.float32) / 255
        mixed = self.pixels[..., :3] * opacity + np.array(ground, np.float32) * (1 - opacity)
        return (mixed + 0.5).astype(np.uint8)


def smoothed(picture: Image.Image) -> Image.Image:
    """Return `thinned`, but each pixel is the mean of it and its neighbours: noise becomes grey."""
    pixels = np.asarray(picture)
    total = np.zeros((), np.uint16)
    for down in (-1, 0, 1):
        rows = pixels[(_spread(picture.height) + down).clip(0, picture.height - 1)]
        for right in (-1, 0, 1):
            total = total + rows[:, (_spread(picture.width) + right).clip(0, picture.width - 1)]
    return Image.fromarray((total // 9).astype(np.uint8))


def without_tint(colours: Pixels) -> NDArray[Any]:
    """Return colours [h, w, 3] with white paper in place of paper with a light tint."""
    if colours.ndim < 3 or not colours.size:
        return colours
    edge = border(colours).astype(np.float32)
    lightness = edge.mean(axis=1, keepdims=True)
    low, tint, high = np.percentile(edge / np.maximum(lightness, 1), (10, 50, 90), axis=0)
    paper = np.percentile(lightness, 10) >= _PAPER and (high - low).max() <= _ALIKE
    return colours / tint if paper and tint.min() >= _TINT else colours


def thinned(picture: Image.Image) -> Image.Image:
    """Return evenly spaced pixels of a picture, at most 128 x 128 of them, as a picture."""
    if max(picture.size) <= _SIDE:
        return picture
    rows, columns = _spread(picture.height), _spread(picture.width)
    return Image.fromarray(np.ascontiguousarray(np.asarray(picture)[rows][:, columns]))


def _spread(size: int) -> NDArray[np.int64]:
    return np.linspace(0, size - 1, min(size, _SIDE)).round().astype(np.int64)


def grey(colours: Pixels) -> Pixels:
    """Return [h, w, 3] in grey, [h, w], by Pillow's weights."""
    return np.asarray(Image.fromarray(colours).convert("L"))


def border(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the outermost pixels of [h, w] or [h, w, 3], as [n] or [n, 3]."""
    if min(pixels.shape[:2]) < 3:
        return pixels.reshape(-1, *pixels.shape[2:])
    rows, columns = pixels[[0, -1]], pixels[1:-1, [0, -1]]
    return np.concatenate([part.reshape(-1, *pixels.shape[2:]) for part in (rows, columns)])


def is_even(edge: Pixels) -> bool:
    """Return whether a border [n, 3] is of one colour but for a few pixels."""
    low, high = np.percentile(edge, (10, 90), axis=0)
    return bool((high - low).max() <= _EVEN)


@dataclass(frozen=True)
class Tones:
    """Shares of the pixels of a grey picture, within the range of all pictures."""

    dark: float
    light: float
    shaded: float
    """Pixels that are neither, among others like them: not the soft edge of a stroke."""

    @property
    def middle(self) -> float:
        """Pixels that are neither dark nor light."""
        return 1 - self.dark - self.light


def tones(pixels: Pixels, low: float, high: float) -> Tones:
    """Return the tones of a grey picture [h, w]; `low` is dark, and `high` light."""
    scaled = (pixels.astype(np.float32) - low) / max(high - low, 1)
    dark, light = scaled <= 0.2, scaled >= 0.8
    middle = ~(dark | light)
    inner = middle[1:-1, 1:-1] & middle[:-2, 1:-1] & middle[2:, 1:-1]
    inner &= middle[1:-1, :-2] & middle[1:-1, 2:]
    return Tones(float(dark.mean()), float(light.mean()), float(inner.sum() / middle.size))


def third_tone(pixels: Pixels, low: float, high: float) -> float:
    """Return the share of a grey picture [h, w] with areas of one tone clearly between two others.

    Noise and the soft edges of strokes do not count: there, other pixels have nearly that tone too.
    """
    scaled = (pixels.astype(np.float32) - low) / max(high - low, 1)
    centre = scaled[1:-1, 1:-1]
    flat = (centre > _CLEARLY) & (centre < 1 - _CLEARLY)
    for other in (scaled[:-2, 1:-1], scaled[2:, 1:-1], scaled[1:-1, :-2], scaled[1:-1, 2:]):
        flat &= abs(other - centre) < _EQUAL
    if not flat.any():
        return 0.0
    counts = np.bincount((centre[flat] / _EQUAL).astype(np.int64))
    tone = (int(counts.argmax()) + 0.5) * _EQUAL
    area = float((flat & (abs(centre - tone) < _CLEARLY / 4)).sum() / pixels.size)
    away = abs(scaled - tone)
    spread = float(((away >= _CLEARLY / 4) & (away < _CLEARLY * 0.75)).mean())
    beyond = min(
        float((scaled < tone - _CLEARLY / 2).mean()), float((scaled > tone + _CLEARLY / 2).mean())
    )
    return area if spread < area / 2 and beyond > _BESIDE else 0.0
