"""The images of a pipeline: found again by later stages, checked, and split."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from npdraw.config import ParseConfig
from npdraw.datasets import PATHS, Source, digest, load, parse_source
from npdraw.datasets.splits import (
    binarize,
    evenly_spaced,
    keep,
    shuffled_if_sorted,
    validation_size,
)
from npdraw.errors import DataError, UsageError
from npdraw.header import Header
from npdraw.runtime.lock import run_folder
from npdraw.runtime.progress import Progress
from npdraw.runtime.run_folder import read_json


@dataclass(frozen=True)
class TrainingImages:
    """What is kept of the training set; the last images of it are the validation split."""

    images: Tensor
    """uint8 [N, C, H, W], training images first, moved copies of them included."""
    validation: int
    """How many of the last are for validation."""
    source: Source
    dataset: dict[str, Any]
    """What an artifact records: name, split sizes, shape, digest of the images."""

    @property
    def train(self) -> Tensor:
        """The training split."""
        return self.images[: len(self.images) - self.validation]

    @property
    def held_out(self) -> Tensor:
        """The validation split."""
        return self.images[len(self.images) - self.validation :]


def training_images(
    source: Source,
    root: Path,
    config: ParseConfig,
    limit: int | float | None,
    progress: Progress,
    *,
    strict: bool = False,
) -> TrainingImages:
    """Load the training images, keep the first `limit`, split validation off, and `shift` the rest.

    The `train` of the record counts moved copies; its digest is that of the images kept.
    """
    loaded = load(
        source,
        "train",
        root=root,
        image_size=config.image_size,
        channels=config.channels,
        strict=strict,
    )
    for note in loaded.notes:
        progress.note(note)
    kept = keep(shuffled_if_sorted(source, loaded.images), limit)
    validation = validation_size(source, len(kept), len(loaded.images))
    dataset = {
        "name": source.name,
        "train": (len(kept) - validation) * copies_per_image(config),
        "validation": validation,
        "image_shape": list(kept.shape[1:]),
        "binarized": config.binarize,
        "digest": digest(kept),
    }
    images = torch.tensor(kept)
    if config.shift:
        train, held_out = images.split([len(kept) - validation, validation])
        images = torch.cat([shifted(train, config.shift), held_out])
    return TrainingImages(images, validation, source, dataset)


def to_levels(images: Tensor, config: ParseConfig, seed: int) -> Tensor:
    """Return the values that a model is to explain, of uint8 images: 0..`config.levels` - 1.

    Binarised once from `seed`, or as they are.
    """
    return torch.from_numpy(binarize(images.numpy(), seed)) if config.binarize else images


def load_test_images(
    source: Source,
    root: Path,
    config: ParseConfig,
    seed: int,
    images: int | None,
    progress: Progress,
) -> tuple[Tensor, list[int]]:
    """Load the test images, or `images` of them evenly spaced, as they are observed.

    Returns uint8 [N, C, H, W], and which of the split they are.
    """
    loaded = load(source, "test", root=root, image_size=config.image_size, channels=config.channels)
    for note in loaded.notes:
        progress.note(note)
    chosen = evenly_spaced(len(loaded.images), images or len(loaded.images))
    # All are binarised, so that an image is the same however many are asked for.
    return to_levels(torch.tensor(loaded.images), config, seed)[chosen], chosen.tolist()


def copies_per_image(config: ParseConfig) -> int:
    """Return how many times a training image is taken, each time moved differently."""
    return (2 * config.shift + 1) ** 2


def shifted(images: Tensor, most: int) -> Tensor:
    """Return images [N, C, H, W] moved by each of -most..most pixels down and to the right.

    What comes in at the edges is 0. [N * (2 * most + 1) ** 2, C, H, W], all images of one move
    after those of another.
    """
    height, width = images.shape[2:]
    framed = F.pad(images, (most, most, most, most))
    places = range(2 * most + 1)
    return torch.cat(
        [framed[:, :, y : y + height, x : x + width] for y, x in product(places, places)]
    )


def deformed(images: Tensor, maps: Tensor) -> Tensor:
    """Return images [N, C, H, W] in [0, 1] under linear maps [N, 2, 2] about their middle.

    A pixel of the result is what lies where its own map takes it, in (right, down), by bicubic
    interpolation; beyond the edges is 0.
    """
    affine = F.pad(maps, (0, 1))
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bicubic", align_corners=False).clamp(0, 1)


def same_images(
    header: Header,
    made_from: Path,
    given: str | None,
    root: Path,
    config: ParseConfig,
    progress: Progress,
) -> TrainingImages:
    """Load the training images that the artifact `header`, read from `made_from`, was made from.

    `given` names them or other ones; those of another name are taken whole, and recorded.

    Raises:
        DataError: they cannot be found, or are not the ones recorded.
    """
    recorded = header.dataset
    source = find_source(header, made_from, given)
    if source.name != recorded["name"]:
        return training_images(source, root, config, None, progress)
    limit = recorded["train"] // copies_per_image(config) + recorded["validation"]
    hint = "Name the right images with --data or --data-root, or parse these first."
    try:
        images = training_images(source, root, config, limit, progress)
    except UsageError as error:
        raise DataError(
            f"{source} has fewer images than the {limit} that {made_from} was made from", hint=hint
        ) from error
    if images.dataset["digest"] != recorded["digest"]:
        raise DataError(
            f"the images of {source} are {images.dataset['digest'][:6]}, but {made_from} was made "
            f"from {recorded['digest'][:6]}",
            hint=hint,
        )
    return images


def find_source(header: Header, made_from: Path, given: str | None) -> Source:
    """Return the data set given, else that of the artifact read from `made_from`.

    An artifact never holds the path of a folder or file; it is kept beside it, in `.run/`.
    """
    if given is not None:
        return parse_source(given)
    name = header.dataset["name"]
    if name not in PATHS:
        return Source(name)
    path = read_json(run_folder(made_from) / "config.json").get("source")
    if not isinstance(path, str):
        raise DataError(
            f"{made_from} was made from a {name} whose path is not known here",
            hint=f"Name it with --data {name}:PATH.",
        )
    return parse_source(path)
