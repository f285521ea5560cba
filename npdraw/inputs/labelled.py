"""Images with labels: which class each image has, for classifiers and for priors with classes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from npdraw.config import ParseConfig
from npdraw.datasets import Loaded, Source, load, parse_source
from npdraw.datasets.labels import Labels, load_labels, no_labels_error
from npdraw.datasets.splits import shuffled_if_sorted
from npdraw.errors import DataError
from npdraw.header import Header
from npdraw.inputs.images import TrainingImages, copies_per_image, find_source, training_images
from npdraw.reading import Reading
from npdraw.runtime.lock import run_folder
from npdraw.runtime.progress import Progress
from npdraw.runtime.run_folder import read_json


@dataclass(frozen=True)
class LabelledImages:
    """Training images and their classes; the last of them are the validation split."""

    data: TrainingImages
    known: Labels
    """Labels of the images that are kept, in their order, without shifted copies.

    Classes are those of training images; -1 is any other class of a held-out image.
    """
    absent: tuple[str, ...] = ()
    """Names of the classes that no training image has."""

    @property
    def digest(self) -> str:
        """SHA-256 of the digests of the images and of their labels, and of the classes' names."""
        named = [self.data.dataset["digest"], self.known.digest, *self.known.classes]
        return hashlib.sha256("\0".join(named).encode()).hexdigest()

    @property
    def labels(self) -> Tensor:
        """The class of each image of `data`, shifted copies included, int64 [N]."""
        values = torch.tensor(self.known.values).long()
        held_out = self.data.validation
        train = values[: len(values) - held_out]
        copies = (len(self.data.images) - held_out) // len(train)
        return torch.cat([train.repeat(copies), values[len(train) :]])


LABELLED = "labelled"
"""The entry of a run folder's `config.json` that says where the labelled images are."""


def find_labelled(header: Header, made_from: Path, given: str | None) -> Source:
    """Return the data set `given`, else that whose labels the model at `made_from` has learned.

    Raises:
        DataError: its path is not known.
    """
    kept = read_json(run_folder(made_from) / "config.json").get(LABELLED)
    if given is None and isinstance(kept, str):
        return parse_source(kept)
    return find_source(header, made_from, given)


def labelled_training_images(
    source: Source,
    root: Path,
    config: ParseConfig,
    limit: int | float | None,
    progress: Progress,
    reading: Reading | None,
) -> LabelledImages:
    """Load training images and split them as `training_images` does, with their labels.

    Raises:
        DataError: they cannot be read, have no labels, or all have the same one, or no held-out
            image is of a class of a training image.
        UsageError: as `training_images`.
    """
    if source.path is None:
        _, labels = load_labelled(source, "train", root, config, reading)
        data = training_images(source, root, config, limit, progress, reading=reading)
        size = len(data.train) // copies_per_image(config)
        values = shuffled_if_sorted(source, labels.values)[: size + data.validation]
        classes = labels.classes
    else:
        data = training_images(source, root, config, limit, progress, reading=reading)
        if data.labels is None:
            raise _unlabelled(source, root, data.notes)
        size = len(data.train) // copies_per_image(config)
        first, last = data.labels[:size], data.labels[len(data.train) :]
        values, classes = torch.cat([first, last]).numpy(), tuple(data.dataset["classes"])
    _check_several(values[:size], source)
    used = np.unique(values[:size])
    numbers = np.full(len(classes), -1, np.int16)
    numbers[used] = np.arange(len(used))
    known = Labels(numbers[values], tuple(classes[number] for number in used))
    if bool((known.values[size:] < 0).all()):
        raise DataError(
            f"the {data.validation:,} held-out images of {source}, its last, are of classes that "
            "no training image has",
            hint="Shuffle the images together with their labels.",
        )
    absent = tuple(name for number, name in zip(numbers, classes, strict=True) if number < 0)
    return LabelledImages(data, known, absent)


def load_labelled(
    source: Source, split: str, root: Path, config: ParseConfig, reading: Reading | None
) -> tuple[Loaded, Labels]:
    """Load the images of a split, as `load` does, and their labels.

    Raises:
        DataError: they cannot be read or have no labels, or all training images have the same one.
    """
    # Labels first: images need not be fetched if there are none.
    labels = load_labels(source, split, root=root) if source.path is None else None
    if source.path is None and labels is None:
        raise no_labels_error(source, root)
    size, channels = config.image_size, config.channels
    loaded = load(source, split, root=root, image_size=size, channels=channels, reading=reading)
    if loaded.labels is not None:
        labels = Labels(loaded.labels, loaded.classes)
    if labels is None:
        raise _unlabelled(source, root, loaded.notes)
    if len(labels.values) != len(loaded.images):
        raise DataError(
            f"{source} has {len(labels.values):,} labels for {len(loaded.images):,} {split} images",
            hint="Save one label for each image, in the same order.",
        )
    if split == "train":
        _check_several(labels.values, source)
    return loaded, labels


def _unlabelled(source: Source, root: Path, notes: Sequence[str]) -> DataError:
    """Return the error for images without labels, with the notes on reading that say why."""
    error = no_labels_error(source, root)
    reasons = [note for note in notes if "label" in note or "class" in note]
    return DataError(error.message, hint=" ".join([*reasons, error.hint]))


def _check_several(values: np.ndarray, source: Source) -> None:
    if len(set(values.tolist())) < 2:
        raise DataError(
            f"all {len(values):,} training images of {source} have the same label",
            hint="Use images of two classes or more.",
        )


def in_terms_of(classes: tuple[str, ...], labels: Labels, source: Source) -> Labels:
    """Return labels as indices into the `classes` of the training images.

    Raises:
        DataError: an image is of a class that no training image has.
    """
    used = sorted(set(labels.values.tolist()))
    new = {labels.classes[number] for number in used} - set(classes)
    if new:
        raise DataError(
            f"{source} has test images of the class {min(new)}, of which there were no training "
            "images",
            hint="Name images of the same classes with --data.",
        )
    numbers = np.zeros(len(labels.classes), np.int16)
    for number in used:
        numbers[number] = classes.index(labels.classes[number])
    return Labels(numbers[labels.values], classes)
