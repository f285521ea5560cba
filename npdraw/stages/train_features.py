"""Train the classifier whose features `npdraw eval-samples` compares (docs/quality.md)."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from npdraw.artifacts import write_artifact
from npdraw.config import Config
from npdraw.datasets import SPLITS, Loaded, Source, digest, parse_source
from npdraw.datasets.labels import Labels
from npdraw.inputs.images import to_levels
from npdraw.inputs.labelled import in_terms_of, load_labelled
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
        load_labelled(data, split, root, config.parse, reading) for split in SPLITS
    )
    expected = in_terms_of(labels.classes, expected, data)
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
        "labels": labels.digest,
        "classes": list(labels.classes),
    }
    parse = {
        "image_size": settings.image_size,
        "channels": settings.channels,
        "binarize": settings.binarize,
    }
    chosen = {"preset": config.preset, "parse": parse, "features": {"steps": steps}}
    return RunKey(chosen, dataset, {}, seed)
