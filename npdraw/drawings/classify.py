"""Classification by likelihood: p(label | image), from the bounds, and p(label | drawing)."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from npdraw.config import BATCH_SIZE
from npdraw.datasets.labels import Labels
from npdraw.datasets.splits import evenly_spaced
from npdraw.drawings.bounds import bounds
from npdraw.drawings.drawing_model import DrawingModel, open_model
from npdraw.drawings.named import named_image, noted
from npdraw.inputs.classes import check_classes
from npdraw.inputs.images import to_levels
from npdraw.inputs.labelled import find_labelled, in_terms_of, load_labelled
from npdraw.inputs.other_images import check_images, reading_for
from npdraw.model.latents import Latents
from npdraw.runtime.progress import Progress
from npdraw.runtime.settings import Runtime

IMAGES_AT_ONCE = 100
"""Test images classified between two reports of progress."""


def classes_of_drawing(model: DrawingModel, drawing: Latents) -> Tensor:
    """Return p(label | z) of a drawing [1, T], for each of the model's classes, float64 [classes].

    By Bayes' rule from p(z | label), with all classes equally likely before.

    Raises:
        UsageError: the model has no classes.
    """
    check_classes(model.header)
    prior = model.network.class_prior
    assert prior is not None
    drawing, scores = drawing.to(model.device), []
    for labels in torch.arange(prior.classes, device=model.device).split(BATCH_SIZE):
        with torch.no_grad(), model.runtime.autocast(model.device):
            scores.append(prior.log_prob(drawing.repeat(len(labels)), labels))
    return torch.cat(scores).cpu().double().softmax(0)


def classify_images(
    model_path: Path,
    *,
    names: list[str],
    root: Path,
    samples: int,
    seed: int,
    runtime: Runtime,
) -> dict[str, Any]:
    """Return the probability of each class for images that are named (`named.named_image`).

    The result of `npdraw classify --json`: `images` has, for each of them, its `label`, the
    likeliest class, and `probabilities`, class -> probability.

    Raises:
        UsageError, DataError: the model has no classes; see `named.named_image`.
    """
    model = open_model(model_path, runtime)
    check_classes(model.header)
    named = [named_image(name, model, root) for name in names]
    found = []
    for name, (_, image) in zip(names, named, strict=True):
        found_chances = model.classify(image, samples, seed)[0].tolist()
        chances = dict(zip(model.classes, found_chances, strict=True))
        label = max(chances, key=lambda one: chances[one])
        found.append({"image": name, "label": label, "probabilities": chances})
    return {"images": found, "samples": samples, **noted(*(source for source, _ in named))}


def classify_test(
    model_path: Path,
    *,
    source: str | None,
    root: Path,
    images: int | None,
    samples: int,
    seed: int,
    runtime: Runtime,
    progress: Progress,
) -> dict[str, Any]:
    """Classify test images, and compare with their labels.

    The images are those of the data set that the model was made from, or of `source`; `images` of
    them, evenly spaced, or all, without those of classes that the model has not learned. Returns
    the result of `npdraw classify --json`: `accuracy`, the share that is right, with its standard
    error, and `nats`, the mean of -log p(label | image) of the right class. Eight parameters,
    because each is a flag of the command.

    Raises:
        DataError: the images cannot be read or have no labels, or none is of a class that the model
            has learned.
        UsageError: the model has no classes, or the images do not fit it.
    """
    # Read the images.
    model = open_model(model_path, runtime)
    classes, config = check_classes(model.header), model.config.parse
    data = find_labelled(model.header, model_path, source)
    check_images(data, root, model.header, model_path, config, progress)
    reading = reading_for(data, root, model.header, config, progress)
    loaded, labels = load_labelled(data, "test", root, config, reading)
    chosen = evenly_spaced(len(loaded.images), images or len(loaded.images))
    chosen = _of_learned(chosen, labels, classes, progress)
    labels = in_terms_of(classes, Labels(labels.values[chosen], labels.classes), data)
    # Binarise all, so that an image does not depend on how many are chosen.
    values = model.network.in_unit(to_levels(torch.tensor(loaded.images), config, seed)[chosen])
    expected = torch.from_numpy(labels.values).long()

    # Classify them.
    began, found = time.perf_counter(), []
    progress.start("classify", len(values))
    for first in range(0, len(values), IMAGES_AT_ONCE):
        some = values[first : first + IMAGES_AT_ONCE]
        scores = bounds(
            model.network,
            some,
            samples,
            seed,
            model.device,
            model.runtime,
            numbers=chosen[first : first + IMAGES_AT_ONCE].tolist(),
            classes=True,
        )
        found.append(scores.log_softmax(1))
        done = first + len(some)
        right = torch.cat(found).argmax(1).eq(expected[:done])
        progress.update(done, accuracy=float(right.double().mean()))
    progress.finish()
    nats = -torch.cat(found)[torch.arange(len(expected)), expected]
    share = float(right.double().mean())
    return {
        "accuracy": share,
        "accuracy_se": math.sqrt(share * (1 - share) / len(expected)),
        "nats": float(nats.mean()),
        "images": len(expected),
        "samples": samples,
        "split": "test",
        "seconds": time.perf_counter() - began,
    }


def _of_learned(
    chosen: NDArray[np.int64], labels: Labels, classes: tuple[str, ...], progress: Progress
) -> NDArray[np.int64]:
    """Return the indices of images whose class has been learned, and say how many are left out.

    If none has, all are returned, for the error that names one.
    """
    learned = np.isin(np.array(labels.classes)[labels.values[chosen]], classes)
    if learned.all() or not learned.any():
        return chosen
    progress.note(
        f"{(~learned).sum():,} of {len(chosen):,} test images are of classes that the model has "
        "not learned, and are left out"
    )
    kept: NDArray[np.int64] = chosen[learned]
    return kept
