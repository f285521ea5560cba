"""What the model of a run produces for the page: samples, reconstructions, drawings by stroke."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.class_config import WITH_CLASSES
from npdraw.datasets import load
from npdraw.drawings.drawing_model import DrawingModel, open_model
from npdraw.drawings.frames import prefixes, rendered
from npdraw.drawings.strokes import as_json, bank_digest
from npdraw.errors import ArtifactError, DivergedError, NpdrawError
from npdraw.header import Header, read_header
from npdraw.inputs.brushes import brush_of
from npdraw.inputs.images import find_source, reading_of, same_images
from npdraw.inputs.models import read_parse, stored_config
from npdraw.model.brush import Brush, part_usage
from npdraw.model.ink import InkBrush
from npdraw.model.latents import Latents, concatenate
from npdraw.model.prior import Prior
from npdraw.pictures.ink import ink_colours
from npdraw.pictures.sheet import draw, side_by_side, to_uint8
from npdraw.report.closest import Closest, closest
from npdraw.report.runs import Run, problem_of
from npdraw.runtime.progress import Silent
from npdraw.runtime.settings import Runtime

USAGE_SAMPLES = 256
"""Samples of the prior over which part usage is counted if the run has no parse."""

SAMPLES, IMAGES = 48, 12
"""The most samples and reconstructions that a page shows."""

COMPARED = 20
"""Samples that are compared with the training images."""

CLASSES, SAMPLES_OF_EACH = 12, 8
"""The most classes of which a page shows samples, and samples of each."""

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
    classes: Mapping[str, Tensor] = field(default_factory=dict)
    """Samples of each class, uint8 [N, C, H, W]; empty if the model has none."""
    with_classes: Header | None = None
    """The header of the model that they are from: that of the run, or the file beside it."""
    reconstructions: Sequence[Reconstruction] = ()
    closest: Sequence[Closest] = ()
    """The first `COMPARED` samples beside the training images closest to them."""
    closest_decoded: Sequence[Closest] = ()
    """The same of the decoded test images, for comparison."""
    sketches: Sequence[Sketch] = ()
    bank: Sequence[Tensor] = ()
    """Pictures of the parts of each layer, uint8 [K, C, P, P]; empty if there are none."""
    inks: Sequence[Tensor] = ()
    """Colours of the inks of each layer, uint8 [I, C]; empty for plain parts."""
    usage: Tensor | None = None
    """How often each part is painted, int64 [L * K]."""
    counted_over: str = ""
    """The drawings in which `usage` was counted."""
    parameters: int = 0
    """Number of parameters of the model."""
    why_no_images: str = ""
    """The full error message; it may contain paths, which the page must not show."""
    why_no_training_images: str = ""
    """The same for the training images."""
    problems: dict[str, str] = field(default_factory=dict)
    """Reasons, without paths, by what is absent: "model", "bank", "images", "training images" or
    "classes"."""


def outputs_of(run: Run, root: Path, runtime: Runtime) -> Outputs:
    """Sample from and reconstruct with the model of a run.

    Without a usable model there is only the part bank of the parse. Test images are loaded from
    the data sets below `root`.
    """
    outputs = Outputs()
    brush = _read_brush(run, outputs)
    piece = run.pieces["model"]
    if piece.header is None:
        outputs.problems["model"] = piece.problem
        return outputs
    try:
        model = open_model(piece.path, runtime)
        if brush is None or bank_digest(brush) != bank_digest(model.brush):
            _show_brush(model.brush, outputs)
            outputs.usage = None
            outputs.problems.pop("bank", None)  # the model contains the bank
        outputs.parameters = sum(weights.numel() for weights in model.network.parameters())

        z = model.sample(USAGE_SAMPLES)
        if outputs.usage is None:
            outputs.usage = part_usage(z, model.brush)
            outputs.counted_over = f"{USAGE_SAMPLES} samples"
        canvases, images = rendered(model, z[:SAMPLES])
        outputs.samples = list(side_by_side(canvases, images))
        _show_classes(model, outputs)
        sketches = [_sketch(model, z[n : n + 1], f"Sample {n}") for n in range(SAMPLE_SKETCHES)]
        outputs.sketches = sketches
        outputs.sketches = [*sketches, *_reconstruct(run, model, root, outputs)]
        _compare(run, model, root, images[:COMPARED], outputs)
    except (ArtifactError, DivergedError) as error:
        outputs.problems["model"] = problem_of(error, piece.path)
    return outputs


def _read_brush(run: Run, outputs: Outputs) -> Brush | None:
    """Fill in bank and usage from the parse of a run; return its brush, None without a parse."""
    piece = run.pieces["parse"]
    if piece.header is None:
        outputs.problems["bank"] = piece.problem
        return None
    try:
        parse = read_parse(piece.path)
        brush = brush_of(stored_config(parse).parse, parse.tensors)
    except ArtifactError as error:
        outputs.problems["bank"] = problem_of(error, piece.path)
        return None
    dataset = piece.header.dataset
    _show_brush(brush, outputs)
    outputs.usage = parse.tensors["usage"]
    outputs.counted_over = f"the parses of {dataset['train'] + dataset['validation']:,} images"
    return brush


def _show_brush(brush: Brush, outputs: Outputs) -> None:
    """Fill in the parts of each layer, and its inks if it has any."""
    outputs.bank = [to_uint8(parts).cpu() for parts in brush.pictures()]
    if isinstance(brush, InkBrush):
        outputs.inks = [ink_colours(brush, layer) for layer in range(len(outputs.bank))]


def _show_classes(model: DrawingModel, outputs: Outputs) -> None:
    """Fill in samples of the first classes of a model.

    Without any, those of `classes.safetensors` beside it, which npdraw train-classes makes from it.
    """
    beside = model.path.with_name(WITH_CLASSES)
    if not model.classes and beside.is_file():
        try:
            header = read_header(beside, kind="model")
            if header.inputs.get("model") != model.header.digest:
                outputs.problems["classes"] = f"{beside.name} is of another model"
                return
            model = open_model(beside, model.runtime)
        except ArtifactError as error:
            outputs.problems["classes"] = problem_of(error, beside)
            return
    names, prior = model.classes[:CLASSES], model.network.class_prior
    if prior is None:
        return
    try:
        images = _of_classes(model, prior, len(names))
    except DivergedError as error:
        outputs.problems["classes"] = problem_of(error, model.path)
        return
    outputs.classes = dict(zip(names, images.split(SAMPLES_OF_EACH), strict=True))
    outputs.with_classes = model.header


def _of_classes(model: DrawingModel, prior: Prior, classes: int) -> Tensor:
    """Return samples of the first classes of a model, uint8 [classes * N, C, H, W]."""
    seeds = list(range(SAMPLES_OF_EACH)) * classes
    labels = [label for label in range(classes) for _ in range(SAMPLES_OF_EACH)]
    with torch.no_grad(), model.runtime.autocast(model.device):
        z = draw(prior, seeds, labels=labels)
    return rendered(model, z.to(torch.device("cpu")))[1]


def _sketch(model: DrawingModel, z: Latents, label: str) -> Sketch:
    """Paint and decode a drawing [1, T] stroke by stroke."""
    canvases, images = rendered(model, prefixes(z)[0])
    scale = model.network.upscale  # `rendered` enlarges the canvas to the size of the image
    drawing = as_json(z, model.brush)
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


def _compare(run: Run, model: DrawingModel, root: Path, samples: Tensor, outputs: Outputs) -> None:
    """Fill in the training images closest to samples and to decoded test images."""
    settings, name = model.config.parse, run.dataset.get("name")
    try:
        data = same_images(model.header, model.path, None, root, settings, Silent())
    except NpdrawError as error:
        outputs.problems["training images"] = f"the training images ({name}) are not available"
        outputs.why_no_training_images = error.message
        return
    outputs.closest = closest(samples, data.train)
    side = settings.image_size
    decoded = [one.pixels[..., -side:] for one in outputs.reconstructions]
    outputs.closest_decoded = closest(torch.stack(decoded), data.train) if decoded else ()
