"""Ground and strokes of grey pictures: which is the ground, how dark both are, and uneven light."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from npdraw.datasets import prepare
from npdraw.datasets.looks import Pixels, border

Mask = NDArray[np.bool_]

_SURE = 0.9  # of the border is ground where no strokes touch it
_WIDER = 0.25  # of the border: what it counts that one of two tones has wider areas
_SIDE = 64  # pixels of a row or column in which widths are compared
_FRAME = 0.08  # of a side: frames are narrower
_PAPER = 0.8  # of the border within a frame
_WRITTEN = 0.01  # of what is within a frame has its tone, at least
_FAINT = 2  # of 255: grounds that differ more from black or white would be speckled
_PALE = 8  # of 255: so do strokes
_NOISE = 3  # per cent of the pixels of a ground that may stay grey
_COARSE_NOISE = 10  # or of one in uneven light, or of tiny pictures, which are soft all over
_TINY = 16  # pixels of a side; fewer are tiny
_NOISE_OF_STROKES = 25
_PALEST = 10  # per cent of the pictures that may be paler, or have a darker ground
_STROKES, _GROUND = 0.5, 0.25  # of the range between them may become black or white
_BLOCKS = 8  # along each side, for uneven light
_SMALLEST = 4  # pixels of a side of a block
_STEP = 0.2  # of the lightest: light changes less from block to block


class Ground(NamedTuple):
    """The ground of a picture of two tones."""

    light: bool
    sure: bool
    """Whether it is nearly all of the border."""


def ground_of(light: Mask) -> Ground:
    """Return the ground of a picture [h, w], given which of its pixels are light.

    It is what most of the border within a frame has, and what has wider areas where strokes touch
    the border.
    """
    paper = _within_frame(light)
    share = float(border(paper).mean())
    if not 1 - _SURE < share < _SURE:
        return Ground(share > 0.5, sure=True)
    return Ground(share + _WIDER * _wider(paper) > 0.5, sure=False)


def _within_frame(light: Mask) -> Mask:
    """Return what is in a frame, if that is paper of another tone with strokes of the frame's."""
    framed = light == (border(light).mean() > 0.5)
    for depth in range(1, round(_FRAME * min(light.shape)) + 1):
        rest = framed[depth:-depth, depth:-depth]
        if border(rest).mean() <= 1 - _PAPER:
            written = _WRITTEN <= rest.mean() < 0.5
            return light[depth:-depth, depth:-depth] if written else light
    return light


def _wider(light: Mask) -> int:
    """Return 1 if the widest light area is wider than the widest dark one, -1 if narrower."""
    step = -(-max(light.shape) // _SIDE)
    lights, darks = light[::step, ::step], ~light[::step, ::step]
    while lights.any() and darks.any():
        lights, darks = _eroded(lights), _eroded(darks)
    return int(lights.any()) - int(darks.any())


def _eroded(mask: Mask) -> Mask:
    """Return the pixels whose four neighbours are in it too, as if it went on at the border."""
    wide = np.pad(mask, 1, mode="edge")
    inner = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return np.asarray(mask & inner)


def ends(
    greys: Sequence[Pixels], evened: Sequence[Pixels], *, light_ground: bool
) -> tuple[float, float]:
    """Return the values of two-valued pictures that become black and white, of ground and strokes.

    Noise, pale strokes and grey grounds would otherwise be speckled when each pixel becomes 0 or 1.
    `evened` are the pictures in even light, which show what pixels are dark and light.
    """
    uneven = any(picture is not even for picture, even in zip(greys, evened, strict=True))
    tiny = min(min(picture.shape) for picture in greys) < _TINY
    grain = _COARSE_NOISE if uneven or tiny else _NOISE
    noise = (_NOISE_OF_STROKES, grain) if light_ground else (grain, _NOISE_OF_STROKES)
    dark_levels, light_levels = [], []
    for picture, even in zip(greys, evened, strict=True):
        mask = even > (int(even.min()) + int(even.max())) / 2
        dark_levels.append(prepare.BYTE - _level(prepare.BYTE - picture, ~mask, noise[0]))
        light_levels.append(_level(picture, mask, noise[1]))
    dark, light = float(np.median(dark_levels)), float(np.median(light_levels))
    part = (_STROKES, _GROUND) if light_ground else (_GROUND, _STROKES)
    low = min(np.percentile(dark_levels, 100 - _PALEST), dark + part[0] * (light - dark))
    high = max(np.percentile(light_levels, _PALEST), light - part[1] * (light - dark))
    faint, pale = (_PALE, _FAINT) if light_ground else (_FAINT, _PALE)
    return (
        float(low) if low > faint else 0.0,
        float(high if high < prepare.BYTE - pale else prepare.BYTE),
    )


def _level(picture: Pixels, light: Mask, noise: int) -> float:
    """Return how light the light pixels of a picture are but for noise, and without soft edges."""
    core = _eroded(light)
    if np.count_nonzero(core) < np.count_nonzero(light) / 2:  # there are hardly other pixels
        return float(np.percentile(picture[light], 100 - _COARSE_NOISE))
    return float(np.percentile(picture[core], noise))


def _without_ink(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lightness of blocks with that of lighter ones around in place of wide strokes'."""
    wider = np.pad(light, 1, "reflect", reflect_type="odd")  # light goes on to change at the border
    seen = Image.fromarray(wider.round().clip(0, prepare.BYTE).astype(np.uint8))
    around = seen.filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.MinFilter(3))
    closed = np.asarray(around, np.float64)[1:-1, 1:-1]
    return np.where(closed - light > _STEP * light.max(), closed, light)


def evenly_lit(picture: Pixels) -> Pixels | None:
    """Return a picture as if its light ground were white all over; None if it is not that."""
    height, width = (side // _BLOCKS for side in picture.shape)
    if min(height, width) < _SMALLEST:
        return None
    blocks = picture[: height * _BLOCKS, : width * _BLOCKS].reshape(_BLOCKS, height, _BLOCKS, width)
    light = _without_ink(np.percentile(blocks, 100 - _COARSE_NOISE, axis=(1, 3)))
    steps = [float(abs(np.diff(light, axis=axis)).max()) for axis in (0, 1)]
    if max(steps) > _STEP * light.max() or light.min() < prepare.BYTE / 4:
        return None
    ground = Image.fromarray(light.astype(np.float32)).resize(
        picture.shape[::-1], Image.Resampling.BICUBIC
    )
    even = picture / np.maximum(np.asarray(ground), 1) * prepare.BYTE
    return np.asarray(even.clip(0, prepare.BYTE), np.uint8)
