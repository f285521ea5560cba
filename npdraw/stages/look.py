"""A look at pictures or arrays before anything is trained: facts, and a sheet of the images."""

from pathlib import Path
from typing import Any

import torch

from npdraw.config import Config
from npdraw.datasets import digest, load, parse_source
from npdraw.datasets.division import MIN_TRAINING, NEEDED
from npdraw.datasets.splits import evenly_spaced, validation_size
from npdraw.datasets.survey import Survey
from npdraw.errors import DataError
from npdraw.inputs.empty_images import count_empty, much_validation, what_helps
from npdraw.inputs.images import to_levels
from npdraw.pictures.files import check_picture, is_up_to_date, write_still
from npdraw.pictures.sheet import SHEET_SAMPLES, tile

_SEED = 0  # of the binarisation, as the default of --seed


def look(config: Config, seen: Survey, *, source: str, root: Path, out: Path, force: bool) -> Any:
    """Write a sheet of 64 training images, evenly spaced, as a model sees them; return the facts.

    `seen` is the survey of `source`, and `config` has the settings that follow from it. Binary
    images are drawn from grey ones, as `npdraw parse` draws them.

    Raises:
        DataError: the pictures or arrays cannot be read, or there are fewer than 3 training images.
        UsageError: `out` cannot be written, or is not a picture that npdraw made.
    """
    check_picture(out, force=force)
    parsed, settings = parse_source(source), config.parse
    loaded = load(
        parsed,
        "train",
        root=root,
        image_size=settings.image_size,
        channels=settings.channels,
        reading=seen.reading,
    )
    count = len(loaded.images)
    if count < MIN_TRAINING:
        raise DataError(
            f"{source} has only {count} training images",
            hint=NEEDED,
        )
    chosen = evenly_spaced(count, min(count, SHEET_SAMPLES))
    images = to_levels(torch.tensor(loaded.images[chosen]), settings, _SEED)
    pixels = images * 255 if settings.binarize else images
    empty = count_empty(images)
    notes = [*seen.lines(settings.image_size), *loaded.notes]
    if empty:
        where, verb = f"the {len(chosen)} images on the sheet", "is" if empty == 1 else "are"
        notes.append(f"{empty} of {where} {verb} empty: {what_helps(settings)}")
    validation = validation_size(parsed, count, count)
    notes += much_validation(validation, count)
    result = {
        "source": source,
        **facts(seen),
        "channels": settings.channels,
        "binarize": settings.binarize,
        "image_size": settings.image_size,
        "preset": config.preset,
        "training_images": count,
        "validation_images": validation,
        "shown": len(chosen),
        "empty": empty,
        "notes": notes,
        "out": str(out),
    }
    text = {"shows": "data look", "images": digest(pixels.numpy())}
    up_to_date = is_up_to_date(out, text, force=force)
    if not up_to_date:
        write_still(out, tile(pixels), text)
    return result | {"up_to_date": up_to_date}


def facts(seen: Survey) -> dict[str, Any]:
    """Return what a survey saw and chose, as JSON holds it."""
    sizes = seen.sizes
    return {
        "pictures": seen.pictures,
        "looked_at": seen.looked_at,
        "unreadable": seen.unreadable,
        "several_frames": seen.several_frames,
        "left_out": dict(seen.left_out),
        "sizes": {
            "smallest": list(sizes.smallest),
            "median": list(sizes.median),
            "largest": list(sizes.largest),
            "not_square": sizes.not_square,
            "far_from_square": sizes.far_from_square,
        },
        "coloured": seen.coloured,
        "transparent": seen.transparent,
        "two_valued": seen.two_valued,
        "light_ground": seen.light_ground,
        "values": list(seen.values),
        "splits": dict(seen.splits),
        "test_others": seen.test_others[0],
        "validation_folders": seen.validation,
        "classes": dict(seen.classes),
        "reading": seen.reading.record(),
    }
