"""What the flags of a command mean: paths, limits, regions, seeds.

Commands chain without arguments: each reads from and writes to `runs/<preset>/` by default. What
flags mean for settings is in npdraw/inputs/settings.py.
"""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import typer

from npdraw.config import Config
from npdraw.errors import ArtifactError, UsageError
from npdraw.extras import require
from npdraw.hub import PREFIX, named
from npdraw.inputs.settings import LARGEST_SEED, LONGEST, RUNS, preset_and_data
from npdraw.runtime.devices import DEVICES, is_device

MOST_SEEDS = 1_000_000
_MADE_BY = {"parse": "parse", "prior": "train-prior", "model": "train-decoder"}


def limit(text: str | None) -> int | float | None:
    """Return the number or fraction of images that `--limit` names, None for all."""
    if text is None:
        return None
    from npdraw.datasets.splits import parse_limit

    return parse_limit(text)


def model(given: Path | None) -> Path | None:
    """Return the file that MODEL stands for (see `shipped.find_model`).

    The name of a model on the hub stays a name until `fetched`: typer asks while it still reads the
    command line, even to complete one.
    """
    from npdraw.inputs.shipped import find_model

    return given if given is None or named(given) else find_model(given)


def fetched(given: Path, *, quiet: bool = False) -> Path:
    """Return the file of a model; one of the hub is downloaded unless the cache has it."""
    from npdraw.inputs.shipped import find_model

    return given if named(given) is None else find_model(given, quiet=quiet)


def artifact(
    kind: str,
    given: Path | None,
    folder: Path,
    *,
    made_from: Path | None = None,
    quiet: bool = False,
) -> Path:
    """Return the artifact to read: the one given, else the one in `folder`.

    A model of the hub is downloaded, with progress unless `quiet`.

    Raises:
        ArtifactError: the one given does not exist, or none was given and `folder` holds none. The
            hint is the command that makes it, from the artifact `made_from` if that was given.
    """
    if given is not None and kind == "model":
        given = fetched(given, quiet=quiet)
    if given is not None:
        if not given.exists():  # an error now, not after the imports of a stage
            from npdraw.header import read_header

            read_header(given, kind=kind)
        return given
    path = folder / f"{kind}.safetensors"
    if not path.exists():
        command = ["npdraw", _MADE_BY[kind]]
        if made_from is not None:
            command.append(str(made_from))
        elif folder.name != Config().preset:
            command += ["--preset", folder.name]
        raise ArtifactError(f"there is no {path}", hint=f"Make it: {shlex.join(command)}")
    return path


def folder(
    given: Path | None, preset_name: str | None, data: str | None = None, *, find: str | None = None
) -> Path:
    """Return the folder of the artifacts: beside the one given, else `runs/<preset>/`.

    For a shipped model it is `runs/<name>/`, because nothing is written beside shipped models; for
    one of the hub it is `runs/<owner>/<name>/`.
    `preset_name` and `data` are flags that only say where to look; `find` is a data set that the
    command also reads.

    Raises:
        UsageError: an artifact is given together with a flag that only says where to look.
    """
    if given is None:
        return RUNS / preset_and_data(preset_name, data or find)[0]
    from npdraw.inputs.shipped import name_of

    name = name_of(given)
    for flag, value in (("--preset", preset_name), ("--data", data)):
        if value is not None:
            raise UsageError(
                f"{flag} {value} says where to look for an artifact, but {name or given} is named",
                hint=f"Omit {flag} or {name or given}.",
            )
    return RUNS / name.removeprefix(PREFIX) if name else given.parent


def runs(given: Sequence[Path] | None, preset_name: str | None, data: str | None) -> list[Path]:
    """Return the runs to report on: those given, else `runs/<preset>/`.

    An existing folder comes first; for other names see `shipped.find_model`.

    Raises:
        UsageError: runs are given together with a flag that only says where to look.
        ArtifactError: a name is not that of a run, a model or a shipped model.
    """
    if not given:
        return [folder(None, preset_name, data)]
    folder(given[0], preset_name, data)
    from npdraw.inputs.shipped import find_model

    try:
        found = [path if path.is_dir() or named(path) else find_model(path) for path in given]
    except ArtifactError as error:
        hint = f"{error.hint} A run is also a folder written by npdraw run."
        raise ArtifactError(error.message, hint=hint) from error
    return [path if path.is_dir() else fetched(path) for path in found]


def run_folder(run: Path) -> Path:
    """Return the folder for output about a run: the run itself; for a model see `folder`."""
    return run if run.is_dir() else folder(run, None)


def region(text: str | None) -> tuple[int, int, int, int] | None:
    """Read `--region`: TOP:BOTTOM,LEFT:RIGHT, as those four numbers."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6}):(\d{1,6}),(\d{1,6}):(\d{1,6})", text)
    if match is None:
        raise UsageError(
            f"--region {text} is not TOP:BOTTOM,LEFT:RIGHT", hint="For example: 0:14,0:28"
        )
    top, bottom, left, right = map(int, match.groups())
    if top >= bottom or left >= right:
        raise UsageError(
            f"--region {text} is empty or reversed; BOTTOM and RIGHT are excluded",
            hint="For example: 0:14,0:28",
        )
    return top, bottom, left, right


def numbers(
    flag: str, texts: Sequence[str] | None, counts: tuple[int, ...] = (2,)
) -> list[tuple[int, ...]]:
    """Read values A:B of a flag that may be repeated, of as many numbers as `counts` allows."""
    found = []
    for text in texts or ():
        fields = text.split(":")
        if len(fields) not in counts or not all(re.fullmatch(r"\d{1,9}", x) for x in fields):
            wanted = " or ".join({2: "two", 4: "four"}[count] for count in counts)
            raise UsageError(
                f"{flag} {text} is not {wanted} numbers", hint=f"For example: {flag} 17:24"
            )
        found.append(tuple(map(int, fields)))
    return found


def animation_path(given: Path | None, path: Path, folder: Path, name: str) -> Path:
    """Return the animation to write: the one given, else `name` in `folder`.

    GIF for a model of grey images; WebP for colour, because a GIF has 256 colours.
    """
    if given is not None:
        return given
    from npdraw.header import read_header

    parse = read_header(path, kind="model").config.get("parse", {})
    colour = isinstance(parse, dict) and parse.get("channels") == 3
    return folder / f"{name}{'.webp' if colour else '.gif'}"


def seed(number: int | None) -> int | None:
    """Return `--seed`; `UsageError` if no artifact could record it."""
    if number is not None and number > LARGEST_SEED:
        raise UsageError(f"--seed {number} is too large", hint=f"Seeds go up to {LARGEST_SEED}.")
    return number


def minutes(number: float | None) -> float | None:
    """Return `--minutes`; `UsageError` if it is not a time."""
    if number is not None and not 0 < number < LONGEST:
        raise UsageError(
            f"--minutes {number:g} is not a time above 0", hint="For example: --minutes 5"
        )
    return number


def seeds(text: str) -> list[int]:
    """Read `--seeds`: numbers and ranges A-B (both ends included) with commas between them."""
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(
                f"--seeds {text}: {part.strip()!r} is neither a number nor a range",
                hint="For example: --seeds 0-99, --seeds 3 or --seeds 0-9,20",
            )
        low, high = int(first), int(last if dash else first)
        if high > LARGEST_SEED:
            raise UsageError(
                f"--seeds {text}: {high} is too large", hint=f"Seeds go up to {LARGEST_SEED}."
            )
        if high < low:
            raise UsageError(
                f"--seeds {text}: {low}-{high} is reversed", hint=f"Write {high}-{low}."
            )
        if len(numbers) + high - low >= MOST_SEEDS:
            raise UsageError(
                f"--seeds {text}: more than {MOST_SEEDS:,} seeds",
                hint="Sample them in several runs.",
            )
        numbers.extend(range(low, high + 1))
    return list(dict.fromkeys(numbers))


def log(name: str | None) -> str | None:
    """Return the value of `--log`; `UsageError` if the library that it needs is missing."""
    if name is not None:
        require("tensorboard", f"--log {name}", "tensorboard")
    return name


def device(name: str) -> str:
    """Return the value of `--device`, or raise the error of a wrong one, before torch is loaded."""
    if not is_device(name):
        raise typer.BadParameter(f"{name!r} is not {DEVICES}")
    return name
