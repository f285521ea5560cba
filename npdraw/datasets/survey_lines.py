"""How the lines of a survey say what was seen and chosen: colour, ground, transparency, values."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from npdraw.datasets import prepare
from npdraw.reading import AUTO, Wanted, short

if TYPE_CHECKING:
    from npdraw.datasets.survey import Survey

_SOME = 0.1  # of the pictures; in more of them, some colour is worth a word
_HALF = 0.4  # of the pictures, at least: about half
_DIM = 128  # of 255: pictures that are never so light are dark


def option(wanted: Wanted, name: str, text: str) -> str:
    """Return what names the option that changes a choice, if the choice was automatic."""
    return text if getattr(wanted, name) == AUTO else ""


def colour(seen: "Survey") -> str:
    """Return whether the pictures are read in colour, in grey, or as two-valued."""
    share = "a tint or traces of colour" if seen.tinged >= _SOME else "grey"
    if seen.coloured:
        share = f"{max(seen.coloured, 0.01):.0%} of them in colour"
    if seen.channels == 3:
        text = "in colour" if seen.coloured >= 0.995 else f"{share}: read in colour"
        return text + option(seen.wanted, "channels", " (--channels 1 for grey)")
    text = share
    if share != "grey":
        text += ": read in grey" + option(seen.wanted, "channels", " (--channels 3 for colour)")
    if seen.binarize:
        kind = "two-valued" if seen.two_valued else "made two-valued"
        return f"{text}, {kind}" + option(seen.wanted, "pixels", " (--pixels levels for all greys)")
    uneven = ", as the light is uneven" if seen.uneven else ""
    return f"{text}, with all levels{uneven}" + option(
        seen.wanted, "pixels", " (--pixels binary for black and white)"
    )


def ground(seen: "Survey") -> str:
    """Return whether strokes are dark or light, and whether they are inverted."""
    inverted = seen.reading.invert
    if not seen.binarize:
        return "; inverted" if inverted else ""
    kinds = ["light strokes on a dark ground", "dark strokes on a light ground"]
    usual, other = kinds[:: -1 if seen.light_ground else 1]
    half = " in about half of them" if seen.others >= _HALF * seen.looked_at else ""
    kept = ": inverted" + option(seen.wanted, "invert", " (--invert no keeps them)")
    if not seen.light_ground:
        kept = ", inverted"
    text = f"; {usual}{half}" + (kept if inverted else ", kept so" if seen.light_ground else "")
    if seen.others:
        text += (
            f"; {seen.others:,} of {seen.looked_at:,} look the other way round ({other}), "
            "but are read in the same way: give them a folder of their own, or use --pixels levels"
        )
    return text


def transparency(seen: "Survey") -> Iterator[str]:
    """Return on what ground transparent pictures are put."""
    if seen.transparent:
        share = "all" if seen.transparent == 1 else f"{seen.transparent:.0%}"
        text = option(seen.wanted, "background", " (--background black, white or #rrggbb)")
        wanted = seen.wanted.background  # a reading has it as it becomes in two-valued images
        on = seen.reading.background if wanted == AUTO else wanted
        yield f"{share} have transparent pixels, put on {on}{text}"


def values(seen: "Survey") -> Iterator[str]:
    """Return which values become black and white, if they are not 0 and 255."""
    low, high = seen.values
    black, white = seen.reading.black, seen.reading.white
    ends = [short(value, white - black) for value in (low, high, black, white)]
    if (black, white) != (0, prepare.BYTE):
        stray = ", and so do larger ones" if high > white and not seen.binarize else ""
        yield "values from {} to {}: {} becomes black, {} white".format(*ends) + stray
    elif high < _DIM and not seen.binarize:
        yield f"values from {ends[0]} to {ends[1]} of {prepare.BYTE}: as dark as they are"
