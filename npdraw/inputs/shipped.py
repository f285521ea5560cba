"""Models by their names: those that come with npdraw, and those that others shared on the hub.

Shipped models are in `npdraw/shipped` of an installation, or `data/models` of a checkout:
NAME.safetensors and its model card, NAME.md. Features of data sets are in `data/features`, or
`npdraw/shipped_features`. Models on the Hugging Face hub have names that begin with hf:
(`npdraw.hub`). Imports neither torch nor numpy, so that an unknown name is reported at once.
"""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from npdraw.errors import ArtifactError, did_you_mean
from npdraw.files import SHIPPED, SHIPPED_FEATURES
from npdraw.header import Header, read_header
from npdraw.hub import PREFIX, cached, named
from npdraw.hub.download import download
from npdraw.runtime.reporting import reporting


def folder() -> Path:
    """Return the folder of the shipped models; it may not exist."""
    return next((place for place in SHIPPED if place.is_dir()), SHIPPED[-1])


def shipped() -> dict[str, Path]:
    """Return the file of each shipped model by its name, sorted by name."""
    return {path.stem: path for path in sorted(folder().glob("*.safetensors"))}


def find_model(given: str | PathLike[str], *, quiet: bool = False) -> Path:
    """Return the file of a model: a path, the name of a shipped model, or hf:OWNER/NAME.

    A model of the hub is downloaded if it is not in the cache; unless `quiet`, stderr says so.

    Raises:
        ArtifactError: `given` looks like a name, but there is neither such a file nor such a model;
            the hint suggests the closest name. For a model on the hub, see `download`.
        UsageError: `given` begins with hf: but is not such a name; see also `download`.
    """
    shared = named(given)
    if shared is not None:
        with reporting(quiet=quiet) as reporter:
            return download(shared, reporter)
    path = Path(given)
    if len(path.parts) != 1 or path.is_file():
        return path
    known, name = shipped(), path.name
    if name in known:
        return known[name]
    likely = not path.suffix or path.stem.lower() in known
    if known and likely and not path.exists():
        raise ArtifactError(
            f"there is no file {name}, and no shipped model of that name",
            hint=did_you_mean(path.stem.lower(), known),
        )
    return path


SAME_DIGITS = {"mnist-static": "mnist"}
"""Data sets that share the features of another one: the same digits, without labels."""


def find_features(data: str) -> Path | None:
    """Return the file of the features that come with npdraw for a data set, None without any."""
    name = f"{SAME_DIGITS.get(data, data)}.safetensors"
    return next((place / name for place in SHIPPED_FEATURES if (place / name).is_file()), None)


def damaged_features() -> list[str]:
    """Read all features that come with npdraw; return what is wrong with each damaged file."""
    folder = next((place for place in SHIPPED_FEATURES if place.is_dir()), SHIPPED_FEATURES[-1])
    problems = []
    for path in sorted(folder.glob("*.safetensors")):
        try:
            read_header(path, kind="features", verify=True)
        except ArtifactError as error:
            problems.append(error.message)
    return problems


def name_of(path: Path) -> str | None:
    """Return the name of the model stored at `path`, None if it is neither shipped nor of the hub.

    A model of the hub has the name hf:OWNER/NAME, before it is downloaded too.
    """
    shared = named(path) or cached(path)
    if shared is not None:
        return f"{PREFIX}{shared.repository}"
    known = {model.name: name for name, model in shipped().items()}
    return known.get(path.name) if path.parent.resolve() == folder().resolve() else None


@dataclass(frozen=True)
class Status:
    """A shipped model: its state is "ready", or "damaged" with a problem instead of a header."""

    name: str
    path: Path
    bytes: int
    state: str
    problem: str
    header: Header | None


def status(*, check: bool = False) -> list[Status]:
    """Return the state of each shipped model; `check` reads the whole file to verify its digest."""
    return [_state(name, path, check) for name, path in shipped().items()]


def _state(name: str, path: Path, check: bool) -> Status:
    size = path.stat().st_size if path.exists() else 0
    try:
        header = read_header(path, kind="model", verify=check)
    except ArtifactError as error:
        return Status(name, path, size, "damaged", error.message, None)
    return Status(name, path, size, "ready", "", header)
