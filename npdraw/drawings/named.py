"""What a command is to work on, by a word: a picture, a drawing, a sample, a test image."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from npdraw.datasets import load, read_picture
from npdraw.drawings.drawing_model import DrawingModel
from npdraw.drawings.strokes import read_drawing
from npdraw.errors import DataError, UsageError
from npdraw.inputs.images import find_source
from npdraw.model.latents import Latents

SAMPLE, TEST = "seed:", "test:"


@dataclass(frozen=True)
class NamedDrawing:
    """A drawing, and the image that it is of, if there is one."""

    word: str
    image: Tensor | None
    """As the model sees it, float [1, C, H, W]."""
    drawing: Latents
    """[1, T]; of an image the likeliest of the posterior."""


def named_drawing(word: str, model: DrawingModel, root: Path) -> NamedDrawing:
    """Return what `word` names.

    `seed:N` is the drawing that `npdraw sample` makes of seed N, `test:N` the Nth test image of
    the model's data set (below `root`), counted from 0; of a path, one that ends in `.json` is a
    drawing, any other a picture.

    Raises:
        UsageError: there is no such seed or test image.
        ArtifactError: the drawing is damaged, or of another model.
        DataError: the picture or the data set cannot be read.
    """
    if word.startswith(SAMPLE):
        return NamedDrawing(word, None, model.sample(1, _number(word, SAMPLE)))
    if word.startswith(TEST):
        image = model.preprocess(_test_image(word, model, root))
    elif word.lower().endswith(".json"):
        drawing = read_drawing(Path(word), model.network.bank, model.layout)
        return NamedDrawing(word, None, drawing)
    else:
        return drawing_of_picture(Path(word), model)
    return NamedDrawing(word, image, model.encode(image))


def drawing_of_picture(source: Path | bytes, model: DrawingModel) -> NamedDrawing:
    """Return the subject that a picture is, given by its file or by what is in it.

    Raises:
        DataError: it cannot be read.
    """
    settings = model.config.parse
    pixels = read_picture(source, settings.image_size, settings.channels)
    image = model.preprocess(torch.tensor(pixels)[None])
    word = "a picture" if isinstance(source, bytes) else str(source)
    return NamedDrawing(word, image, model.encode(image))


def named_image(word: str, model: DrawingModel, root: Path) -> tuple[NamedDrawing, Tensor]:
    """Return what `word` names and its image; `UsageError` if it has none."""
    found = named_drawing(word, model, root)
    if found.image is None:
        raise UsageError(f"{word} is a drawing, not an image", hint="Name a picture, or test:N.")
    return found, found.image


def _number(word: str, prefix: str) -> int:
    text = word.removeprefix(prefix)
    if not text.isdecimal() or len(text) > 18:
        raise UsageError(f"{word}: {text!r} is no number", hint=f"Write for instance {prefix}0")
    return int(text)


def _test_image(word: str, model: DrawingModel, root: Path) -> Tensor:
    """Return a test image, uint8 [1, C, H, W]."""
    number, settings = _number(word, TEST), model.config.parse
    source = find_source(model.header, model.path, None)
    loaded = load(
        source, "test", root=root, image_size=settings.image_size, channels=settings.channels
    )
    if number >= len(loaded.images):
        raise DataError(
            f"{word}: {source} has {len(loaded.images)} test images",
            hint=f"They are counted from 0 to {len(loaded.images) - 1}.",
        )
    return torch.tensor(loaded.images[number])[None]
