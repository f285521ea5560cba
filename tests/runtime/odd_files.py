"""Files that are not regular files."""

import os
from pathlib import Path


def odd(path: Path, kind: str, elsewhere: Path) -> None:
    """Make a file that is not a regular file: a pipe, a folder, a link, or a link to itself."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(elsewhere if kind == "link" else path.name)
