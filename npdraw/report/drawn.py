"""What the model of a run draws for the page: samples, reconstructions, strokes one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.datasets import load
from npdraw.drawings.drawing_model import DrawingModel, open_model
from npdraw.drawings.frames import prefixes, rendered
from npdraw.drawings.strokes import as_json
from npdraw.errors import ArtifactError, DivergedError, NpdrawError
from npdraw.inputs.images import find_source
from npdraw.inputs.models import read_parse
from npdraw.model.latents import Latents, concatenate
from npdraw.pictures.sheet import beside, to_uint8
from npdraw.report.runs import Run, told
from npdraw.runtime.settings import Runtime

SAMPLED = 256
"""Drawings of the prior that the usage of parts is counted in, where the parse is not there."""

SAMPLES, IMAGES = 48, 12
"""Samples and reconstructions that are shown at most."""

SKETCHED = 4, 2
"""Samples and test images that can be stepped through, at most."""


@dataclass(frozen=True)
class Sketch:
    """A drawing that can be stepped through."""

    label: str
    drawing: Mapping[str, Any]
    """As `strokes.as_json`, with S strokes."""
    canvases: Tensor
    """After 0..S strokes, uint8 [S + 1, C, h, w], at the size of the canvas."""
    images: Tensor
    """Decoded of each canvas, uint8 [S + 1, C, H, W]."""


@dataclass(frozen=True)
class Reconstruction:
    """A test image beside what the model makes of it."""

    number: int
    pixels: Tensor
    """Image, canvas of the parse, canvas of the posterior, decoded: uint8 [C, H, 4 W + 3]."""
    parts: int
    error: float
    """Of the posterior's canvas: mean squared error a pixel."""


@dataclass
class Drawn:
    """What is shown of one run; `problems` says why something is not, by its name."""

    samples: Sequence[Tensor] = ()
    """Canvas and image of the seeds from 0, uint8 [C, H, 2 W + 1] each."""
    reconstructions: Sequence[Reconstruction] = ()
    sketches: Sequence[Sketch] = ()
    bank: Tensor | None = None
    """Parts, uint8 [K, C, P, P]."""
    usage: Tensor | None = None
    """How often each part is painted, int64 [K]."""
    used_in: str = ""
    """In what it was counted."""
    parameters: int = 0
    """Weights of the model."""
    why_no_images: str = ""
    """In words with paths, which are not for the page."""
    problems: dict[str, str] = field(default_factory=dict)


def drawn(run: Run, root: Path, runtime: Runtime) -> Drawn:
    """Draw with the model of a run; without a sound one, show the bank of its parse."""
    found = Drawn()
    bank = _parsed(run, found)
    piece = run.pieces["model"]
    if piece.header is None:
        found.problems["model"] = piece.problem
        return found
    try:
        model = open_model(piece.path, runtime)
        if bank is None or not torch.equal(bank, model.bank):
            found.bank, found.usage = to_uint8(model.bank), None
            found.problems.pop("bank", None)  # the model has it
        found.parameters = sum(weights.numel() for weights in model.network.parameters())
        z = model.sample(SAMPLED)
        if found.usage is None:
            found.usage = torch.bincount(z.what[z.whether], minlength=len(model.bank))
            found.used_in = f"{SAMPLED} samples"
        found.samples = list(beside(*rendered(model, z[:SAMPLES])))
        sketches = [_sketch(model, z[n : n + 1], f"Sample {n}") for n in range(SKETCHED[0])]
        found.sketches = sketches
        found.sketches = [*sketches, *_of_test_images(run, model, root, found)]
    except (ArtifactError, DivergedError) as error:
        found.problems["model"] = told(error, piece.path)
    return found


def _parsed(run: Run, found: Drawn) -> Tensor | None:
    """Take bank and usage from the parse of a run and return the bank; None if there is none."""
    piece = run.pieces["parse"]
    if piece.header is None:
        found.problems["bank"] = piece.problem
        return None
    try:
        tensors = read_parse(piece.path).tensors
    except ArtifactError as error:
        found.problems["bank"] = told(error, piece.path)
        return None
    dataset = piece.header.dataset
    found.bank, found.usage = to_uint8(tensors["bank"]), tensors["usage"]
    found.used_in = f"the parses of {dataset['train'] + dataset['validation']:,} images"
    return tensors["bank"]


def _sketch(model: DrawingModel, z: Latents, label: str) -> Sketch:
    """Paint and decode a drawing [1, T] stroke by stroke."""
    canvases, images = rendered(model, prefixes(z)[0])
    size = model.network.upscale  # `rendered` repeats each pixel of the canvas so often
    drawing = as_json(z, model.bank, model.layout)
    return Sketch(label, drawing, canvases[:, :, ::size, ::size], images)


def _of_test_images(run: Run, model: DrawingModel, root: Path, found: Drawn) -> list[Sketch]:
    """Reconstruct the first test images of the run's data set, and return drawings of some."""
    settings, name = model.config.parse, run.dataset.get("name")
    try:
        source = find_source(model.header, model.path, None)
        side, channels = settings.image_size, settings.channels
        loaded = load(source, "test", root=root, image_size=side, channels=channels)
    except NpdrawError as error:
        found.problems["images"] = f"the test images ({name}) are not here"
        found.why_no_images = error.message
        return []
    pixels = torch.tensor(loaded.images[:IMAGES])
    # One at a time, as `npdraw reconstruct MODEL test:N` does, so that both show the same.
    x = torch.cat([model.preprocess(image[None]) for image in pixels])
    z = concatenate([model.encode(image[None]) for image in x])
    parsed, (canvases, decoded) = rendered(model, model.parse(x))[0], rendered(model, z)
    strips = beside(beside(beside(to_uint8(x), parsed), canvases), decoded)
    small = model.layout.shrink(x)
    errors = (model.paint(z)[:, :-1] - small).square().flatten(1).mean(1)
    found.reconstructions = [
        Reconstruction(number, strip, int(z.whether[number].sum()), float(errors[number]))
        for number, strip in enumerate(strips)
    ]
    several = range(min(SKETCHED[1], len(z)))
    return [_sketch(model, z[n : n + 1], f"Test image {n}") for n in several]
