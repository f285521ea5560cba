"""Images other than those that a model was made from: do they fit it, and what is done to them?"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from npdraw.config import ParseConfig
from npdraw.datasets import PATHS, Source
from npdraw.datasets.facts import SETS
from npdraw.datasets.polarity import expects_light
from npdraw.datasets.survey import survey
from npdraw.errors import DataError, UsageError
from npdraw.header import Header
from npdraw.inputs.images import find_source, reading_of
from npdraw.reading import Reading, Wanted
from npdraw.runtime.progress import Progress

_COLOUR = {1: "grey", 3: "in colour"}


class _Native(NamedTuple):
    """Images as they are before they are read for a model: channels, and (width, height)."""

    channels: int
    smallest: tuple[int, int]
    largest: tuple[int, int]
    not_square: int = 0
    light_ground: bool | None = None
    """Whether strokes are dark on a light ground; None if they are not strokes, or not looked at.
    """


def check_images(
    source: Source,
    root: Path,
    header: Header,
    made_from: Path,
    config: ParseConfig,
    progress: Progress,
) -> None:
    """Refuse images of `source` that do not fit a model, and note what is done to them.

    `header` is that of the model at `made_from`. Nothing is checked if it was made from this
    source. Images that are given by a path as the model's were may be the same in another place,
    and its user may have chosen their channels, so these are only noted.

    Raises:
        UsageError: the images are in colour and the model's are grey, or the other way round.
    """
    if _is_own(source, header, made_from):
        return
    native = _native(source, root)
    if native is None:  # reading them reports why
        return
    if native.channels != config.channels:
        theirs, ours = _COLOUR[native.channels], _COLOUR[config.channels]
        chosen = source.path is not None and source.name == header.dataset["name"]
        if not chosen:
            raise UsageError(
                f"the images of {source} are {theirs}, those of {made_from} are {ours}",
                hint="Name others with --data, or train a model on these: "
                f"npdraw run --data {source}",
            )
        progress.note(f"the images of {source} are {theirs}; they are read as {ours}")
    side, reading = config.image_size, reading_of(header)
    if (native.smallest, native.largest) != ((side, side), (side, side)):
        sizes = [f"{width} x {height}" for width, height in (native.smallest, native.largest)]
        crop = "cropped and " if reading and reading.fit == "crop" and native.not_square else ""
        progress.note(
            f"the images of {source} are {' to '.join(dict.fromkeys(sizes))} pixels; they are "
            f"{crop}resized to {side} x {side}"
        )
    light = native.light_ground if config.binarize else None
    if reading is not None and light is not None and light != expects_light(reading):
        kind = "dark strokes on a light" if light else "light strokes on a dark"
        progress.note(
            f"the images of {source} are {kind} ground, the other way round than those of "
            f"{made_from}, but are read like these: invert their files first"
        )


def reading_for(
    source: Source, root: Path, header: Header, config: ParseConfig, progress: Progress
) -> Reading | None:
    """Return how images of `source` are read for the model of `header`: as its own images were.

    Pictures and arrays that a path names are looked at if the model was made from a named data set,
    which has no reading; a note says what is seen.
    """
    if source.path is None or header.dataset["name"] in PATHS:
        return reading_of(header)
    levels = "binary" if config.binarize else "levels"
    try:
        seen = survey(source, root, Wanted(channels=str(config.channels), pixels=levels))
    except DataError:  # reading them reports why
        return None
    # No option changes the choices.
    fixed = {"background": seen.reading.background, "fit": seen.reading.fit}
    wanted = replace(seen.wanted, **fixed, invert="yes" if seen.reading.invert else "no")
    for line in replace(seen, wanted=wanted).lines():
        progress.note(line)
    return seen.reading


def reading_of_others(
    header: Header,
    made_from: Path,
    given: str | None,
    root: Path,
    config: ParseConfig,
    progress: Progress,
) -> Reading | None:
    """Check images of another data set that are trained on, and return how they are read.

    Images of the kind that the artifact at `made_from` was made from are compared by their digest
    when they are loaded. Errors and notes as `check_images` and `reading_for`.
    """
    source = find_source(header, made_from, given)
    if source.name == header.dataset["name"]:
        return reading_of(header)
    check_images(source, root, header, made_from, config, progress)
    return reading_for(source, root, header, config, progress)


def _is_own(source: Source, header: Header, made_from: Path) -> bool:
    try:
        own = find_source(header, made_from, None)
    except DataError:  # its place is not known
        return False
    return own.absolute() == source.absolute()


def _native(source: Source, root: Path) -> _Native | None:
    """Return what the images of a source are like, None if they cannot be read."""
    if source.path is None:
        facts = SETS[source.name]
        side = (facts.image_size, facts.image_size)
        return _Native(facts.channels, side, side)
    try:
        seen = survey(source, root, Wanted())
    except DataError:
        return None
    light_ground = seen.light_ground if seen.two_valued else None
    sizes = seen.sizes
    return _Native(seen.channels, sizes.smallest, sizes.largest, sizes.not_square, light_ground)
