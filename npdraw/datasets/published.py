"""MNIST and Omniglot as their authors publish them: where, checksums, download, reading.

The files lie where `torchvision.datasets` keeps them. What was unpacked beside an archive may be
half-written, so MNIST is read from its checked `.gz` files; only `datasets` uses this module.
"""

import gzip
import hashlib
import os
import shlex
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from npdraw.datasets import downloads
from npdraw.errors import DataError


@dataclass(frozen=True)
class File:
    """A published file: address, path below the data root, and checksum."""

    url: str
    path: str
    algorithm: str
    checksum: str


def _mnist(name: str, sha256: str) -> File:
    url = f"https://ossci-datasets.s3.amazonaws.com/mnist/{name}"
    return File(url, f"MNIST/raw/{name}", "sha256", sha256)


def _omniglot(name: str, md5: str) -> File:
    url = f"https://raw.githubusercontent.com/brendenlake/omniglot/master/python/{name}"
    return File(url, f"omniglot-py/{name}", "md5", md5)


MNIST = {
    "train": _mnist(
        "train-images-idx3-ubyte.gz",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "train labels": _mnist(
        "train-labels-idx1-ubyte.gz",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "test": _mnist(
        "t10k-images-idx3-ubyte.gz",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "test labels": _mnist(
        "t10k-labels-idx1-ubyte.gz",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}
OMNIGLOT = {
    "background": _omniglot("images_background.zip", "68d2efa1b9178cc56df9314c21c6e718"),
    "evaluation": _omniglot("images_evaluation.zip", "6b91aef0f799c5bb55b94e3f2daec811"),
}

OMNIGLOT_CHARACTERS = 1623
OMNIGLOT_DRAWERS = 20
OMNIGLOT_SPLIT = {"train": 24_345, "test": 8_070}


def _get(name: str, root: Path) -> str:
    if name == "celeba":
        return "data/README.md says where to get it"
    return f"run: npdraw data download {name} --data-root {shlex.quote(str(root))}"


def missing_error(name: str, root: Path) -> DataError:
    """Return the error for a data set that is not below `root`, with the ways to get it there."""
    return DataError(
        f"the data set {name} is not in {root}",
        hint=f"{_get(name, root)} (or let NPDRAW_DATA name the folder that holds it)",
    )


def damaged_error(name: str, root: Path, path: Path, problem: str) -> DataError:
    """Return the error for a bad file of a data set, naming it."""
    return DataError(f"{path} is damaged: {problem}", hint=_get(name, root))


def present(name: str, root: Path) -> bool:
    """Return whether the published files of `mnist` or `omniglot` seem to be below `root`."""
    if name == "mnist":
        return all((root / MNIST[split].path).is_file() for split in ("train", "test"))
    return all(_pictures(root, part).is_dir() for part in OMNIGLOT)


def check_mnist(root: Path) -> None:
    """Check every MNIST file that is there, labels too; `DataError` names a bad one."""
    for file in MNIST.values():
        if (root / file.path).exists():
            read_checked("mnist", root, file)


def read_mnist(root: Path, split: str) -> NDArray[np.uint8]:
    """Read a split of MNIST: uint8 [N, 28, 28], ink 255; `DataError` if missing or damaged."""
    packed = read_checked("mnist", root, MNIST[split])
    header = 16  # magic number, images, rows, columns: fixed by the checksum
    return np.frombuffer(gzip.decompress(packed), np.uint8, offset=header).reshape(-1, 28, 28)


def read_checked(name: str, root: Path, file: File) -> bytes:
    """Return a file of the data set `name`; `DataError` if it is missing, damaged or too large."""
    path = root / file.path
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise DataError(f"{path} is no regular file")
        if path.stat().st_size > downloads.MOST:
            raise damaged_error(name, root, path, f"it has more than {downloads.MOST:,} bytes")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise missing_error(name, root) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    found = hashlib.new(file.algorithm, content, usedforsecurity=False).hexdigest()
    if found != file.checksum:
        algorithm = file.algorithm.upper().replace("SHA", "SHA-")
        problem = f"{len(content)} bytes with {algorithm} {found[:12]}, not {file.checksum[:12]}"
        raise damaged_error(name, root, path, problem)
    return content


def read_omniglot(root: Path, split: str) -> NDArray[np.uint8]:
    """Read a split of Omniglot from the folders of drawings: uint8 [N, 28, 28], ink 255.

    Drawings are numbered by character, then drawer (that is, by file name), and made smaller from
    105x105 by Pillow's BICUBIC. The split is drawn by `RandomState(0)`, in ascending order; 45
    drawings belong to neither part. It is not the published split, whose file is lost.

    Raises:
        DataError: the drawings are missing, one is missing or one is damaged.
    """
    if not present("omniglot", root):
        raise missing_error("omniglot", root)
    drawings = (p for part in OMNIGLOT for p in _pictures(root, part).glob("*/*/*.png"))
    found = {p.name: p for p in drawings if p.is_file()}
    names = [
        f"{character:04}_{drawer:02}.png"
        for character in range(1, OMNIGLOT_CHARACTERS + 1)
        for drawer in range(1, OMNIGLOT_DRAWERS + 1)
    ]
    absent = [name for name in names if name not in found]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(names)} Omniglot drawings are missing in "
            f"{root / 'omniglot-py'}, the first is {absent[0]}",
            hint=_get("omniglot", root),
        )
    order = np.random.RandomState(0).permutation(len(names))  # this generator's stream is frozen
    train = OMNIGLOT_SPLIT["train"]
    chosen = order[:train] if split == "train" else order[train:][: OMNIGLOT_SPLIT["test"]]
    return np.stack([_read_drawing(root, found[names[i]]) for i in np.sort(chosen)])


def _pictures(root: Path, part: str) -> Path:
    return (root / OMNIGLOT[part].path).with_suffix("")


def _read_drawing(root: Path, path: Path) -> NDArray[np.uint8]:
    try:
        with warnings.catch_warnings(action="error"), Image.open(path, formats=["PNG"]) as opened:
            if opened.size != (105, 105):
                raise ValueError(f"it has {opened.width} x {opened.height} pixels, not 105 x 105")
            paper = np.asarray(opened.convert("L"))
    except Exception as error:  # Pillow's readers raise almost anything for a damaged file
        raise damaged_error("omniglot", root, path, str(error)) from error
    ink = Image.fromarray(255 - paper)
    return np.asarray(ink.resize((28, 28), Image.Resampling.BICUBIC))


def download(name: str, root: Path) -> None:
    """Fetch the files of `mnist` or `omniglot` that are missing or damaged below `root`.

    Raises:
        DataError: there is no network, the folder cannot be written, or a checksum is wrong.
        ResourceError: the disk is full.
        BusyError: another process downloads to the same folder.
    """
    files = (MNIST if name == "mnist" else OMNIGLOT).values()
    folder = (root / next(iter(files)).path).parent
    if not os.access(folder, os.W_OK) and all(_sound(root / file.path, file) for file in files):
        return  # a folder that is shared and complete
    with downloads.alone(folder):
        for file in files:
            path = root / file.path
            downloads.sweep(path)
            if not intact(path, file):
                downloads.fetch(file.url, path, file.algorithm, file.checksum)
            if not _sound(path, file):
                downloads.unpack(path, path.with_suffix(""))


def _sound(path: Path, file: File) -> bool:
    """Return whether a file is as published and, if it is an archive, so is what it holds."""
    if path.suffix != ".zip":
        return intact(path, file)
    return intact(path, file) and downloads.unpacked(path, path.with_suffix(""))


def intact(path: Path, file: File) -> bool:
    """Return whether a file is there as published."""
    if not path.is_file():
        return False
    with path.open("rb") as opened:
        found = hashlib.file_digest(opened, file.algorithm)
    return found.hexdigest() == file.checksum
