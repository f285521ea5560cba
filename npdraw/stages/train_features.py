"""Train the classifier whose features `npdraw eval-samples` compares (docs/quality.md)."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from npdraw.artifacts import write_artifact
from npdraw.config import Config
from npdraw.datasets import SPLITS, Loaded, Source, digest, load, parse_source
from npdraw.datasets.labels import Labels, load_labels, no_labels_error
from npdraw.errors import DataError
from npdraw.inputs.images import to_levels
from npdraw.reading import Reading
from npdraw.run_key import RunKey
from npdraw.runtime.progress import Progress
from npdraw.runtime.run_folder import clear, locked, up_to_date, write_result
from npdraw.runtime.settings import Runtime
from npdraw.training.classify import (
    BATCH,
    CLASSES_RATE,
    Labelled,
    Schedule,
    accuracy,
    trained_classifier,
)


def train_features(
    config: Config,
    *,
    source: str,
    root: Path,
    steps: int,
    seed: int,
    reading: Reading | None = None,
    notes: Sequence[str] = (),
    out: Path,
    runtime: Runtime,
    progress: Progress,
) -> dict[str, Any]:
    """Train a classifier on the labels of all training images; count its errors on test images.

    The images have size, channels and levels of the settings; binary ones are drawn again at every
    step, and once, from `seed`, for the test. Returns the result of `npdraw train-features --json`.
    `reading` and `notes` are those of pictures and arrays that a path names. Ten parameters,
    because most are flags of the command; the body is long because it lists all that a run does.

    Raises:
        DataError: the images cannot be read, have no labels, or all have the same one; or a test
            image is of a class without training images.
        UsageError, BusyError, ArtifactError: see `run_folder.locked` and `run_folder.up_to_date`.
    """
    # Read the images and their labels.
    device, binarize = runtime.start(), config.parse.binarize
    data = parse_source(source)
    (train, labels), (test, expected) = (
        _loaded(data, split, root, config, reading) for split in SPLITS
    )
    expected = _in_terms_of(labels, expected, data)
    for note in dict.fromkeys([*notes, *train.notes, *test.notes]):
        progress.note(note)
    run_key = _run_key(config, data, train, labels, steps, seed)

    with locked(out) as folder:
        earlier = up_to_date(folder, out, "features", run_key, force=runtime.force)
        if earlier is not None:
            return earlier
        clear(folder)
        began = time.perf_counter()

        # Train and evaluate.
        progress.start("train-features", steps, scale=min(BATCH, len(train.images)))
        classifier = trained_classifier(
            Labelled(torch.tensor(train.images), torch.tensor(labels.values)),
            len(labels.classes),
            schedule=Schedule(steps, CLASSES_RATE, binarize),
            seed=seed,
            runtime=runtime,
            device=device,
            report=lambda done, metrics: progress.update(done, **metrics),
        )
        progress.finish()
        shown = to_levels(torch.tensor(test.images), config.parse, seed)
        pixels = shown * 255 if binarize else shown
        share = accuracy(classifier, Labelled(pixels, torch.tensor(expected.values)))

        # Write.
        metrics = {"accuracy": share, "images": len(pixels), "classes": len(labels.classes)}
        write_artifact(out, "features", classifier.state_dict(), run_key=run_key, metrics=metrics)
        result = {"steps": steps, "seconds": time.perf_counter() - began, **metrics}
        write_result(folder, result)
        return {**result, "out": str(out)}


def _loaded(
    source: Source, split: str, root: Path, config: Config, reading: Reading | None
) -> tuple[Loaded, Labels]:
    """Load the images of a split and their labels, or raise `DataError`."""
    settings = config.parse
    size, channels = settings.image_size, settings.channels
    # Labels first: images need not be fetched if there are none.
    labels = load_labels(source, split, root=root) if source.path is None else None
    if source.path is None and labels is None:
        raise no_labels_error(source, root)
    loaded = load(source, split, root=root, image_size=size, channels=channels, reading=reading)
    if loaded.labels is not None:
        labels = Labels(loaded.labels, loaded.classes)
    if labels is None:
        raise no_labels_error(source, root)
    if len(labels.values) != len(loaded.images):
        raise DataError(
            f"{source} has {len(labels.values):,} labels for {len(loaded.images):,} {split} images",
            hint="Save one label for each image, in the same order.",
        )
    if split == "train" and len(set(labels.values.tolist())) < 2:
        raise DataError(
            f"all training images of {source} have the same label",
            hint="A classifier needs two classes or more.",
        )
    return loaded, labels


def _in_terms_of(known: Labels, labels: Labels, source: Source) -> Labels:
    """Return test labels as indices into the classes of the training images.

    Raises:
        DataError: a test image is of a class that no training image has.
    """
    used = sorted(set(labels.values.tolist()))
    new = {labels.classes[number] for number in used} - set(known.classes)
    if new:
        raise DataError(
            f"{source} has test images of the class {min(new)}, but no training images of it",
            hint="Use the same classes for training and test images.",
        )
    numbers = np.zeros(len(labels.classes), np.int16)
    for number in used:
        numbers[number] = known.classes.index(labels.classes[number])
    return Labels(numbers[labels.values], known.classes)


def _run_key(
    config: Config, source: Source, train: Loaded, labels: Labels, steps: int, seed: int
) -> RunKey:
    """Return what the artifact records: settings, images, and their labels."""
    settings = config.parse
    dataset = {
        "name": source.name,
        "train": len(train.images),
        "image_shape": list(train.images.shape[1:]),
        "binarized": settings.binarize,
        "digest": digest(train.images),
        "labels": digest(labels.values.astype("<i2").view("u1")),
        "classes": list(labels.classes),
    }
    parse = {
        "image_size": settings.image_size,
        "channels": settings.channels,
        "binarize": settings.binarize,
    }
    chosen = {"preset": config.preset, "parse": parse, "features": {"steps": steps}}
    return RunKey(chosen, dataset, {}, seed)
