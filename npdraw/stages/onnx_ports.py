"""What the inputs and outputs of exported ONNX files mean, for people and for their metadata."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from npdraw.datasets.facts import SETS
from npdraw.header import Header
from npdraw.model.npdraw import NPDraw
from npdraw.model.portable import ImageToDrawing, Network
from npdraw.version import __version__


@dataclass(frozen=True)
class Port:
    """An input or output of a file."""

    name: str
    dtype: str
    """float32, int64 or bool."""
    shape: tuple[str | int, ...]
    """Sizes of the axes; the first one, "N", is any number of images."""
    values: str
    """The range of the values."""
    meaning: str

    @property
    def text(self) -> str:
        """Meaning and range in one line."""
        return f"{self.meaning}; {self.values}"


def ports(network: Network) -> tuple[list[Port], list[Port]]:
    """Return the inputs and the outputs of a network, in their order."""
    known = _ports(network.model)
    if isinstance(network, ImageToDrawing):
        known["image"] = _seen(network.model)
    return [known[name] for name in network.inputs], [known[name] for name in network.outputs]


def _image_shape(model: NPDraw) -> tuple[str | int, ...]:
    layout = model.layout
    return "N", model.brush.channels, layout.height * model.upscale, layout.width * model.upscale


def _seen(model: NPDraw) -> Port:
    values = "0..1; it was trained on 0 and 1" if model.levels == 2 else "0..1"
    return Port("image", "float32", _image_shape(model), values, "the image")


def _ports(model: NPDraw) -> dict[str, Port]:
    """Return what a drawing consists of, its probabilities, the canvas and the expected image."""
    layout, brush = model.layout, model.brush
    steps = ("N", layout.steps)
    part = "pattern of the layer" if brush.inked else "part of the bank"
    meanings = {
        "where": "which placement of the step's cell",
        "what": f"which {part}",
        "ink": "which ink of the layer",
        "contrast": "which contrast of the layer",
    }
    known = [
        Port("whether", "bool", steps, "false or true", "whether the step paints"),
        Port("p_whether", "float32", steps, "0..1", "probability that the step paints"),
    ]
    for name, size in brush.sizes.items():
        meaning = f"{meanings[name]}; 0 where nothing is painted"
        known.append(Port(name, "int64", steps, f"0..{size - 1}", meaning))
        meaning = f"probabilities of {name}, given that the step paints"
        known.append(Port(f"p_{name}", "float32", (*steps, size), "0..1, of sum 1", meaning))
    known.append(
        Port(
            "canvas",
            "float32",
            ("N", brush.channels + 1, layout.height, layout.width),
            "0..1, or a little beyond where inks add up" if brush.inked else "0..1",
            "the painted image, and as the last channel 1 where anything was painted",
        )
    )
    expected = "the expected image"
    if model.levels == 2:
        expected += ": the probability that a pixel is 1"
    known.append(Port("image", "float32", _image_shape(model), "0..1, up to rounding", expected))
    return {port.name: port for port in known}


def metadata(network: Network, header: Header) -> dict[str, str]:
    """Return the metadata of a file: where it comes from, and how to use it without npdraw.

    `cells` is a JSON list with a row for each step: layer, row and column of the top left pixel of
    its first placement on the canvas, side of its part. With `jitter` J, placement o lies o // J
    pixels further down and o % J further to the right.
    """
    layout, name = network.model.layout, header.dataset["name"]
    inputs, outputs = ports(network)
    corners = layout.positions[:, 0].tolist()
    cells = [
        [layer, row, column, side]
        for layer, (row, column), side in zip(
            layout.layer_of.tolist(), corners, layout.sides.tolist(), strict=True
        )
    ]
    described = {
        "npdraw_version": __version__,
        "network": type(network).__name__,
        "model_digest": header.digest,
        "data_set": name,
        "inputs": _json(inputs),
        "outputs": _json(outputs),
        "cells": json.dumps(cells),
        "jitter": str(layout.jitter),
    }
    if name in SETS:
        described["data_licence"] = SETS[name].licence
    return described


def _json(some: Sequence[Port]) -> str:
    return json.dumps([asdict(port) for port in some])
