"""Show, fetch and check the data sets.

Examples:

    npdraw data ls
    npdraw data doctor
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npdraw.cli import console, options
from npdraw.errors import DataError

if TYPE_CHECKING:
    from npdraw.datasets import Status


def ls(*, data_root: options.DataRoot = None, as_json: options.AsJson = False) -> None:
    """List the data sets and whether their files are there.

    Examples:

        npdraw data ls
        npdraw data ls --data-root data --json
    """
    from npdraw.datasets import default_root, status

    root = data_root or default_root()
    _show("data ls", root, status(root), as_json=as_json)


def download(
    *,
    name: options.SetName,
    data_root: options.DataRoot = None,
    as_json: options.AsJson = False,
) -> None:
    """Fetch the files of a data set; what is there already and sound is kept.

    Examples:

        npdraw data download mnist
        npdraw data download omniglot --data-root data
    """
    from npdraw.datasets import default_root, status
    from npdraw.datasets import download as fetch

    root = data_root or default_root()
    fetch(name, root)
    _show("data download", root, [s for s in status(root) if s.name == name], as_json=as_json)


def doctor(*, data_root: options.DataRoot = None, as_json: options.AsJson = False) -> None:
    """Read every data set that is there and check it; exit with 4 if one is damaged.

    Examples:

        npdraw data doctor
        npdraw data doctor --data-root data --json
    """
    from npdraw.datasets import default_root, status

    root = data_root or default_root()
    found = status(root, check=True)
    damaged = [s for s in found if s.state == "damaged"]
    if damaged:
        raise DataError(
            "; ".join(f"{s.name} is damaged: {s.problem}" for s in damaged),
            hint=f"Delete the bad file, then: npdraw data download {damaged[0].name} "
            f"--data-root {root}",
        )
    _show("data doctor", root, found, as_json=as_json)


def _show(command: str, root: Path, found: "list[Status]", *, as_json: bool) -> None:
    sets: dict[str, Any] = {
        s.name: {"state": s.state, "problem": s.problem, **asdict(s.facts)} for s in found
    }
    lines = [("data set", "state", "train", "test", "side", "licence", "origin")]
    for name, s in sets.items():
        counts = (f"{s['train']:,}", f"{s['test']:,}", f"{s['image_size']} px")
        lines.append((name, s["state"], *counts, s["licence"], s["origin"]))
    result = {"root": str(root), "sets": sets}
    console.show(command, result, as_json=as_json, lines=[*console.columns(lines), f"root: {root}"])
