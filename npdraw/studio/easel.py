"""Answers the requests of the studio's page about a model, as JSON values.

Drawings are sent both ways as the JSON of `npdraw.drawings.strokes`. The easel is stateless: the
page keeps its drawings and sends those that a request is about.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from npdraw.drawings.drawing_model import DrawingModel
from npdraw.drawings.named import SAMPLE, TEST, drawing_of_picture, named_drawing
from npdraw.drawings.strokes import as_json, from_json
from npdraw.errors import UsageError
from npdraw.inputs.shipped import name_of
from npdraw.model.latents import Latents, blank
from npdraw.pictures.files import png
from npdraw.pictures.sheet import to_uint8

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
            "channels": model.bank.shape[1],
            "parts": len(model.bank),
            "part_size": layout.part_size,
            "stride": layout.stride,
            "window": layout.window,
            "rows": layout.rows,
            "columns": layout.columns,
            "canvas": [layout.height, layout.width],
            "image": [layout.height * scale, layout.width * scale],
            "positions": layout.positions.tolist(),
            "blank": as_json(blank(1, layout.steps), model.bank, layout),
        }

    @cached_property
    def bank(self) -> bytes:
        """All parts, stacked vertically in the order of the bank, as a PNG of K * P rows."""
        parts = to_uint8(self.model.bank)  # [K, C, P, P]
        return png(parts.transpose(0, 1).flatten(1, 2))

    def render(self, request: Any) -> dict[str, Any]:
        """Return `drawing` with its pictures."""
        (drawing,) = _entries(request, "drawing")
        return self._shown(self._drawing(drawing))

    def load(self, request: Any) -> dict[str, Any]:
        """Return the drawing that `word` names: seed:N or test:N, but no file of this machine."""
        (word,) = _entries(request, "word")
        if not isinstance(word, str) or not word.startswith((SAMPLE, TEST)):
            raise UsageError(
                f"{word!r:.40} is neither {SAMPLE}N nor {TEST}N",
                hint=f"For example: {SAMPLE}3. You can also open a file.",
            )
        named = named_drawing(word, self.model, self.root)
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
        """Return `drawing` with all cells resampled except `fixed`, a list of steps."""
        drawing, fixed, seed = _entries(request, "drawing", "fixed", "seed")
        if type(seed) is not int or not 0 <= seed <= LARGEST_SEED:
            raise UsageError(f"seed {seed!r:.40} is not an integer in 0..{LARGEST_SEED}")
        kept = self._cells("fixed", fixed)
        return self._shown(self.model.complete(self._drawing(drawing), kept, 1, seed))

    def _drawing(self, values: Any, source: str = _SENT) -> Latents:
        return from_json(values, self.model.bank, self.model.layout, source)

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
        """Return a drawing with its canvas, its decoded image, and the `image` it was made from."""
        canvas = self.model.paint(z)
        return {
            "drawing": as_json(z, self.model.bank, self.model.layout),
            "canvas": _url(canvas[:, :-1]),
            "image": _url(self.model.decode(canvas)),
            "source": None if image is None else _url(image),
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


def _url(images: Tensor) -> str:
    """Return the first of images [N, C, H, W] in [0, 1] as a data: URL of a PNG."""
    return "data:image/png;base64," + base64.b64encode(png(to_uint8(images)[0])).decode()
