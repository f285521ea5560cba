"""Models and drawings as a notebook shows them: pictures, and a line of facts."""

import base64
import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from npdraw.drawings.frames import check_animation, moving, pairs, prefixes, usual_fps
from npdraw.model.latents import Latents
from npdraw.pictures.files import encoded, png
from npdraw.pictures.sheet import tile

if TYPE_CHECKING:
    from npdraw.drawings.drawing_model import DrawingModel

SAMPLES = 12
"""Samples that show a model, those of seeds 0 to 11. They take half a second to two seconds."""

MOST = 48
"""Drawings that are shown, at most; further ones are only counted."""

COLUMNS = 6
"""Drawings side by side, at most."""


@dataclass(frozen=True)
class Picture:
    """A picture that a notebook shows."""

    png: bytes
    """The content of a PNG file; if it moves, of an animated one, which browsers play."""

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        return f"<picture, PNG of {len(self.png):,} bytes>"


@dataclass(frozen=True, repr=False, eq=False)
class Drawings(Latents):
    """Drawings of a model. A notebook shows each as a pair: the canvas, and the decoded image.

    What is made of them with the methods of `Latents` shows itself too, such as `drawings[:3]`.
    """

    model: "DrawingModel" = field(kw_only=True)

    def picture(self) -> Picture:
        """Return the pairs of canvas and decoded image, of the first 48 drawings."""
        z = self._rows()[:MOST]
        columns = min(len(z), COLUMNS)
        return Picture(png(tile(pairs(self.model, z, columns)[0], columns)))

    def animation(self, fps: float | None = None) -> Picture:
        """Return how the canvases fill stroke by stroke, beside the decoded images.

        Up to 16 drawings are side by side, as by `npdraw animate`. `fps` are frames per second:
        8, or faster so that it takes at most 15 s.

        Raises:
            UsageError: there are more drawings, or `fps` is out of range.
        """
        z = self._rows()
        check_animation(len(z), fps)
        ways = [prefixes(z[row : row + 1]) for row in range(len(z))]
        frames, outlines = moving(self.model, ways)
        milliseconds = round(1000 / (fps or usual_fps(ways)))
        return Picture(encoded(".png", frames, outlines, "", milliseconds))

    def _rows(self) -> "Drawings":
        """Return the drawings as [N, T], even if one was picked by its number."""
        return self if self.whether.ndim == 2 else self.map(lambda x: x[None])

    def _repr_png_(self) -> bytes | None:
        return self.picture().png if len(self._rows()) else None

    def __repr__(self) -> str:
        strokes = self._rows().whether.sum(1).tolist()
        counts = f"{min(strokes)} to {max(strokes)}" if len(set(strokes)) > 1 else f"{strokes[:1]}"
        noun = "drawing" if len(strokes) == 1 else "drawings"
        cells = self.whether.shape[-1]
        return f"<{len(strokes):,} {noun} of {cells} cells, {counts.strip('[]') or 0} strokes>"


def line(model: "DrawingModel") -> str:
    """Return a line about a model: its file, its images, its drawings, its size and its bound."""
    parse, layout, dataset = model.config.parse, model.layout, model.header.dataset
    kind = "colour" if parse.channels == 3 else "binary" if parse.binarize else "grey"
    layers = f" in each of {len(layout.grids)} layers" if len(layout.grids) > 1 else ""
    classes = f", {len(model.classes)} classes" if model.classes else ""
    size = sum(weight.numel() for weight in model.network.parameters())
    nll = model.header.metrics.get("nll")
    bound = "" if nll is None else f"; NLL of validation images at most {nll:.2f} nats"
    return (
        f"<npdraw model {model.path}: {parse.image_size} x {parse.image_size}, {kind}, trained on "
        f"{dataset['train']:,} images of {dataset['name']}{classes}; {layout.steps} cells, "
        f"{model.brush.sizes['what']} parts{layers}; {size / 1e6:.2g} million weights{bound}>"
    )


def new_sheet(model: "DrawingModel") -> bytes:
    """Return samples of a model as a PNG."""
    return model.sample(SAMPLES).picture().png


def sheet(model: "DrawingModel") -> bytes:
    """Return the sheet of a model, which is made once."""
    return model._sheet


def page(model: "DrawingModel") -> str:
    """Return the line about a model above its sheet, as HTML that loads nothing."""
    content = base64.b64encode(sheet(model)).decode()
    shown = f"samples of seeds 0 to {SAMPLES - 1}: canvas and decoded image"
    return (
        f"<div>{html.escape(line(model)[1:-1])}</div>"
        f'<img style="max-width: 100%" alt="{shown}" title="{shown}" '
        f'src="data:image/png;base64,{content}">'
    )
