"""The rules by which pictures become images, as a person would choose who looks at them.

data/README.md states them; every choice has a flag (docs/interface.md).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from npdraw.datasets import prepare
from npdraw.datasets.looks import Look, Pixels, Tones, border, grey, is_even, tones
from npdraw.errors import DataError
from npdraw.reading import AUTO, Reading, Wanted, colour_name, rgb

_COLOUR_SHARE = 0.1  # of the pictures; more of them in colour, and all are read in colour
_MIDDLE_SHARE = 0.2  # of the pixels; more of them are grey than the soft edges of strokes
_SHADED_SHARE = 0.01  # of the pixels, where they are not only soft edges
_SHADED_STROKES = 0.3  # of the pixels that are not ground
_CONTRAST = 40  # of 255: a picture of less has nothing but noise, perhaps
_NEARLY = 24  # of 255: as good as black, or white
_FAINT = 2  # of 255: grounds that differ more from black or white would be speckled
_PALE = 8  # of 255: so do strokes
_MANY = 0.1  # of the pictures


class Values:
    """The range of the values of pictures, by their depth."""

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf
        self._of_bytes = self._of_integers = self._of_floats = -math.inf

    def add(self, picture: Image.Image) -> None:
        """Add a picture as `decode` returns it."""
        extrema = picture.getextrema()
        pairs: Any = extrema[:3] if isinstance(extrema[0], tuple) else [extrema]
        low, high = min(pair[0] for pair in pairs), max(pair[1] for pair in pairs)
        if picture.mode == "RGBA":  # dark ink on transparency does not mean another range
            high = prepare.BYTE
        self.low, self.high = min(self.low, low), max(self.high, high)
        if picture.mode == "I":
            self._of_integers = max(self._of_integers, high)
        elif picture.mode == "F":
            self._of_floats = max(self._of_floats, high)
        else:
            self._of_bytes = max(self._of_bytes, high)

    def reading(self) -> Reading:
        """Return the reading that covers all values."""
        if self._of_floats > -math.inf:
            black = 0.0 if self.low >= 0 else -1.0 if self.low >= -1 else self.low
            return Reading(black=black, white=prepare.white_for(self._of_floats, floating=True))
        largest = max(self._of_integers, self._of_bytes)
        return Reading(white=prepare.white_for(largest) if largest > 0 else float(prepare.BYTE))


class Choices(NamedTuple):
    """How images are made of what was looked at, and why."""

    reading: Reading
    channels: int
    binarize: bool
    coloured: float
    transparent: float
    two_valued: bool
    light_ground: bool


def choices(
    looks: Sequence[Look], reading: Reading, wanted: Wanted, *, far_from_square: float, name: str
) -> Choices:
    """Decide everything that does not follow from the values alone, `reading`, as a person would.

    `far_from_square` is the share of the pictures whose sides differ by more than a third. What is
    wanted is taken as it is.

    Raises:
        DataError: every picture is of a single colour; the message names their source, `name`.
    """
    coloured = float(np.mean([look.coloured for look in looks]))
    channels = 1 if wanted.pixels == "binary" else 3 if coloured >= _COLOUR_SHARE else 1
    channels = channels if wanted.channels == AUTO else int(wanted.channels)

    background = _background(looks) if wanted.background == AUTO else wanted.background
    pictures = [look.on(rgb(background)) for look in looks]
    _check_contents(pictures, name)
    greys = [grey(picture) for picture in pictures]
    lows, highs = [float(picture.min()) for picture in greys], [float(p.max()) for p in greys]
    low, high = float(np.percentile(lows, 5)), float(np.percentile(highs, 95))
    seen = [
        tones(picture, *(own if own[1] - own[0] > _CONTRAST else (low, high)))
        for picture, own in zip(greys, zip(lows, highs, strict=True), strict=True)
    ]
    two_valued = _is_two_valued(seen)
    binarize = channels == 1 and (
        two_valued if wanted.pixels == AUTO else wanted.pixels == "binary"
    )
    light_ground = float(np.mean([tone.light_ground for tone in seen])) > 0.5
    invert = (binarize and light_ground) if wanted.invert == AUTO else wanted.invert == "yes"

    if binarize:
        low, high = _ends(greys, low, high, light_ground=light_ground)
        reading, background = _stretched(reading, background, low, high)

    even = float(np.mean([is_even(border(picture)) for picture in pictures])) > 0.5
    pad = even and far_from_square > _MANY
    fit = ("pad" if pad else "crop") if wanted.fit == AUTO else wanted.fit
    return Choices(
        reading=replace(reading, background=background, invert=invert, fit=fit),
        channels=channels,
        binarize=binarize,
        coloured=coloured,
        transparent=float(np.mean([look.transparent > 0 for look in looks])),
        two_valued=two_valued,
        light_ground=light_ground,
    )


def _check_contents(pictures: list[Pixels], name: str) -> None:
    """Raise `DataError` if every picture is of a single colour."""
    if all((picture == picture[0, 0]).all() for picture in pictures):
        black = not any(picture.any() for picture in pictures)
        what = "black" if black else "of a single colour each"
        raise DataError(
            f"all images of {name} are {what}",
            hint="There is nothing to draw. For pictures with transparency, --background sets the "
            "ground.",
        )


def _ends(
    greys: Sequence[Pixels], low: float, high: float, *, light_ground: bool
) -> tuple[float, float]:
    """Return which values of two-valued pictures, ground and ink, become black and white.

    Pale strokes, and grey grounds, would otherwise be speckled when each pixel becomes 0 or 1.
    `low` and `high` are the darkest and the lightest value of most pictures.
    """
    edges = [np.percentile(border(picture), (75, 25)) for picture in greys]
    dark, light = np.median(edges, axis=0)  # of the grounds, noise aside
    middle = (low + high) / 2
    if light_ground:
        low = low if low > _PALE else 0
        high = light if middle < light < prepare.BYTE - _FAINT else prepare.BYTE
    else:
        low = dark if _FAINT < dark < middle else 0
        high = high if high < prepare.BYTE - _PALE else prepare.BYTE
    return float(low), float(high)


def _stretched(reading: Reading, background: str, low: float, high: float) -> tuple[Reading, str]:
    """Return reading and background with which the values `low` and `high` become 0 and 255."""
    unit = (reading.white - reading.black) / prepare.BYTE
    ground = np.array(rgb(background))
    red, green, blue = ((ground - low) / (high - low) * prepare.BYTE).clip(0, prepare.BYTE)
    stretched = replace(
        reading,
        black=reading.black + low * unit,
        white=reading.white - (prepare.BYTE - high) * unit,
    )
    return stretched, colour_name(round(red), round(green), round(blue))


def _background(looks: Sequence[Look]) -> str:
    """Return the ground on which transparent pictures are seen, else the colour of the borders."""
    clear = [look for look in looks if look.transparent > 0]
    if clear:
        return "white" if np.mean([look.dark_on_clear for look in clear]) > 0.5 else "black"
    edges = np.stack([np.median(border(look.pixels[..., :3]), axis=0) for look in looks])
    middle = np.median(edges, axis=0)
    even = np.mean([is_even(border(look.pixels[..., :3])) for look in looks]) > 0.5
    if middle.max() <= _NEARLY or (not even and middle.mean() < prepare.BYTE / 2):
        return "black"
    if middle.min() >= prepare.BYTE - _NEARLY or not even:
        return "white"
    red, green, blue = (int(value) for value in middle)
    return colour_name(red, green, blue)


def _is_two_valued(seen: Sequence[Tones]) -> bool:
    """Return whether nearly all pixels are dark or light, but for the soft edges of strokes."""
    middle, shaded, dark, light = (
        float(np.mean([getattr(tone, name) for tone in seen]))
        for name in ("middle", "shaded", "dark", "light")
    )
    strokes = 1 - max(dark, light)
    return middle <= _MIDDLE_SHARE and not (
        shaded > _SHADED_SHARE and shaded > _SHADED_STROKES * strokes
    )
