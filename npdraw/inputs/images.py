"""The images of a pipeline: loaded, checked and split, and loaded again by later stages."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from npdraw.config import ParseConfig
from npdraw.datasets import PATHS, Source, digest, load, parse_source, prepare
from npdraw.datasets.division import MIN_TRAINING, NEEDED
from npdraw.datasets.facts import SETS
from npdraw.datasets.splits import (
    binarize,
    evenly_spaced,
    keep,
    shuffled_if_sorted,
    validation_size,
)
from npdraw.errors import DataError, UsageError
from npdraw.header import Header
from npdraw.reading import Reading, from_record
from npdraw.runtime.lock import run_folder
from npdraw.runtime.progress import Progress
from npdraw.runtime.run_folder import read_json


@dataclass(frozen=True)
class TrainingImages:
    """The training images that a pipeline uses; the last of them are the validation split."""

    images: Tensor
    """uint8 [N, C, H, W]: training images with their shifted copies, then validation images."""
    validation: int
    """Number of validation images."""
    source: Source
    dataset: dict[str, Any]
    """The record kept in artifacts: name, split sizes, shape and digest of the images.

    For pictures or arrays that a path names, also how they were read, and their classes.
    """
    labels: Tensor | None = None
    """The class of each image, an index into the classes of the record, int16 [N], or None."""
    notes: tuple[str, ...] = ()
    """What was said about reading them."""

    @property
    def train(self) -> Tensor:
        """The training split, shifted copies included."""
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
    reading: Reading | None = None,
) -> TrainingImages:
    """Load the training images, keep the first `limit`, split off validation, add shifted copies.

    `limit` is a number of images, or a fraction up to 1; None keeps all. The `train` of the record
    counts shifted copies; its digest is that of the images before shifting. `reading` is for
    pictures and arrays that a path names.

    Raises:
        DataError: the images cannot be read, or there are fewer than 3 of them.
        UsageError: `limit` keeps fewer than 3, or is more than there are.
    """
    loaded = load(
        source,
        "train",
        root=root,
        image_size=config.image_size,
        channels=config.channels,
        strict=strict,
        reading=reading,
    )
    for note in loaded.notes:
        progress.note(note)
    if len(loaded.images) < MIN_TRAINING:
        raise DataError(
            f"{source} has only {len(loaded.images)} training images",
            hint=NEEDED,
        )
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
    if source.path is not None and reading is not None:
        dataset["reading"] = reading.record()
    images, labels = torch.tensor(kept), None
    if loaded.labels is not None:
        dataset["classes"] = list(loaded.classes)
        labels = torch.tensor(shuffled_if_sorted(source, loaded.labels)[: len(kept)])
    if config.shift:
        sizes = [len(kept) - validation, validation]
        train, held_out = images.split(sizes)
        ground = ground_of(reading, config.channels)
        images = torch.cat([shifted(train, config.shift, ground), held_out])
        if labels is not None:
            train, held_out = labels.split(sizes)
            labels = torch.cat([train.repeat(copies_per_image(config)), held_out])
    return TrainingImages(images, validation, source, dataset, labels, loaded.notes)


def reading_of(header: Header) -> Reading | None:
    """Return how the pictures or arrays were read that an artifact was made from.

    None for a named data set, and if it was made before readings were stored.
    """
    return from_record(header.dataset.get("reading"))


def to_levels(images: Tensor, config: ParseConfig, seed: int) -> Tensor:
    """Return the values of uint8 images that a model explains, 0..`config.levels` - 1.

    They are binarised once, from `seed`, or left unchanged, as the settings say.
    """
    return torch.from_numpy(binarize(images.numpy(), seed)) if config.binarize else images


def load_test_images(
    source: Source,
    root: Path,
    config: ParseConfig,
    seed: int,
    images: int | None,
    progress: Progress,
    *,
    reading: Reading | None = None,
) -> tuple[Tensor, list[int]]:
    """Load the test images, or `images` of them evenly spaced, as values that a model explains.

    `reading` is that of the model. Returns uint8 [N, C, H, W] and the position of each image in the
    split.
    """
    size, channels = config.image_size, config.channels
    loaded = load(source, "test", root=root, image_size=size, channels=channels, reading=reading)
    for note in loaded.notes:
        progress.note(note)
    chosen = evenly_spaced(len(loaded.images), images or len(loaded.images))
    # Binarise all, so that an image does not depend on how many are chosen.
    return to_levels(torch.tensor(loaded.images), config, seed)[chosen], chosen.tolist()


def check_test_images(
    source: Source, root: Path, config: ParseConfig, images: int, reading: Reading | None
) -> None:
    """Raise `UsageError` if there are fewer test images than `images`, before anything is trained.

    Images of named data sets are not read: their number is known.
    """
    if source.path is None:
        total = SETS[source.name].test
    else:
        size, channels = config.image_size, config.channels
        loaded = load(
            source, "test", root=root, image_size=size, channels=channels, reading=reading
        )
        total = len(loaded.images)
    evenly_spaced(total, images)


def copies_per_image(config: ParseConfig) -> int:
    """Return the number of copies of each training image, all shifted differently."""
    return (2 * config.shift + 1) ** 2


def ground_of(reading: Reading | None, channels: int) -> Tensor:
    """Return the value of the ground around images that are read so, uint8 [C]; without one, 0."""
    return torch.from_numpy(prepare.ground_of(reading, channels))


def shifted(images: Tensor, most: int, ground: Tensor) -> Tensor:
    """Return images [N, C, H, W] shifted by each of -most..most pixels down and to the right.

    Pixels from outside the image are `ground`, [C]. The result is
    [N * (2 * most + 1) ** 2, C, H, W]: all images shifted one way, then all shifted the next.
    """
    height, width = images.shape[2:]
    size = (len(images), -1, height + 2 * most, width + 2 * most)
    framed = ground[:, None, None].expand(*size).clone()
    framed[:, :, most:-most, most:-most] = images
    offsets = range(2 * most + 1)
    return torch.cat(
        [framed[:, :, y : y + height, x : x + width] for y, x in product(offsets, offsets)]
    )


def deformed(images: Tensor, maps: Tensor, ground: Tensor | None = None) -> Tensor:
    """Return images [N, C, H, W] in [0, 1], each resampled under its linear map [N, 2, 2].

    The pixel at (right, down) from the middle takes its value from where the map takes that
    position, by bicubic interpolation; positions outside the image are `ground`, [C], or 0.
    """
    # torchvision's `affine` applies one map to a whole batch and is not bicubic for tensors.
    affine = F.pad(maps, (0, 1))
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    around = 0 if ground is None else ground[:, None, None]
    moved = F.grid_sample(images - around, grid, mode="bicubic", align_corners=False)
    return (moved + around).clamp(0, 1)


def same_images(
    header: Header,
    made_from: Path,
    given: str | None,
    root: Path,
    config: ParseConfig,
    progress: Progress,
    *,
    reading: Reading | None = None,
) -> TrainingImages:
    """Load the training images from which the artifact at `made_from` was made.

    `given` names their source if it has moved. If it names another data set, all images of that one
    are used, read as `reading` says, and recorded in the next artifact.

    Raises:
        DataError: the images cannot be found or differ from those recorded.
    """
    recorded = header.dataset
    source, reading = find_source(header, made_from, given), reading or reading_of(header)
    if source.name != recorded["name"]:
        return training_images(source, root, config, None, progress, reading=reading)
    limit = recorded["train"] // copies_per_image(config) + recorded["validation"]
    hint = "Name the right images with --data or --data-root, or parse these first."
    try:
        images = training_images(source, root, config, limit, progress, reading=reading)
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
    """Return the data set `given`, else the one from which the artifact at `made_from` was made.

    Artifacts never hold the path of a folder or file; it is kept in the run folder beside them.

    Raises:
        DataError: the path is not known.
    """
    if given is not None:
        return parse_source(given)
    name = header.dataset["name"]
    if name not in PATHS:
        return Source(name)
    path = read_json(run_folder(made_from) / "config.json").get("source")
    if not isinstance(path, str):
        raise DataError(
            f"{made_from} was made from images whose path is not known here",
            hint=f"Name it with --data {name}:PATH.",
        )
    return parse_source(path)
