"""Folders of pictures as people bring them, for tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from npdraw.datasets import Loaded, Source, load
from npdraw.datasets.survey import Survey, survey
from npdraw.reading import Wanted

Change = Callable[[Image.Image], Image.Image]


def drawing(
    number: int,
    mode: str = "L",
    ground: Any = 0,
    ink: Any = 255,
    size: tuple[int, int] = (28, 28),
    width: int = 3,
) -> Image.Image:
    """Return a picture of a stroke that no other number has."""
    picture = Image.new(mode, size, ground)
    ends = (4 + number % 9, 5 + number // 9, 23, 22 - number % 5)
    ImageDraw.Draw(picture).line(ends, ink, width)
    return picture


def drawings(folder: Path, count: int = 20, *, change: Change | None = None, **how: Any) -> Path:
    """Write `count` drawings as PNG files; `change` is made to each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture = drawing(number, **how)
        (change(picture) if change else picture).save(folder / f"{number:03}.png")
    return folder


def shaded(number: int, size: int = 28) -> Image.Image:
    """Return a grey picture of a garment's kind: a shape with shades, on black."""
    noise = np.random.default_rng(number)
    y, x = np.mgrid[:size, :size] / size - 0.5
    shape = (abs(x) < 0.2 + 0.2 * noise.random()) & (abs(y) < 0.4)
    shade = 130 + 120 * np.sin(9 * x + 7 * y + 6 * noise.random())
    return Image.fromarray((shade * shape).clip(0, 255).astype(np.uint8))


def surveyed(folder: Path, wanted: Wanted | None = None) -> Survey:
    """Look at a folder of pictures."""
    return survey(Source("folder", folder), Path(), wanted or Wanted())


def read(folder: Path, split: str = "train", **flags: str) -> Loaded:
    """Read a folder as `npdraw parse` does: as images of 28 x 28 pixels."""
    seen = surveyed(folder, Wanted(**flags))
    return load(
        Source("folder", folder),
        split,
        root=Path(),
        image_size=28,
        channels=seen.channels,
        reading=seen.reading,
    )


def expected(count: int = 20, **how: Any) -> list[bytes]:
    """Return the images of `drawings` as they should be: light strokes on black, by default."""
    return [np.asarray(drawing(number, **how)).tobytes() for number in range(count)]
