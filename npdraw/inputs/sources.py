"""From the flags about a data set to settings: preset, reading, and what to say about them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npdraw.config import Config, ParseConfig
from npdraw.errors import UsageError
from npdraw.inputs.settings import (
    Given,
    changes,
    part_sizes,
    preset_and_data,
    preset_for,
    resolved,
)
from npdraw.presets import image_side
from npdraw.presets import preset as preset_row
from npdraw.reading import AUTO, Reading, Wanted

if TYPE_CHECKING:
    from npdraw.datasets.survey import Survey


UNUSED = "the section [classes] is for train-classes; it changes nothing here"


@dataclass(frozen=True)
class Chosen:
    """What `--data`, `--preset`, `--config` and the flags of the reading mean together."""

    config: Config
    data: str
    reading: Reading | None = None
    """How pictures or arrays that a path names become images."""
    notes: tuple[str, ...] = ()
    """What was seen in them and chosen, in a few sentences."""
    seen: "Survey | None" = None
    """All of what was seen in them and chosen."""
    fewer_parts: bool = False
    """Whether the bank may have fewer parts than the settings say: their number is not given, but
    comes from a preset, which does not know the pictures."""


def choose(
    preset: str | None,
    data: str | None,
    given: Given,
    wanted: Wanted,
    root: Path | None,
    **flags: dict[str, Any],
) -> Chosen:
    """Resolve all settings; look at pictures and arrays that a path names, which takes seconds.

    `given` are settings of a file, or as in one. Those, and the settings of a preset that is named,
    are not chosen automatically. `flags` are settings of the sections `parse`, `prior` and
    `decoder`; None stands for one that is not set.

    Raises:
        UsageError: the preset or data set does not exist, or flags contradict each other.
        DataError: the pictures or arrays cannot be read.
    """
    # Imported here because datasets needs numpy, which the help must not wait for.
    from npdraw.datasets import default_root, parse_source

    unused = (UNUSED,) if "classes" in changes(given) else ()
    if data is None or (source := parse_source(data)).path is None:
        preset, data = preset_and_data(preset, data)
        settings = resolved(preset, data, given, **_named(wanted, data, flags))
        return Chosen(settings, data, notes=unused)

    from npdraw.datasets.survey import survey

    fixed = _fixed(preset, given, wanted)
    stated = changes(given, parse=flags["parse"]).get("parse", {})
    seen = survey(source, root or default_root(), fixed)
    flags["parse"] |= _chosen(seen, wanted, given)
    row = preset or preset_for(seen.channels, seen.binarize)
    if preset is None and not {"image_size", "canvas_size"} & set(stated):
        flags["parse"]["image_size"] = image_side(seen.side)
    sized = part_sizes(row, given, flags["parse"])
    named = set(flags["parse"])
    flags["parse"] |= sized
    config = resolved(row, data, given, **flags)
    by_flags = "stride" in named and not config.parse.inks
    option = "--part-size and --stride" if by_flags else "--config"
    seen = replace(seen, wanted=wanted)
    notes = seen.lines(config.parse.image_size)
    if sized:
        notes.append(f"{_parts(config.parse)} ({option} for others)")
    return Chosen(config, data, seen.reading, (*notes, *unused), seen, "parts" not in stated)


def _chosen(seen: "Survey", wanted: Wanted, given: Given) -> dict[str, Any]:
    """Return channels and levels as settings; without flags, those that are given stay."""
    settings: dict[str, Any] = {"channels": seen.channels, "binarize": seen.binarize}
    if wanted.channels != AUTO or wanted.pixels != AUTO:
        return settings
    stated = changes(given).get("parse", {})
    return {name: value for name, value in settings.items() if name not in stated}


def _parts(parse: ParseConfig) -> str:
    """Return the sizes of the parts and the number of cells of a drawing."""
    sides = (parse.stride, *parse.finer)
    cells = sum((-(-parse.canvas_side // side)) ** 2 for side in sides)
    sizes = [f"{side} x {side}" for side in (parse.part_size, *parse.finer)]
    return f"parts of {', '.join(sizes)} pixels, {cells} cells"


def _named(
    wanted: Wanted, data: str, flags: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return the flags with the settings that are wanted of a named data set."""
    for name in ("background", "invert", "fit"):
        if getattr(wanted, name) != AUTO:
            raise UsageError(
                f"--{name} is for pictures and arrays of your own, but the data set is {data}",
                hint="Use it with --data folder:PATH, npz:FILE or idx:FOLDER.",
            )
    settings: dict[str, Any] = {}
    if wanted.channels != AUTO:
        settings["channels"] = int(wanted.channels)
    if wanted.pixels != AUTO or wanted.channels == "3":
        settings["binarize"] = wanted.pixels == "binary"
    return {**flags, "parse": {**flags["parse"], **settings}}


def _fixed(preset: str | None, given: Given, wanted: Wanted) -> Wanted:
    """Return what is wanted, with channels and levels of the preset and settings that are given."""
    settings: dict[str, Any] = {}
    if preset is not None:
        parse = preset_row(preset).parse
        settings = {"channels": parse.channels, "binarize": parse.binarize}
    settings |= changes(given).get("parse", {})
    channels, pixels = wanted.channels, wanted.pixels
    stored = settings.get("channels")
    if channels == AUTO and pixels != "binary" and type(stored) is int and stored in (1, 3):
        channels = str(stored)
    if pixels == AUTO and channels != "3" and type(settings.get("binarize")) is bool:
        pixels = "binary" if settings["binarize"] else "levels"
    return replace(wanted, channels=channels, pixels=pixels)
