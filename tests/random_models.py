"""Colour models of random weights, written as the stages write trained ones."""

from pathlib import Path

import torch
from torch import Tensor

from npdraw.artifacts import write_artifact
from npdraw.config import Config, as_dict
from npdraw.inputs.brushes import brush_of
from npdraw.inputs.models import new_model, weights_of
from npdraw.run_key import RunKey


def write_random_model(path: Path, config: Config, tables: dict[str, Tensor], seed: int) -> None:
    """Write a model of colour images with the `tables` of a brush, and weights from `seed`."""
    brush = brush_of(config.parse, tables)
    torch.manual_seed(seed)
    model = new_model(config, brush)
    with torch.no_grad():  # a new decoder draws nearly the same for any canvas
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    record = {
        "name": "cifar10",
        "train": 40,
        "validation": 20,
        "image_shape": [3, config.parse.image_size, config.parse.image_size],
        "binarized": False,
        "digest": "0" * 64,
    }
    write_artifact(
        path,
        "model",
        weights_of(model, brush),
        run_key=RunKey(as_dict(config), record, {}, 0),
        metrics={"elbo": 1.0},
    )
