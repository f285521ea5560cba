"""Names of drawings and images on the command line: seed:N, test:N, or a path."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from npdraw.datasets import load, read_picture
from npdraw.datasets.facts import SETS
from npdraw.datasets.one_picture import notes_on_picture, reading_of_picture
from npdraw.drawings.drawing_model import DrawingModel
from npdraw.drawings.strokes import read_drawing
from npdraw.errors import DataError, UsageError
from npdraw.inputs.images import find_source, reading_of
from npdraw.model.latents import Latents

SAMPLE, TEST = "seed:", "test:"

_FORMS = "Name a picture, a drawing (.json), seed:N for a sample, or test:N for a test image."
_IMAGES = "Name a picture, or test:N for a test image."


@dataclass(frozen=True)
class NamedDrawing:
    """A drawing, and the image that it was made from, if any."""

    name: str
    image: Tensor | None
    """As the model sees it, float [1, C, H, W]; None if the drawing was not made from an image."""
    drawing: Latents
    """[1, T]; for an image, the likeliest drawing of the posterior."""
    notes: tuple[str, ...] = ()
    """What was done to a picture."""


def noted(*named: NamedDrawing, more: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return the entry of a result with the notes on pictures and `more`; empty without any."""
    notes = [note for one in named for note in one.notes] + list(more)
    return {"notes": notes} if notes else {}


def named_drawing(
    name: str, model: DrawingModel, root: Path, label: str | None = None
) -> NamedDrawing:
    """Return the drawing of a name on the command line.

    `seed:N` is the drawing that `npdraw sample` makes with seed N, of the class `label`; `test:N`
    is the Nth test image, from 0, of the model's dataset in the folder `root`. Anything else is a
    path: of a drawing if it ends in `.json`, otherwise of a picture.

    Raises:
        UsageError: the number is not one, or `test:N` is not possible.
        ArtifactError: the drawing is damaged, or belongs to another model.
        DataError: the picture or the data set cannot be read.
    """
    if name.startswith(SAMPLE):
        return NamedDrawing(name, None, model.sample(1, _number(name, SAMPLE), label=label))
    if name.startswith(TEST):
        image = model.preprocess(_test_image(name, model, root))
    elif name.lower().endswith(".json"):
        drawing = read_drawing(Path(name), model.brush)
        return NamedDrawing(name, None, drawing)
    else:
        try:
            return drawing_of_picture(Path(name), model)
        except DataError as error:
            raise DataError(error.message, hint=error.hint or _FORMS) from error
    return NamedDrawing(name, image, model.encode(image))


def drawing_of_picture(source: Path | bytes, model: DrawingModel) -> NamedDrawing:
    """Return the drawing of a picture, given as its file or as the content of one.

    It is read like the pictures that the model was trained on. For a model of binary images of a
    named data set, light strokes on black, it is looked at, and inverted if its strokes are dark.
    Notes say so, and what is cropped, what is under transparent pixels if the model was not trained
    on any, or that it looks the other way round than the model's.

    Raises:
        DataError: the picture cannot be read.
    """
    settings = model.config.parse
    reading = reading_of(model.header)
    name = "a picture" if isinstance(source, bytes) else str(source)
    notes: list[str] = []
    strokes = settings.binarize and reading is not None  # of a known ground
    if settings.binarize and model.header.dataset["name"] in SETS:
        reading = reading_of_picture(source)
        if reading is not None and reading.invert:
            notes.append("dark strokes on a light ground, inverted")
    notes += notes_on_picture(source, reading, strokes=strokes)
    pixels = read_picture(source, settings.image_size, settings.channels, reading)
    image = model.preprocess(torch.tensor(pixels)[None])
    said = tuple(f"{name}: {note}" for note in notes)
    return NamedDrawing(name, image, model.encode(image), said)


def named_image(name: str, model: DrawingModel, root: Path) -> tuple[NamedDrawing, Tensor]:
    """Return a named drawing and its image; `UsageError` if it has no image."""
    try:
        named = named_drawing(name, model, root)
    except DataError as error:
        hint = _IMAGES if error.hint == _FORMS else error.hint
        raise DataError(error.message, hint=hint) from error
    if named.image is None:
        raise UsageError(f"{name} is a drawing, not an image", hint=_IMAGES)
    return named, named.image


def _number(name: str, prefix: str) -> int:
    text = name.removeprefix(prefix)
    if not text.isdecimal() or len(text) > 18:
        raise UsageError(f"{name}: {text!r} is not a number", hint=f"For example: {prefix}0")
    return int(text)


def _test_image(name: str, model: DrawingModel, root: Path) -> Tensor:
    """Return a test image, uint8 [1, C, H, W]."""
    number, settings = _number(name, TEST), model.config.parse
    source = find_source(model.header, model.path, None)
    loaded = load(
        source,
        "test",
        root=root,
        image_size=settings.image_size,
        channels=settings.channels,
        reading=reading_of(model.header),
    )
    if number >= len(loaded.images):
        raise DataError(
            f"{name}: {source} has {len(loaded.images)} test images",
            hint=f"They are numbered from 0 to {len(loaded.images) - 1}.",
        )
    return torch.tensor(loaded.images[number])[None]
