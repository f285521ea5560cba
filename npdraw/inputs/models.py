"""From artifacts to models and back: the tensors of each artifact, and the model they form."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from npdraw.artifacts import (
    Artifact,
    Expected,
    check_tensors,
    check_values,
    read_artifact,
    unfit_error,
)
from npdraw.config import SECTIONS, Config, ParseConfig
from npdraw.datasets import PATHS
from npdraw.datasets.facts import SETS
from npdraw.errors import ArtifactError, NpdrawError, UsageError
from npdraw.header import is_digest
from npdraw.inputs.brushes import brush_of, check_tables, choices_of, layout_of, table_shapes
from npdraw.inputs.classes import class_names
from npdraw.inputs.images import copies_per_image
from npdraw.model.brush import Brush
from npdraw.model.ink_prior import InkPrior
from npdraw.model.latents import Latents
from npdraw.model.npdraw import NPDraw
from npdraw.model.part_prior import PartPrior
from npdraw.model.prior import Prior
from npdraw.overrides import override
from npdraw.presets import from_dict
from npdraw.reading import from_record

M = TypeVar("M", bound=nn.Module)

MOST_CLASSES = 2**15
"""Classes of images, at most: labels are stored in 16 bits."""

STORED = ("float32", "bfloat16")
"""Types in which weights may be stored; a bank is always float32."""


def stored_config(artifact: Artifact) -> Config:
    """Return the settings of an artifact; sections of later stages come from its preset.

    Raises:
        ArtifactError: the settings are unknown to this version, or the record of the images is
            malformed.
    """
    header = artifact.header
    try:
        name = str(header.dataset.get("name"))
        config = from_dict(header.config, data=name, source=str(artifact.path))
    except (NpdrawError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{artifact.path} holds settings that this npdraw does not know: {error!s:.300}",
            hint="It was written by another npdraw; make it again with --force.",
        ) from error
    _check_record(artifact, config.parse)
    return config


def _check_record(artifact: Artifact, config: ParseConfig) -> None:
    """Check the record of the images, which `images.training_images` made."""
    shape = [config.channels, config.image_size, config.image_size]
    checks: dict[str, tuple[Callable[[Any], bool], str]] = {
        "name": (lambda name: name in (*SETS, *PATHS), f"one of {', '.join((*SETS, *PATHS))}"),
        "train": (
            lambda count: _is_count(count) and count % copies_per_image(config) == 0,
            "a number of images"
            + (f", {copies_per_image(config)} of each" if config.shift else ""),
        ),
        "validation": (_is_count, "a number of images"),
        "image_shape": (lambda value: repr(value) == repr(shape), str(shape)),  # True == 1.0 == 1
        "binarized": (lambda value: value is config.binarize, f"{config.binarize}".lower()),
        "digest": (is_digest, "64 hexadecimal digits"),
    }
    record, own = artifact.header.dataset, artifact.header.dataset.get("name") in PATHS
    conditional = "classes" in artifact.header.config
    if own and "reading" in record:
        checks["reading"] = (lambda value: from_record(value) is not None, "a reading")
    if conditional or (own and "classes" in record):
        checks["classes"] = (_are_classes, "names of classes")
    if conditional:
        checks["labels"] = (is_digest, "64 hexadecimal digits")
    for name in (*checks, *record):
        if name not in checks:
            raise unfit_error(artifact, f"its data set has {name}, expected none")
        fits, expected = checks[name]
        if name not in record or not fits(record[name]):
            shown = f"{record[name]!r:.80}" if name in record else "missing"
            raise unfit_error(artifact, f"{name} of its data set is {shown}, expected {expected}")


def _are_classes(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(type(name) is str for name in value)
        and 1 <= len(value) == len(set(value)) <= MOST_CLASSES
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= 1 << 40


def later_config(
    artifact: Artifact, changes: Mapping[str, Mapping[str, Any]], section: str
) -> Config:
    """Return the settings of an artifact with `changes` to `section` and later sections.

    Raises:
        UsageError: `changes` alters an earlier section: the artifact fixes these.
    """
    stored = stored_config(artifact)
    config = override(stored, changes, source="the settings given")
    for fixed in SECTIONS[: SECTIONS.index(section)]:
        if getattr(config, fixed) != getattr(stored, fixed):
            raise UsageError(
                f"the settings of [{fixed}] are fixed by {artifact.path}, others were given",
                hint=f"Leave [{fixed}] out, or make {artifact.path} again with it.",
            )
    return replace(config, data=stored.data)


def read_parse(path: Path) -> Artifact:
    """Read a parse and check that its tensors fit its settings and data set."""
    artifact = read_artifact(path, kind="parse")
    config = stored_config(artifact).parse
    dataset, layout = artifact.header.dataset, layout_of(config)
    drawings = [dataset["train"] + dataset["validation"], layout.steps]
    choices = choices_of(config)
    expected = {name: Expected(shape) for name, shape in table_shapes(config).items()}
    expected |= {
        "usage": Expected([len(layout.grids) * config.parts], ["int64"]),
        "whether": Expected(drawings, ["bool"]),
        **{name: Expected(drawings, ["int16"]) for name in choices},
    }
    classes = dataset.get("classes")
    if classes is not None:
        expected["labels"] = Expected(drawings[:1], ["int16"])
    check_tensors(artifact, expected)
    if classes is not None:
        check_values(artifact, "labels", 0, len(classes) - 1)
    check_tables(artifact, config)
    check_values(artifact, "usage", 0, math.prod(drawings))
    for name, size in choices.items():
        check_values(artifact, name, 0, size - 1)
    return artifact


def drawings_of(artifact: Artifact) -> Latents:
    """Return the drawings stored in a parse or by `sample`."""
    tensors = artifact.tensors
    names = [name for name in ("where", "what", "ink", "contrast") if name in tensors]
    return Latents(tensors["whether"], **{name: tensors[name].long() for name in names})


def drawing_tensors(z: Latents) -> dict[str, Tensor]:
    """Return drawings in the types in which they are stored: bool and int16."""
    tensors = z.canonical().tensors()
    return {name: x if name == "whether" else x.short() for name, x in tensors.items()}


def new_prior(config: Config, brush: Brush, classes: int = 0) -> Prior:
    """Build an untrained prior for the strokes of a brush; with `classes` it is p(z | label)."""
    prior = config.prior
    kind = InkPrior if brush.inked else PartPrior
    return kind(
        brush,
        width=prior.width,
        depth=prior.depth,
        heads=prior.heads,
        head_width=prior.head_width,
        mlp_width=prior.mlp_width,
        dropout=prior.dropout,
        classes=classes,
    )


def freeze_unused(prior: Prior) -> None:
    """Freeze the weights that the layout leaves unused.

    DistributedDataParallel would wait for their gradients.
    """
    if isinstance(prior, PartPrior) and prior.layout.placements == 1:
        prior.where_embedding.requires_grad_(False)


def new_model(config: Config, brush: Brush, canvas_error: float = 0.01, classes: int = 0) -> NPDraw:
    """Build an untrained model for the strokes of a brush; a frozen prior has no dropout.

    `canvas_error` is the mean squared error of the canvases of the parses (`NPDraw`). With
    `classes` it has a prior p(z | label) as well.
    """
    decoder = config.decoder
    dropout = config.prior.dropout if decoder.prior == "joint" else 0.0
    return NPDraw(
        brush,
        new_prior(replace(config, prior=replace(config.prior, dropout=dropout)), brush),
        levels=config.parse.levels,
        upscale=config.parse.image_size // config.parse.canvas_side,
        encoder_channels=decoder.encoder_channels,
        encoder_depth=decoder.encoder_depth,
        encoder_gain=decoder.encoder_gain,
        decoder_channels=decoder.decoder_channels,
        decoder_depth=decoder.decoder_depth,
        decoder_patch=config.decoder_patch,
        canvas_error=canvas_error,
        class_prior=new_prior(config, brush, classes) if classes else None,
    )


def read_prior(path: Path) -> tuple[Prior, Config, Artifact]:
    """Read a trained prior, its settings and its artifact; errors as `read_artifact`."""
    return _read(path, "prior", new_prior)


def read_model(path: Path) -> tuple[NPDraw, Config, Artifact]:
    """Read a trained model, its settings and its artifact; errors as `read_artifact`."""
    model, config, artifact = _read(
        path, "model", lambda config, brush, classes: new_model(config, brush, classes=classes)
    )
    return model.eval(), config, artifact


def to_device(model: M, device: torch.device) -> M:
    """Move a model to `device`, its kernels in channels-last order, which convolves faster."""
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def weights_of(model: nn.Module, brush: Brush) -> dict[str, Tensor]:
    """Return the tensors that the artifact of a prior or model stores: tables and weights."""
    return {**brush.tables(), **model.state_dict()}


def _read(
    path: Path, kind: str, build: Callable[[Config, Brush, int], M]
) -> tuple[M, Config, Artifact]:
    """Read an artifact into the module that `build` returns, given the number of its classes.

    The artifact must hold every weight in its shape, and no other tensor. Weights become fp32, even
    those that an exported model stores as bf16.
    """
    artifact = read_artifact(path, kind=kind)
    config = stored_config(artifact)
    shapes, classes = table_shapes(config.parse), len(class_names(artifact.header))
    with _Weightless():  # takes no memory before the file is known to hold as much
        tables = {name: torch.empty(shape) for name, shape in shapes.items()}
        weights = build(config, brush_of(config.parse, tables), classes).state_dict()
    expected = {name: Expected(weight.shape, STORED) for name, weight in weights.items()}
    check_tensors(artifact, {name: Expected(s) for name, s in shapes.items()} | expected)
    check_tables(artifact, config.parse)
    model = build(config, brush_of(config.parse, artifact.tensors), classes)
    model.load_state_dict({name: artifact.tensors[name] for name in expected})
    return model, config, artifact


class _Weightless(TorchFunctionMode):
    """Create new weights on the meta device: they have shapes but take no memory.

    Tensors computed from numbers, such as positions, are created as usual.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.randn:  # on the meta device it imports 500 modules
            func = torch.empty
        if func in (torch.empty, torch.full, torch.zeros, torch.ones):
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)
