"""CIFAR-10 as its authors publish it: batches in a tar archive.

The batches are pickles but are never unpickled: the checksum fixes where their pixels are.
"""

import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npdraw.datasets import downloads
from npdraw.datasets.published import File, intact, read_checked
from npdraw.files import write_atomic

ARCHIVE = File(
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "cifar-10-python.tar.gz",
    "md5",
    "c58f30108f718f92721af3b95e74349a",
)


def _batch(name: str, md5: str) -> File:
    return File(ARCHIVE.url, f"cifar-10-batches-py/{name}", "md5", md5)


BATCHES = {
    "train": (
        _batch("data_batch_1", "c99cafc152244af753f735de768cd75f"),
        _batch("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
        _batch("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
        _batch("data_batch_4", "634d18415352ddfa80567beed471001a"),
        _batch("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
    ),
    "test": (_batch("test_batch", "40351d587109b95175f43aff81a1287e"),),
}
_ROWS, _PIXELS = 10_000, 3 * 32 * 32
_BEFORE_PIXELS = b"T" + (_ROWS * _PIXELS).to_bytes(4, "little")  # BINSTRING and its length


def present(root: Path) -> bool:
    """Return whether every batch exists below `root`, without reading it."""
    return all((root / file.path).is_file() for files in BATCHES.values() for file in files)


def read(root: Path, split: str) -> NDArray[np.uint8]:
    """Read a split: uint8 [N, 32, 32, 3]; `DataError` if a batch is missing or damaged."""
    return np.concatenate([_read_batch(root, file) for file in BATCHES[split]])


def _read_batch(root: Path, file: File) -> NDArray[np.uint8]:
    content = read_checked("cifar10", root, file)
    start = content.index(_BEFORE_PIXELS) + len(_BEFORE_PIXELS)
    pixels = np.frombuffer(content, np.uint8, _ROWS * _PIXELS, start)
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def check(root: Path) -> bool:
    """Check every batch; `DataError` names a damaged one.

    Returns True: the checksums, which take half a second, cover all images.
    """
    for files in BATCHES.values():
        for file in files:
            read_checked("cifar10", root, file)
    return True


def download(root: Path) -> None:
    """Fetch the archive if a batch is missing or damaged below `root`, and take the batches out.

    Raises:
        DataError, ResourceError, BusyError: as `published.download`.
    """
    files = [file for split in BATCHES.values() for file in split]
    if all(intact(root / file.path, file) for file in files):
        return
    path = root / ARCHIVE.path
    with downloads.download_lock(root / "cifar-10-batches-py"):
        downloads.sweep(path)
        if not intact(path, ARCHIVE):
            downloads.fetch(ARCHIVE.url, path, ARCHIVE.algorithm, ARCHIVE.checksum)
        with tarfile.open(path) as archive:
            for file in files:
                member = archive.extractfile(file.path)
                if member is not None and not intact(root / file.path, file):
                    write_atomic(root / file.path, [member.read()])
