"""The Hugging Face hub: models that others shared, by name, and models to share.

A repository holds one model, in the file `FILE`, and its card. `download` reads, `upload` writes,
`client` turns failures into errors, `card` describes a model. huggingface_hub is imported only when
the hub is asked for something: that takes a quarter of a second, and it belongs to an extra.
"""

import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from npdraw.errors import UsageError

PREFIX = "hf:"
FILE = "model.safetensors"
"""The only file of a repository that is read."""

CARD = "README.md"

_PART = r"(?!\S*(?:--|\.\.))[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_REPOSITORY = re.compile(rf"(?:{_PART})/(?:{_PART})(?<!\.git)")
"""What the hub allows as OWNER/NAME."""

_REVISION = re.compile(r"(?!\S*(?:\.\.|//))[A-Za-z0-9_](?:[A-Za-z0-9_./-]{0,118}[A-Za-z0-9_])?")
"""A branch, a tag or a commit. It becomes part of a path in the cache."""


@dataclass(frozen=True)
class HubModel:
    """A model on the hub: OWNER/NAME, at a branch, tag or commit or at the default branch."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        """Return its name on the command line, hf:OWNER/NAME or hf:OWNER/NAME@REVISION."""
        return f"{PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def named(given: str | PathLike[str]) -> HubModel | None:
    """Return the model that a name on the command line stands for, None for another model.

    A file of that name wins, as it does over the name of a shipped model.

    Raises:
        UsageError: the name begins with hf: but is not hf:OWNER/NAME or hf:OWNER/NAME@REVISION.
    """
    text = str(given)
    if not text.startswith(PREFIX) or Path(given).is_file():
        return None
    repository, at, revision = text.removeprefix(PREFIX).partition("@")
    if not _REPOSITORY.fullmatch(repository) or (at and not _REVISION.fullmatch(revision)):
        raise UsageError(
            f"{text} is not the name of a model on the Hugging Face hub",
            hint="Write hf:OWNER/NAME, or hf:OWNER/NAME@REVISION for a branch, tag or commit.",
        )
    return HubModel(repository, revision or None)


def repository(text: str) -> HubModel:
    """Return the repository to write to; `UsageError` if `text` is not OWNER/NAME."""
    if not _REPOSITORY.fullmatch(text):
        raise UsageError(
            f"{text} is not the name of a repository on the Hugging Face hub",
            hint="Write OWNER/NAME: your name there, or that of your organisation, and a new name.",
        )
    return HubModel(text)


def cached(path: Path) -> HubModel | None:
    """Return the model whose file `path` is in the cache of huggingface_hub, None for other files.

    There it is models--OWNER--NAME/snapshots/COMMIT/FILE, below a folder that the user may choose.
    """
    match path.absolute().parts:
        case (*_, place, "snapshots", _, name) if name == FILE:
            kind, *repository = place.split("--")  # which no name on the hub contains
            if kind == "models" and len(repository) == 2:
                return HubModel("/".join(repository))
    return None
