"""How many samples of a class show what was asked for, by the classifier that comes with npdraw.

    python -m benchmarks.studies.asked_for mnist --samples 100

MODEL has classes, and is of a data set whose classifier is shipped (data/features). Images are
decoded and rounded. Prints one JSON object: how many of the samples are recognised as their class.
"""

import argparse
import json

import torch

import npdraw
from npdraw.inputs.features import read_features
from npdraw.inputs.shipped import find_features
from npdraw.training.classify import Labelled, accuracy


def main() -> None:
    """Sample, classify, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--samples", type=int, default=100, help="samples of each class [100]")
    parser.add_argument("--candidates", type=int, default=1, help="as of npdraw sample [1]")
    given = parser.parse_args()
    model = npdraw.load(given.model)
    path = find_features(model.header.dataset["name"])
    if path is None or not model.classes:
        parser.error(f"{given.model} has no classes, or no classifier is shipped for its data")
    features = read_features(path, model.brush.channels, model.device)
    shares = {}
    for label, name in enumerate(model.classes):
        drawings = model.sample(given.samples, label=name, candidates=given.candidates)
        images = model.decode(model.paint(drawings)).round() * 255
        labels = torch.full((len(images),), label)
        shares[name] = accuracy(features.classifier, Labelled(images.byte(), labels))
    right = round(sum(shares.values()) * given.samples)
    print(json.dumps({"right": right, "samples": given.samples * len(shares), "by_class": shares}))


if __name__ == "__main__":
    main()
