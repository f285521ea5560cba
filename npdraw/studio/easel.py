"""Answers the requests of the studio's page about a model, as JSON values.

Drawings are sent both ways as the JSON of `npdraw.drawings.strokes`. The easel is stateless: the
page keeps its drawings and sends those that a request is about.
"""

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from npdraw.drawings.classify import classes_of_drawing
from npdraw.drawings.drawing_model import DrawingModel
from npdraw.drawings.named import SAMPLE, TEST, drawing_of_picture, named_drawing
from npdraw.drawings.strokes import as_json, from_json
from npdraw.errors import UsageError
from npdraw.inputs.shipped import name_of
from npdraw.model.ink import InkBrush
from npdraw.model.latents import Latents, blank
from npdraw.pictures.files import png
from npdraw.pictures.ink import hexadecimal, ink_colours, stroke_pictures
from npdraw.pictures.sheet import canvas_images, to_uint8

LARGEST_SEED = 2**53 - 1
"""The largest integer up to which all integers are exact in JavaScript."""

_SENT = "the request"


@dataclass(frozen=True)
class Easel:
    """A model, and the folder `root` of the data sets whose test images can be loaded."""

    model: DrawingModel
    root: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the page needs to know about the model before it can show anything."""
        model, layout = self.model, self.model.layout
        scale = model.network.upscale
        return {
            "name": name_of(model.path) or str(model.path),
            "digest": model.header.digest,
            "data": model.header.dataset["name"],
            "channels": model.brush.channels,
            "parts": model.brush.sizes["what"],
            "bank_columns": _columns(model.brush.sizes["what"]),
            "layers": [self._layer(number) for number in range(len(layout.grids))],
            "canvas": [layout.height, layout.width],
            "image": [layout.height * scale, layout.width * scale],
            "positions": layout.positions.tolist(),
            "classes": model.classes,
            "blank": as_json(blank(1, layout.steps, inked=model.brush.inked), model.brush),
        }

    def _layer(self, number: int) -> dict[str, Any]:
        """Return the grid of a layer, and its inks and contrasts, empty for plain parts."""
        grid, brush = self.model.layout.grids[number], self.model.brush
        inks, contrasts = [], []
        if isinstance(brush, InkBrush):
            inks = hexadecimal(ink_colours(brush, number))
            contrasts = brush.contrasts[number].tolist()
        return {
            "part_size": grid.part_size,
            "stride": grid.stride,
            "window": grid.window,
            "rows": grid.rows,
            "columns": grid.columns,
            "first": self.model.layout.spans[number].start,
            "inks": inks,
            "contrasts": contrasts,
        }

    def bank(self, asked: Mapping[str, str]) -> bytes:
        """Return all parts, row by row in `bank_columns` columns, as a PNG.

        With ink, `asked` names `layer`, `ink` and `contrast` of the strokes to show.
        """
        brush = self.model.brush
        if isinstance(brush, InkBrush):
            sizes = {"layer": len(brush.layout.grids)} | brush.sizes
            chosen = [_choice(asked, name, sizes[name]) for name in ("layer", "ink", "contrast")]
            parts = to_uint8(stroke_pictures(brush, *chosen))
        else:
            parts = to_uint8(self.model.parts[0])  # [K, C, P, P]
        count, channels, side, _ = parts.shape
        columns = _columns(count)
        filled = parts.new_zeros(-(-count // columns) * columns, channels, side, side)
        filled[:count] = parts
        rows = filled.unflatten(0, (-1, columns)).permute(2, 0, 3, 1, 4)
        return png(rows.flatten(3, 4).flatten(1, 2))

    def render(self, request: Any) -> dict[str, Any]:
        """Return `drawing` with its pictures."""
        (drawing,) = _entries(request, "drawing")
        return self._shown(self._drawing(drawing))

    def load(self, request: Any) -> dict[str, Any]:
        """Return the drawing that `word` names: seed:N or test:N, but no file of this machine.

        A sample is of the class `label`, or with null of any.
        """
        word, label = _entries(request, "word", "label")
        if not isinstance(word, str) or not word.startswith((SAMPLE, TEST)):
            raise UsageError(
                f"{word!r:.40} is neither {SAMPLE}N nor {TEST}N",
                hint=f"For example: {SAMPLE}3. You can also open a file.",
            )
        named = named_drawing(word, self.model, self.root, self._label(label))
        return self._shown(named.drawing, named.image)

    def upload(self, content: bytes) -> dict[str, Any]:
        """Return the drawing in a file, or the encoder's drawing of a picture file."""
        if content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{":
            return self._shown(self._drawing(read_json(content), "the file"))
        named = drawing_of_picture(content, self.model)
        return self._shown(named.drawing, named.image) | {"notes": list(named.notes)}

    def compose(self, request: Any) -> dict[str, Any]:
        """Return `drawing` with `cells`, a list of steps, taken from the drawing `other`."""
        drawing, other, cells = _entries(request, "drawing", "other", "cells")
        chosen = self._cells("cells", cells)
        return self._shown(self._drawing(drawing).with_cells(chosen, self._drawing(other)))

    def resample(self, request: Any) -> dict[str, Any]:
        """Return `drawing` with all cells resampled except `fixed`, a list of steps.

        They are those of a drawing of the class `label`, or with null of any.
        """
        drawing, fixed, seed, label = _entries(request, "drawing", "fixed", "seed", "label")
        if type(seed) is not int or not 0 <= seed <= LARGEST_SEED:
            raise UsageError(f"seed {seed!r:.40} is not an integer in 0..{LARGEST_SEED}")
        kept = self._cells("fixed", fixed)
        given, named = self._drawing(drawing), self._label(label)
        return self._shown(self.model.complete(given, kept, 1, seed, label=named))

    def _drawing(self, values: Any, source: str = _SENT) -> Latents:
        return from_json(values, self.model.brush, source)

    def _label(self, name: Any) -> str | None:
        if name is not None and not isinstance(name, str):
            raise UsageError(f"label {name!r:.40} is not the name of a class")
        return name

    def _cells(self, name: str, values: Any) -> Tensor:
        """Return a mask of the listed steps, bool [T]."""
        steps = self.model.layout.steps
        chosen = torch.zeros(steps, dtype=torch.bool)
        if not isinstance(values, list):
            raise UsageError(f"{name} is not a list of steps")
        for step in values:
            if type(step) is not int or not 0 <= step < steps:
                raise UsageError(f"{name}: {step!r:.40} is not a step in 0..{steps - 1}")
            chosen[step] = True
        return chosen

    def _shown(self, z: Latents, image: Tensor | None = None) -> dict[str, Any]:
        """Return a drawing with its canvas, its decoded image, and the `image` it was made from.

        And with the probability of each class given the drawing, if the model has classes.
        """
        canvas = self.model.paint(z)
        return {
            "drawing": as_json(z, self.model.brush),
            "canvas": _url(canvas_images(canvas)),
            "image": _url(to_uint8(self.model.decode(canvas))),
            "source": None if image is None else _url(to_uint8(image)),
            "chances": classes_of_drawing(self.model, z).tolist() if self.model.classes else [],
        }


ANSWERS: Mapping[str, Callable[[Easel, Any], dict[str, Any]]] = {
    "render": Easel.render,
    "load": Easel.load,
    "compose": Easel.compose,
    "resample": Easel.resample,
}
"""The method that answers each request."""


def read_json(content: bytes) -> Any:
    """Parse a JSON text.

    Raises:
        UsageError: it is not JSON, contains NaN or infinity, or is nested too deeply.
    """
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise UsageError(f"{_SENT} is nested too deeply") from error
    except ValueError as error:
        raise UsageError(f"{_SENT} is not JSON: {error}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not valid in JSON")


def _entries(request: Any, *names: str) -> list[Any]:
    """Return the entries of an object that has exactly these."""
    if not isinstance(request, Mapping) or request.keys() != set(names):
        raise UsageError(f"{_SENT} is not an object with exactly {', '.join(names)}")
    return [request[name] for name in names]


def _columns(parts: int) -> int:
    """Return the columns of the picture of all parts: a tall one could be too tall for a GPU."""
    return math.ceil(math.sqrt(parts))


def _choice(asked: Mapping[str, str], name: str, count: int) -> int:
    """Return a number below `count` out of a query."""
    text = asked.get(name, "")
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) >= count:
        raise UsageError(f"{name} {text!r:.40} is not in 0..{count - 1}")
    return int(text)


def _url(images: Tensor) -> str:
    """Return the first of images, uint8 [N, C, H, W], as a data: URL of a PNG."""
    return "data:image/png;base64," + base64.b64encode(png(images[0])).decode()
