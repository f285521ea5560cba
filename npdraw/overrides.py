"""Settings that replace others: those of a TOML file, of flags, or stored in an artifact.

They are resolved as defaults < preset < TOML file < command line. Nothing here imports torch.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from npdraw.config import SECTIONS, Config
from npdraw.errors import UsageError, did_you_mean

_MAX_FLOAT = 1e300  # excludes NaN and infinity
_MAX_TOML = 1 << 20  # bytes of a file of settings


def override(config: Config, changes: Mapping[str, Mapping[str, Any]], *, source: str) -> Config:
    """Return `config` with the settings in `changes` (section -> name -> value) replaced.

    Raises:
        UsageError: a section or name is unknown, or a value has another type; it names `source`,
            where the changes come from.
    """
    return replaced(config, typed(config, changes, source=source))


def replaced(config: Config, changes: Mapping[str, Mapping[str, Any]]) -> Config:
    """Return `config` with all `changes` made at once; they are as `typed` returns them."""
    sections = {name: replace(getattr(config, name), **new) for name, new in changes.items()}
    return replace(config, **sections)


def typed(
    config: Config, changes: Mapping[str, Mapping[str, Any]], *, source: str
) -> dict[str, dict[str, Any]]:
    """Return `changes` with values of the types of the settings; errors as `override`."""
    result = {}
    for section, values in changes.items():
        if section not in SECTIONS:
            raise UsageError(
                f"unknown section [{section}] in {source}", hint=did_you_mean(section, SECTIONS)
            )
        if not isinstance(values, Mapping):
            raise UsageError(f"{section} in {source} is not a section of settings")
        current = getattr(config, section)
        known = {f.name: getattr(current, f.name) for f in fields(current)}
        for name in values:
            if name not in known:
                raise UsageError(
                    f"unknown setting {section}.{name} in {source}", hint=did_you_mean(name, known)
                )
        result[section] = {
            name: _typed(f"{section}.{name}", value, known[name], source)
            for name, value in values.items()
        }
    return result


def _typed(name: str, value: Any, current: Any, source: str) -> Any:
    """Return `value` as the type of the default `current`."""
    if isinstance(current, tuple) and isinstance(value, list | tuple):
        value = tuple(value)
        fits = all(type(item) is int for item in value)
    elif isinstance(current, float):
        fits = type(value) in (int, float) and -_MAX_FLOAT < value < _MAX_FLOAT
        value = float(value) if fits else value
    else:
        fits = type(value) is type(current)
    if not fits:
        wanted = "list of integers" if isinstance(current, tuple) else type(current).__name__
        raise UsageError(
            f"{name} in {source} is {value!r}, expected {wanted}",
            hint=f"The default is {list(current) if isinstance(current, tuple) else current}.",
        )
    return value


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of settings; `UsageError` if it is missing or not TOML."""
    try:
        with path.open("rb") as file:  # it may be a pipe, perhaps an endless one
            content = file.read(_MAX_TOML + 1)
        if len(content) > _MAX_TOML:
            raise UsageError(f"{path} has more than {_MAX_TOML:,} bytes of settings")
        return tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not a TOML file: {error}") from error
