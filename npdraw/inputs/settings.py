"""Settings of a run: those of its preset, over them those that are given, over them single ones.

Imports neither torch nor numpy, because the command line reads it before its help.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from npdraw.config import SECTIONS, Config
from npdraw.errors import UsageError
from npdraw.overrides import read_toml, replaced, typed
from npdraw.presets import part_sizes as sizes_for
from npdraw.presets import preset
from npdraw.reading import Wanted

RUNS = Path("runs")
"""Folder of the runs for which no other is named; each has the name of its preset."""

LARGEST_SEED = 2**63 - 1
"""Larger ones do not fit into an artifact."""

LONGEST = 1e6
"""Minutes of a training, at most: two years."""

Given = Path | Mapping[str, Any] | None
"""Settings from outside: a TOML file, or as in one, section -> setting -> value."""


def preset_and_data(preset_name: str | None, data: str | None) -> tuple[str, str]:
    """Return the preset and the data set; each follows from the other if it is not given.

    The preset of images in a folder or file follows from a look at them (see `preset_for`).

    Raises:
        UsageError: the preset or data set does not exist.
        DataError: the preset follows from images that cannot be read.
    """
    if data is not None:
        from npdraw.datasets import default_root, parse_source

        source = parse_source(data)
        if preset_name is None and source.path is None:
            preset_name = source.name
        elif preset_name is None:
            from npdraw.datasets.survey import survey

            seen = survey(source, default_root(), Wanted())
            preset_name = preset_for(seen.channels, seen.binarize)
    row = preset(preset_name or Config().preset)
    return row.preset, data or row.data


def preset_for(channels: int, binarize: bool) -> str:
    """Return the preset of images in colour, in two values, or in all levels of grey."""
    return "pictures" if channels == 3 else "glyphs" if binarize else "textures"


def changes(given: Given, **flags: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return section -> setting -> value: what is given, overridden by the flags that are not None.

    Raises:
        UsageError: the file cannot be read, or the value of a section is not a table.
    """
    merged: dict[str, Any] = dict(read_toml(given) if isinstance(given, Path) else given or {})
    for section in SECTIONS:
        if not isinstance(merged.get(section, {}), Mapping):
            raise UsageError(f"{section} in {_name(given)} is not a section of settings")
    for section, values in flags.items():
        stated = {name: value for name, value in values.items() if value is not None}
        if stated:
            merged[section] = {**merged.get(section, {}), **stated}
    return merged


def resolved(preset_name: str, data: str, given: Given, **flags: Mapping[str, Any]) -> Config:
    """Return all settings: preset < what is given < flags; errors as `changes` and `override`."""
    row = replace(preset(preset_name), data=data)
    merged = typed(row, changes(given), source=_name(given))
    for section, values in typed(row, changes(None, **flags), source="the command line").items():
        merged[section] = {**merged.get(section, {}), **values}
    return replaced(row, merged)  # at once: settings that are given need not fit those of flags


def part_sizes(preset_name: str, given: Given, parse: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sizes of parts that suit the size of pictures of your own, as changes.

    Empty if they or the canvas's size are given, or set by the flags `parse`.
    """
    stated = changes(given, parse=parse).get("parse", {})
    row = preset(preset_name).parse
    side = row.canvas_size or stated.get("image_size", row.image_size)
    if {"part_size", "stride", "finer", "canvas_size"} & set(stated) or type(side) is not int:
        return {}
    return sizes_for(side, row)


def _name(given: Given) -> str:
    """Return what messages call the settings that are given."""
    return str(given) if isinstance(given, Path) else "config"
