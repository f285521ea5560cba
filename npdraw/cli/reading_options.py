"""The flags about how pictures and arrays of your own become images (npdraw/reading.py)."""

from typing import Annotated, Literal

from npdraw.cli.declare import option
from npdraw.cli.options import INPUT

_OWN = "; for folder:, npz: and idx:"
Background = Annotated[
    str,
    option(
        "--background",
        INPUT,
        f"colour behind transparent pixels and around padded pictures: black, white, #rrggbb{_OWN}",
    ),
]
Invert = Annotated[
    Literal["auto", "yes", "no"],
    option("--invert", INPUT, f"swap light and dark; auto: if strokes are dark on light{_OWN}"),
]
Fit = Annotated[
    Literal["auto", "crop", "pad", "stretch"],
    option(
        "--fit", INPUT, f"how pictures become square; auto: pad drawings, crop photographs{_OWN}"
    ),
]
Channels = Annotated[
    Literal["auto", "1", "3"],
    option("--channels", INPUT, "1: grey, 3: colour; auto: 3 if one picture in ten has colour"),
]
PixelValues = Annotated[
    Literal["auto", "binary", "levels"],
    option(
        "--pixels", INPUT, "binary: black or white; levels: 256; auto: binary if nearly two-valued"
    ),
]
