"""The JSON file of an evaluation: it never replaces an artifact, and other files only with --force.

A result of the same command with the same settings is up to date.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from npdraw.errors import ArtifactError, UsageError
from npdraw.header import read_header
from npdraw.run_key import changes
from npdraw.runtime.run_folder import read_json


def read_result(out: Path) -> dict[str, Any] | None:
    """Return the content of an existing file, empty for other files than JSON; None without one.

    Raises:
        UsageError: the file is an artifact: a result never replaces what took a training to make.
    """
    if not out.exists():
        return None
    earlier = read_json(out)
    if not earlier and _is_artifact(out):
        raise UsageError(f"{out} is an artifact", hint="Choose another --out.")
    return earlier


def same_result(
    earlier: Mapping[str, Any], out: Path, settings: Mapping[str, Any], *, command: str
) -> dict[str, Any]:
    """Return an existing result as up to date.

    Raises:
        UsageError: it has other settings, or is not a result of this command.
    """
    known = earlier.get("settings")
    if known == settings:
        return {**earlier, "out": str(out), "up_to_date": True}
    if isinstance(known, dict) and known.keys() == settings.keys():
        problem = f"exists with other settings: {'; '.join(changes(known, settings)[:4])}"
    else:
        problem = f"exists and is not a result of {command}"
    raise UsageError(f"{out} {problem}", hint="Choose another --out, or --force to replace it.")


def _is_artifact(path: Path) -> bool:
    try:
        read_header(path)
    except ArtifactError:
        return False
    return True
