"""Images of a single value: pictures that are empty as a model sees them."""

from collections.abc import Iterator

import torch
from torch import Tensor

from npdraw.config import ParseConfig
from npdraw.errors import DataError
from npdraw.inputs.images import TrainingImages, copies_per_image, to_levels

_MUCH = 0.4  # of the training images


def count_empty(values: Tensor) -> int:
    """Return how many of the images [N, C, H, W] have one value everywhere in each channel."""
    flat = values.flatten(2)
    return int((flat.amax(2) == flat.amin(2)).all(1).sum())


def what_helps(config: ParseConfig) -> str:
    """Return the options that may fill images that are empty with the settings `config`."""
    if config.binarize:
        return "try a larger --image-size, another --fit, or --pixels levels"
    return "try a larger --image-size or another --fit"


def check_contents(data: TrainingImages, config: ParseConfig, seed: int) -> Iterator[str]:
    """Yield notes if some of the images that a path names are empty, or many are for validation.

    Binary images are drawn from `seed`. Shifted copies do not count.

    Raises:
        DataError: more than half of them are empty.
    """
    if data.source.path is None:
        return
    copies, train = copies_per_image(config), data.train
    alone = train.chunk(copies)[copies // 2]  # shifted by 0
    values = to_levels(torch.cat([alone, data.held_out]), config, seed)
    empty = count_empty(values)
    if 2 * empty > len(values):
        raise DataError(
            f"{empty:,} of {len(values):,} images of {data.source} are empty at "
            f"{config.image_size} x {config.image_size} pixels",
            hint=f"There is too little to draw: {what_helps(config)}. npdraw data look shows them.",
        )
    if empty:
        verb = "is" if empty == 1 else "are"
        yield f"{empty:,} of {len(values):,} images {verb} empty: {what_helps(config)}"
    yield from much_validation(data.validation, len(values))


def much_validation(validation: int, training: int) -> Iterator[str]:
    """Yield a note if at least two fifths of the training images are for validation."""
    if validation >= _MUCH * training:
        yield (
            f"{validation:,} of {training:,} training images are for validation only: "
            "at least 20 are, or half of fewer than 40"
        )
