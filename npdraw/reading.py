"""How pictures and arrays that a user brings become images: what is wanted, and what was chosen.

Nothing here imports torch or numpy.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from npdraw.errors import UsageError, did_you_mean

AUTO = "auto"
FITS = ("crop", "pad", "stretch")

_GROUNDS = {"black": (0, 0, 0), "white": (255, 255, 255)}
_HEX = re.compile("#[0-9a-f]{6}")
_FARTHEST = 2.0**64  # no value of an array that is used is beyond it


@dataclass(frozen=True)
class Reading:
    """How pictures or arrays become images. `npdraw parse` stores it; later commands follow it.

    Values `black`..`white` become 0..255. Then transparent pixels show `background`, the picture is
    made square, and `invert` turns dark strokes on a light ground into light ones on a dark ground.
    """

    background: str = "black"
    """Ground under transparent pixels and around padded pictures: black, white or #rrggbb."""
    invert: bool = False
    fit: str = "crop"
    """How pictures become square: crop their centre, pad their shorter sides, or stretch them."""
    white: float = 255.0
    """The value that stands for full light; for 8-bit values at most 255."""
    black: float = 0.0
    """The value that stands for no light."""

    @property
    def ground(self) -> tuple[int, int, int]:
        """The background as red, green and blue."""
        return rgb(self.background)

    def record(self) -> dict[str, Any]:
        """Return the reading as the values that artifacts store."""
        return asdict(self)


@dataclass(frozen=True)
class Wanted:
    """What the flags of a command ask for: each is "auto", or a value."""

    background: str = AUTO
    """Auto, black, white or #rrggbb."""
    invert: str = AUTO
    """Auto, yes or no."""
    fit: str = AUTO
    """Auto, crop, pad or stretch."""
    channels: str = AUTO
    """Auto, 1 or 3."""
    pixels: str = AUTO
    """Auto, binary or levels."""

    def __post_init__(self) -> None:
        """Check the values; `UsageError` names the flag of a wrong one."""
        if self.background != AUTO and not _is_ground(self.background):
            raise UsageError(
                f"--background {self.background} is not a colour",
                hint="Use auto, black, white, or six hexadecimal digits such as '#ffe0c0'.",
            )
        for name, choices in {
            "invert": ("yes", "no"),
            "fit": FITS,
            "channels": ("1", "3"),
            "pixels": ("binary", "levels"),
        }.items():
            value = getattr(self, name)
            if value not in (AUTO, *choices):
                raise UsageError(
                    f"--{name} {value} is unknown", hint=did_you_mean(value, (AUTO, *choices))
                )
        if (self.channels, self.pixels) == ("3", "binary"):
            raise UsageError(
                "--channels 3 with --pixels binary: colour is not binary",
                hint="Use --pixels levels, or --channels 1.",
            )


def rgb(background: str) -> tuple[int, int, int]:
    """Return red, green and blue of black, white or #rrggbb."""
    if background in _GROUNDS:
        return _GROUNDS[background]
    red, green, blue = bytes.fromhex(background[1:])
    return red, green, blue


def colour_name(red: int, green: int, blue: int) -> str:
    """Return black, white or #rrggbb."""
    names = {value: name for name, value in _GROUNDS.items()}
    return names.get((red, green, blue), f"#{red:02x}{green:02x}{blue:02x}")


def short(value: float, span: float) -> str:
    """Return a value with as many digits as matter where values differ by `span` at most."""
    places = max(0, 2 - math.floor(math.log10(span)))
    text = f"{value:.{places}f}"
    text = text.rstrip("0").rstrip(".") if places else text
    return "0" if text == "-0" else text


def from_record(values: Any) -> Reading | None:
    """Return the reading that `Reading.record` gave as `values`, or None if they are not one."""
    names = set(Reading().record())
    if not isinstance(values, Mapping) or set(values) != names:
        return None
    background, fit, white, black = (values[n] for n in ("background", "fit", "white", "black"))
    numbers = type(white) is float and type(black) is float
    if (
        type(background) is str
        and _is_ground(background)
        and type(values["invert"]) is bool
        and fit in FITS
        and type(fit) is str
        and numbers
        and -_FARTHEST <= black < white <= _FARTHEST
    ):
        return Reading(**values)
    return None


def _is_ground(text: str) -> bool:
    return text in _GROUNDS or _HEX.fullmatch(text) is not None
