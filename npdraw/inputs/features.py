"""The features that samples are compared by: which ones, read from where, and do they fit?"""

from pathlib import Path
from typing import Any

import torch

from npdraw.artifacts import Artifact, Expected, check_tensors, read_artifact, unfit_error
from npdraw.datasets import Source
from npdraw.errors import ArtifactError, UsageError, did_you_mean
from npdraw.inputs.models import MOST_CLASSES, to_device
from npdraw.inputs.shipped import find_features
from npdraw.quality.classifier import Classifier
from npdraw.quality.features import Extractor, OwnFeatures
from npdraw.quality.pretrained import imagenet_features, inception_features

OWN, IMAGENET, INCEPTION = "own", "imagenet", "inception"
"""Features that `--features` names; anything else is a file."""

_SIDES = range(4, 257)  # of images, as the setting parse.image_size


def chosen_features(given: str, source: Source, channels: int, device: torch.device) -> Extractor:
    """Return the network that `--features` names, on `device`, for images of `source`.

    `own` is the classifier that comes with npdraw for that data set; the images have `channels`.

    Raises:
        UsageError: none comes with it, the name is unknown, or the package that has it is not
            installed.
        ArtifactError: the file is missing or damaged, or is for images in colour where these are
            grey, or the reverse.
        DataError: the weights of Inception were not fetched.
    """
    if given == IMAGENET:
        return imagenet_features(device)
    if given == INCEPTION:
        return inception_features(device)
    path = find_features(source.name) if given == OWN else Path(given)
    if path is not None and not path.suffix and not path.exists():
        raise UsageError(
            f"{given!r} is neither a kind of features nor a file",
            hint=did_you_mean(given, (OWN, IMAGENET, INCEPTION)),
        )
    if path is None:
        raise UsageError(
            f"npdraw comes without features for {source}",
            hint="Use --features imagenet; or, for images with labels, train some: npdraw "
            f"train-features --data {source} --out FILE, then --features FILE.",
        )
    return read_features(path, channels, device)


def read_features(path: Path, channels: int, device: torch.device) -> OwnFeatures:
    """Read a classifier of `npdraw train-features` for images with `channels`.

    Raises:
        ArtifactError: the file is missing, damaged, of another kind, or does not fit its settings
            or these images.
    """
    artifact = read_artifact(path, kind="features")
    (known, side), classes = _shape(artifact), _classes(artifact)
    classifier = Classifier(known, classes)
    weights = classifier.state_dict()
    check_tensors(artifact, {name: Expected(weight.shape) for name, weight in weights.items()})
    if known != channels:
        kinds = {1: "grey", 3: "in colour"}
        raise ArtifactError(
            f"{path} was trained on images that are {kinds[known]}, those to compare are "
            f"{kinds[channels]}",
            hint="Train features on images like these: npdraw train-features --data ...",
        )
    classifier.load_state_dict(artifact.tensors)
    classifier.eval().requires_grad_(False)
    learned = str(artifact.header.dataset.get("name"))
    shipped = path == find_features(learned)
    name = f"own features ({learned})" if shipped else f"features of {path.name} ({learned})"
    return OwnFeatures(to_device(classifier, device), side, name, artifact.header.digest)


def _shape(artifact: Artifact) -> tuple[int, int]:
    """Return channels and side of the images that features were trained on."""
    shape: Any = artifact.header.dataset.get("image_shape")
    if (
        not isinstance(shape, list)
        or [type(number) for number in shape] != [int, int, int]
        or shape[0] not in (1, 3)
        or shape[1] not in _SIDES
        or shape[1] != shape[2]
    ):
        raise unfit_error(artifact, f"image_shape of its data set is {shape!r:.80}")
    return shape[0], shape[1]


def _classes(artifact: Artifact) -> int:
    """Return the number of classes that features were trained to tell apart."""
    classes: Any = artifact.header.dataset.get("classes")
    if not isinstance(classes, list) or not 2 <= len(classes) <= MOST_CLASSES:
        raise unfit_error(artifact, f"classes of its data set are {classes!r:.80}")
    return len(classes)
