"""How much a model's samples look like test images, as `npdraw eval-samples` measures it."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.rivals.task import Task
from npdraw.datasets import parse_source
from npdraw.errors import UsageError
from npdraw.inputs.features import IMAGENET, OWN, chosen_features
from npdraw.inputs.images import load_test_images
from npdraw.inputs.shipped import find_features
from npdraw.presets import preset
from npdraw.quality.distances import compare
from npdraw.quality.features import features_of
from npdraw.runtime.progress import Progress


def quality(path: Path, task: Task, progress: Progress) -> dict[str, Any]:
    """Compare the samples that a row has saved, uint8 [N, C, H, W], with all test images.

    Features are those of a classifier of the data set, or where npdraw has none those of ImageNet;
    {} if the extra npdraw[metrics], which has these, is not installed.
    """
    config, device = preset(task.source).parse, torch.device("cpu")
    source = parse_source(task.source)
    kind = OWN if find_features(task.source) else IMAGENET
    try:
        extractor = chosen_features(kind, source, config.channels, device)
    except UsageError as error:
        progress.note(f"samples are not compared: {error.message}")
        return {}
    test, _ = load_test_images(source, task.root, config, task.seed, None, progress)
    noise = torch.Generator().manual_seed(task.seed)
    test = test[torch.randperm(len(test), generator=noise)]  # blocks of KID are alike
    with np.load(path) as saved:
        drawn = torch.from_numpy(saved["samples"])
    found = asdict(
        compare(
            features_of(extractor, drawn, device),
            features_of(extractor, test * (255 if config.binarize else 1), device),
        )
    )
    if math.isnan(found["kid_se"]):  # a single block
        found["kid_se"] = None
    return {"features": extractor.digest, "images": len(test), **found}
