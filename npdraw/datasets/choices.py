"""The rules by which pictures become images, as a person would choose who looks at them.

data/README.md states them; every choice has a flag (docs/interface.md).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from npdraw.datasets import prepare
from npdraw.datasets.ground import ends, evenly_lit, ground_of
from npdraw.datasets.looks import Look, Pixels, border, grey, is_even, third_tone, tones
from npdraw.datasets.values import DIM
from npdraw.errors import DataError
from npdraw.reading import AUTO, Reading, Wanted, colour_name, rgb

_COLOUR_SHARE = 0.1  # of the pictures; more of them in colour, and all are read in colour
_MIDDLE_SHARE = 0.2  # of the pixels; more of them are grey than the soft edges of strokes
_SHADED_SHARE = 0.01  # of the pixels, where they are not only soft edges
_SHADED_STROKES = 0.3  # of the pixels that are not ground
_SHADED_LABELS = 0.1
_THIRD_TONE = 0.15
_CONTRAST = 40  # of 255: a picture of less has nothing but noise, perhaps
_NEARLY = 24  # of 255: as good as black, or white
_MANY = 0.1  # of the pictures
_BETWEEN = "#808080"
_FEW = 100  # pictures that are looked at for uneven light


class Choices(NamedTuple):
    """How images are made of what was looked at, and why."""

    reading: Reading
    channels: int
    binarize: bool
    coloured: float
    tinged: float
    transparent: float
    two_valued: bool
    light_ground: bool
    others: int
    uneven: bool


def choices(
    looks: Sequence[Look], reading: Reading, wanted: Wanted, *, far_from_square: float, name: str
) -> Choices:
    """Decide everything that does not follow from the values alone, `reading`, as a person would.

    `far_from_square` is the share of the pictures whose sides differ by more than a tenth. What is
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
    labels = 1 < reading.white <= DIM
    ranges = _ranges(greys, own=not labels)
    light_ground, others = _ground(greys, ranges)
    two_valued = _is_two_valued(greys, ranges, labels=labels)
    uneven = channels == 1 and not two_valued and light_ground and _is_unevenly_lit(greys)
    black, white = _ends(greys, light_ground=light_ground, uneven=uneven)
    if uneven:  # strokes are darker than the ground everywhere, perhaps
        two_valued = _is_two_valued([_clipped(picture, black, white) for picture in greys])
    two_valued = two_valued and not _on_both_sides(looks, background)
    binarize = channels == 1 and (
        two_valued if wanted.pixels == AUTO else wanted.pixels == "binary"
    )
    invert = (binarize and light_ground) if wanted.invert == AUTO else wanted.invert == "yes"
    if binarize:
        reading, background = _stretched(reading, background, black, white)

    even = float(np.mean([is_even(border(picture)) for picture in pictures])) > 0.5
    pad = even and far_from_square > _MANY
    fit = ("pad" if pad else "crop") if wanted.fit == AUTO else wanted.fit
    return Choices(
        reading=replace(reading, background=background, invert=invert, fit=fit),
        channels=channels,
        binarize=binarize,
        coloured=coloured,
        tinged=float(np.mean([look.tinged for look in looks])),
        transparent=float(np.mean([look.transparent > 0 for look in looks])),
        two_valued=two_valued,
        light_ground=light_ground,
        others=others,
        uneven=uneven,
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


def _stretched(reading: Reading, background: str, low: float, high: float) -> tuple[Reading, str]:
    """Return reading and background with which the greys `low` and `high` become 0 and 255."""
    if (low, high) == (0, prepare.BYTE):
        return reading, background
    unit = (reading.white - reading.black) / prepare.BYTE
    ground = int(grey(np.array([[rgb(background)]], np.uint8))[0, 0])
    level = round(min(max((ground - low) / (high - low), 0), 1) * prepare.BYTE)
    stretched = replace(
        reading,
        black=reading.black + low * unit,
        white=reading.white - (prepare.BYTE - high) * unit,
    )
    return stretched, colour_name(*[level] * 3)


def _background(looks: Sequence[Look]) -> str:
    """Return the ground on which transparent pictures are seen, else the colour of the borders."""
    clear = [look for look in looks if look.transparent > 0]
    if clear:
        lost = [np.mean([_vanishes(look, level) for look in clear]) for level in (0, prepare.BYTE)]
        if min(lost) > _MANY:
            return _BETWEEN
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


def _vanishes(look: Look, level: int) -> bool:
    """Return whether what is opaque cannot be seen on a grey of `level`."""
    opaque = look.opaque.astype(np.int64)
    return opaque.size > 0 and bool((abs(opaque - level) <= _NEARLY).all())


def _on_both_sides(looks: Sequence[Look], background: str) -> bool:
    """Return whether what is opaque is darker than the ground in many pictures, lighter in many."""
    level = int(grey(np.array([[rgb(background)]], np.uint8))[0, 0])
    seen = [
        np.median(look.opaque) - level for look in looks if look.transparent and look.opaque.size
    ]
    darker = sum(difference < -_CONTRAST for difference in seen)
    lighter = sum(difference > _CONTRAST for difference in seen)
    return bool(min(darker, lighter) > _MANY * len(looks))


def _ranges(greys: Sequence[Pixels], *, own: bool) -> list[tuple[float, float]]:
    """Return the darkest and the lightest value of each picture, or of most pictures.

    Those of most hold for pictures of a single colour, and for labels: not each has the largest.
    """
    ranges = [(float(picture.min()), float(picture.max())) for picture in greys]
    lows, highs = np.array(ranges).T
    most = float(np.percentile(lows, 5)), float(np.percentile(highs, 95))
    return [pair if own and pair[1] - pair[0] > _CONTRAST else most for pair in ranges]


def _is_two_valued(
    greys: Sequence[Pixels],
    ranges: Sequence[tuple[float, float]] | None = None,
    *,
    labels: bool = False,
) -> bool:
    """Return whether nearly all pixels are dark or light, but for the soft edges of strokes."""
    ranges = ranges or _ranges(greys, own=True)
    seen = [tones(picture, *pair) for picture, pair in zip(greys, ranges, strict=True)]
    middle, shaded, dark, light = (
        float(np.mean([getattr(tone, name) for tone in seen]))
        for name in ("middle", "shaded", "dark", "light")
    )
    pairs = zip(greys, ranges, strict=True)
    third = float(np.mean([third_tone(picture, *pair) for picture, pair in pairs]))
    strokes = 1 - max(dark, light)
    return (
        middle <= _MIDDLE_SHARE
        and shaded <= max(_SHADED_SHARE, strokes * (_SHADED_LABELS if labels else _SHADED_STROKES))
        and third <= max(_SHADED_SHARE, strokes * _THIRD_TONE)
    )


def _ends(greys: Sequence[Pixels], *, light_ground: bool, uneven: bool) -> tuple[float, float]:
    """Return what becomes black and white, by the pictures that have more than noise, if any."""
    seen = [picture for picture in greys if np.ptp(picture) > _CONTRAST] or greys
    evened = [evenly_lit(picture) if uneven else picture for picture in seen]
    known = [picture if even is None else even for picture, even in zip(seen, evened, strict=True)]
    return ends(seen, known, light_ground=light_ground)


def _clipped(picture: Pixels, black: float, white: float) -> Pixels:
    """Return a picture with the values `black` and `white` as 0 and 255."""
    scaled = (picture - black) / (white - black) * prepare.BYTE
    return np.asarray(scaled.clip(0, prepare.BYTE), np.uint8)


def _ground(greys: Sequence[Pixels], ranges: Sequence[tuple[float, float]]) -> tuple[bool, int]:
    """Return whether most pictures have a light ground, and how many clearly have the other."""
    grounds = [
        ground_of(picture > (low + high) / 2)
        for picture, (low, high) in zip(greys, ranges, strict=True)
    ]
    light = sum(ground.light for ground in grounds) > len(grounds) / 2
    others = sum(
        ground.sure and ground.light != light and np.ptp(picture) > _CONTRAST
        for picture, ground in zip(greys, grounds, strict=True)
    )
    return light, int(others)


def _is_unevenly_lit(greys: Sequence[Pixels]) -> bool:
    """Return whether pictures would be two-valued if their light ground were evenly lit."""
    few = greys[:: -(-len(greys) // _FEW)]
    even = [lit for picture in few if (lit := evenly_lit(picture)) is not None]
    return len(even) > len(few) / 2 and _is_two_valued(even)
