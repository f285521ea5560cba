"""A small CNN trained on the labelled images of a model with classes, beside `npdraw classify`.

    python -m benchmarks.studies.few_labels MODEL --images 2000

MODEL is a file of `npdraw train-classes`. The CNN is the classifier of `npdraw train-features`. It
sees the same training images, shifted copies included, binarised again in every batch, and its test
images are those of `npdraw classify --images`.
"""

import argparse
import json
import math
from pathlib import Path

import torch

from npdraw.datasets import default_root
from npdraw.datasets.splits import evenly_spaced
from npdraw.drawings.drawing_model import open_model
from npdraw.inputs.images import reading_of, to_levels
from npdraw.inputs.labelled import (
    find_labelled,
    in_terms_of,
    labelled_training_images,
    load_labelled,
)
from npdraw.runtime.progress import Silent
from npdraw.runtime.settings import Runtime
from npdraw.training.classify import (
    CLASSES_RATE,
    Labelled,
    Schedule,
    accuracy,
    trained_classifier,
)


def main() -> None:
    """Train the CNN, and print its accuracy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data-root", type=Path, default=default_root())
    parser.add_argument("--images", type=int, default=2000, help="test images [2000]")
    parser.add_argument("--steps", type=int, default=1000, help="training steps [1000]")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    runtime = Runtime(device="cpu", threads=1)
    model = open_model(given.model, runtime)
    config, root = model.config.parse, given.data_root
    source, reading = find_labelled(model.header, given.model, None), reading_of(model.header)
    limit = int(model.header.metrics["labelled"])
    images = labelled_training_images(source, root, config, limit, Silent(), reading)
    loaded, labels = load_labelled(source, "test", root, config, reading)
    expected = in_terms_of(images.known.classes, labels, source)
    chosen = evenly_spaced(len(loaded.images), given.images)
    levels = to_levels(torch.tensor(loaded.images), config, given.seed)[chosen]
    pixels = levels * 255 if config.binarize else levels

    count = len(images.data.train)
    classifier = trained_classifier(
        Labelled(images.data.train, images.labels[:count]),
        len(images.known.classes),
        schedule=Schedule(given.steps, CLASSES_RATE, config.binarize),
        seed=given.seed,
        runtime=runtime,
        device=runtime.start(),
        report=lambda *_: None,
    )
    share = accuracy(classifier, Labelled(pixels, torch.tensor(expected.values[chosen])))
    error = math.sqrt(share * (1 - share) / len(chosen))
    known = len(images.known.values) - images.data.validation
    shown = {"accuracy": share, "accuracy_se": error, "training_images": known, "test": len(chosen)}
    print(json.dumps(shown))


if __name__ == "__main__":
    main()
