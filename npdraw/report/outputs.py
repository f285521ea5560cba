"""What the model of a run produces for the page: samples, reconstructions, drawings by stroke."""

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
from npdraw.inputs.images import find_source, reading_of
from npdraw.inputs.models import read_parse
from npdraw.model.latents import Latents, concatenate
from npdraw.pictures.sheet import side_by_side, to_uint8
from npdraw.report.runs import Run, problem_of
from npdraw.runtime.settings import Runtime

USAGE_SAMPLES = 256
"""Samples of the prior over which part usage is counted if the run has no parse."""

SAMPLES, IMAGES = 48, 12
"""The most samples and reconstructions that a page shows."""

SAMPLE_SKETCHES, IMAGE_SKETCHES = 4, 2
"""The most samples and test images that a page can step through."""


@dataclass(frozen=True)
class Sketch:
    """A drawing to step through."""

    label: str
    drawing: Mapping[str, Any]
    """As `strokes.as_json`, with S strokes."""
    canvases: Tensor
    """After 0..S strokes, uint8 [S + 1, C, h, w], at the size of the canvas."""
    images: Tensor
    """Decoded from each canvas, uint8 [S + 1, C, H, W]."""


@dataclass(frozen=True)
class Reconstruction:
    """A test image and its reconstruction."""

    number: int
    pixels: Tensor
    """Image, canvas of the parse, canvas of the posterior, decoded: uint8 [C, H, 4 W + 3]."""
    parts: int
    error: float
    """Mean squared error per pixel of the posterior's canvas."""


@dataclass
class Outputs:
    """What the page shows of one run's model; `problems` says why something is absent."""

    samples: Sequence[Tensor] = ()
    """Canvas and image of the seeds from 0, uint8 [C, H, 2 W + 1] each."""
    reconstructions: Sequence[Reconstruction] = ()
    sketches: Sequence[Sketch] = ()
    bank: Tensor | None = None
    """Parts, uint8 [K, C, P, P]."""
    usage: Tensor | None = None
    """How often each part is painted, int64 [K]."""
    counted_over: str = ""
    """The drawings in which `usage` was counted."""
    parameters: int = 0
    """Number of parameters of the model."""
    why_no_images: str = ""
    """The full error message; it may contain paths, which the page must not show."""
    problems: dict[str, str] = field(default_factory=dict)
    """Reasons, without paths, by what is absent: "model", "bank" or "images"."""


def outputs_of(run: Run, root: Path, runtime: Runtime) -> Outputs:
    """Sample from and reconstruct with the model of a run.

    Without a usable model there is only the part bank of the parse. Test images are loaded from
    the data sets below `root`.
    """
    outputs = Outputs()
    bank = _read_bank(run, outputs)
    piece = run.pieces["model"]
    if piece.header is None:
        outputs.problems["model"] = piece.problem
        return outputs
    try:
        model = open_model(piece.path, runtime)
        if bank is None or not torch.equal(bank, model.bank):
            outputs.bank, outputs.usage = to_uint8(model.bank), None
            outputs.problems.pop("bank", None)  # the model contains the bank
        outputs.parameters = sum(weights.numel() for weights in model.network.parameters())

        z = model.sample(USAGE_SAMPLES)
        if outputs.usage is None:
            outputs.usage = torch.bincount(z.what[z.whether], minlength=len(model.bank))
            outputs.counted_over = f"{USAGE_SAMPLES} samples"
        outputs.samples = list(side_by_side(*rendered(model, z[:SAMPLES])))
        sketches = [_sketch(model, z[n : n + 1], f"Sample {n}") for n in range(SAMPLE_SKETCHES)]
        outputs.sketches = sketches
        outputs.sketches = [*sketches, *_reconstruct(run, model, root, outputs)]
    except (ArtifactError, DivergedError) as error:
        outputs.problems["model"] = problem_of(error, piece.path)
    return outputs


def _read_bank(run: Run, outputs: Outputs) -> Tensor | None:
    """Fill in bank and usage from the parse of a run; return the bank, None without a parse."""
    piece = run.pieces["parse"]
    if piece.header is None:
        outputs.problems["bank"] = piece.problem
        return None
    try:
        tensors = read_parse(piece.path).tensors
    except ArtifactError as error:
        outputs.problems["bank"] = problem_of(error, piece.path)
        return None
    dataset = piece.header.dataset
    outputs.bank, outputs.usage = to_uint8(tensors["bank"]), tensors["usage"]
    outputs.counted_over = f"the parses of {dataset['train'] + dataset['validation']:,} images"
    return tensors["bank"]


def _sketch(model: DrawingModel, z: Latents, label: str) -> Sketch:
    """Paint and decode a drawing [1, T] stroke by stroke."""
    canvases, images = rendered(model, prefixes(z)[0])
    scale = model.network.upscale  # `rendered` enlarges the canvas to the size of the image
    drawing = as_json(z, model.bank, model.layout)
    return Sketch(label, drawing, canvases[:, :, ::scale, ::scale], images)


def _reconstruct(run: Run, model: DrawingModel, root: Path, outputs: Outputs) -> list[Sketch]:
    """Fill in reconstructions of the first test images; return the drawings of some of them."""
    settings, name = model.config.parse, run.dataset.get("name")
    try:
        source = find_source(model.header, model.path, None)
        side, channels = settings.image_size, settings.channels
        reading = reading_of(model.header)
        loaded = load(
            source, "test", root=root, image_size=side, channels=channels, reading=reading
        )
    except NpdrawError as error:
        outputs.problems["images"] = f"the test images ({name}) are not available"
        outputs.why_no_images = error.message
        return []
    pixels = torch.tensor(loaded.images[:IMAGES])
    # One at a time, like `npdraw reconstruct MODEL test:N`, so that both show the same drawing.
    x = torch.cat([model.preprocess(image[None]) for image in pixels])
    z = concatenate([model.encode(image[None]) for image in x])
    parsed, (canvases, decoded) = rendered(model, model.parse(x))[0], rendered(model, z)
    strips = side_by_side(side_by_side(side_by_side(to_uint8(x), parsed), canvases), decoded)
    small = model.layout.shrink(x)
    errors = (model.paint(z)[:, :-1] - small).square().flatten(1).mean(1)
    outputs.reconstructions = [
        Reconstruction(number, strip, int(z.whether[number].sum()), float(errors[number]))
        for number, strip in enumerate(strips)
    ]
    shown = range(min(IMAGE_SKETCHES, len(z)))
    return [_sketch(model, z[n : n + 1], f"Test image {n}") for n in shown]
