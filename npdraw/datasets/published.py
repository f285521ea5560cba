"""What the published data sets share: their files with checksums, checked reading, download.

The files lie where `torchvision.datasets` keeps them. One module per data set names its files and
reads them: `mnist`, `mnist_static`, `omniglot`, `cifar10`, `celeba`.
"""

import hashlib
import os
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from npdraw.datasets import downloads
from npdraw.errors import DataError


@dataclass(frozen=True)
class File:
    """A published file: its URL, path below the data root, and checksum (`hashlib` algorithm)."""

    url: str
    path: str
    algorithm: str
    checksum: str


def missing_error(name: str, root: Path) -> DataError:
    """Return the error for a data set that is not below `root`, with the ways to get it there."""
    return DataError(
        f"the data set {name} is not in {root}",
        hint=f"{how_to_get(name, root)} (or set NPDRAW_DATA to the folder that holds it)",
    )


def damaged_error(name: str, root: Path, path: Path, problem: str) -> DataError:
    """Return the error for a bad file of a data set, naming the file."""
    return DataError(f"{path} is damaged: {problem}", hint=how_to_get(name, root))


def how_to_get(name: str, root: Path) -> str:
    """Return a hint: how the user gets the files of a data set."""
    if name == "celeba":
        return "See data/README.md for where to get it"
    return f"Run: npdraw data download {name} --data-root {shlex.quote(str(root))}"


def read_checked(name: str, root: Path, file: File) -> bytes:
    """Return the content of a file of the data set `name`.

    Raises:
        DataError: the file is missing, damaged (another checksum) or too large.
    """
    path = root / file.path
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait
            raise DataError(f"{path} is not a regular file")
        if path.stat().st_size > downloads.MAX_BYTES:
            raise damaged_error(name, root, path, f"it has more than {downloads.MAX_BYTES:,} bytes")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise missing_error(name, root) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    checksum = hashlib.new(file.algorithm, content, usedforsecurity=False).hexdigest()
    if checksum != file.checksum:
        algorithm = file.algorithm.upper().replace("SHA", "SHA-")
        problem = f"{len(content)} bytes with {algorithm} {checksum[:12]}, not {file.checksum[:12]}"
        raise damaged_error(name, root, path, problem)
    return content


def open_image(
    name: str, root: Path, path: Path, *, form: str, size: tuple[int, int], mode: str
) -> Image.Image:
    """Return an image file of the data set `name` in Pillow's `mode`.

    Raises:
        DataError: the file is not in the format `form`, not of this (width, height), or damaged.
    """
    try:
        with warnings.catch_warnings(action="error"), Image.open(path, formats=[form]) as opened:
            if opened.size != size:
                found = f"{opened.width} x {opened.height}"
                raise ValueError(f"it has {found} pixels, not {size[0]} x {size[1]}")
            return opened.convert(mode)
    except Exception as error:  # Pillow's readers raise almost anything for a damaged file
        raise damaged_error(name, root, path, str(error)) from error


def download(files: Sequence[File], root: Path) -> None:
    """Fetch the files of one folder that are missing or damaged below `root`; unpack zip archives.

    Raises:
        DataError: there is no network, the folder cannot be written, or a checksum is wrong.
        ResourceError: the disk is full.
        BusyError: another process downloads to the same folder.
    """
    folder = (root / files[0].path).parent
    if not os.access(folder, os.W_OK) and all(_complete(root / file.path, file) for file in files):
        return  # a shared, read-only folder that lacks nothing
    with downloads.download_lock(folder):
        for file in files:
            path = root / file.path
            downloads.sweep(path)
            if not intact(path, file):
                downloads.fetch(file.url, path, file.algorithm, file.checksum)
            if not _complete(path, file):
                downloads.unpack(path, path.with_suffix(""))


def _complete(path: Path, file: File) -> bool:
    """Return whether a file is intact and, if it is a zip archive, unpacked next to it."""
    if path.suffix != ".zip":
        return intact(path, file)
    return intact(path, file) and downloads.unpacked(path, path.with_suffix(""))


def intact(path: Path, file: File) -> bool:
    """Return whether `path` exists and has the published checksum."""
    if not path.is_file():
        return False
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, file.algorithm).hexdigest() == file.checksum
