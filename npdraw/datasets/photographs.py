"""CIFAR-10 and CelebA as their authors publish them: checksums, download, reading.

The files lie where `torchvision.datasets` keeps them; only `datasets` uses this module. CIFAR's
batches are pickles, and are never unpickled: behind their checksum the pixels have one place.
"""

import tarfile
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from npdraw.datasets import downloads
from npdraw.datasets.published import File, damaged_error, intact, missing_error, read_checked
from npdraw.errors import UsageError
from npdraw.files import write_atomic

CIFAR_ARCHIVE = File(
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "cifar-10-python.tar.gz",
    "md5",
    "c58f30108f718f92721af3b95e74349a",
)


def _batch(name: str, md5: str) -> File:
    return File(CIFAR_ARCHIVE.url, f"cifar-10-batches-py/{name}", "md5", md5)


CIFAR = {
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
_BEFORE_PIXELS = b"T" + (_ROWS * _PIXELS).to_bytes(4, "little")  # BINSTRING of so many bytes

CELEBA_PARTITION = File(
    "", "celeba/list_eval_partition.txt", "md5", "d32c9cbf5e040fd4025c592c306e6668"
)
_FACES, _SPLITS = "celeba/img_align_celeba", {"train": "0", "test": "2"}
CROP = 148
"""Side of the square cut out of the middle of an aligned face, as usual for 64 x 64."""


def present(name: str, root: Path) -> bool:
    """Return whether the published files of `cifar10` or `celeba` seem to be below `root`."""
    if name == "cifar10":
        return all((root / file.path).is_file() for files in CIFAR.values() for file in files)
    return (root / CELEBA_PARTITION.path).is_file() and (root / _FACES).is_dir()


def read_cifar10(root: Path, split: str) -> NDArray[np.uint8]:
    """Read a split of CIFAR-10: uint8 [N, 32, 32, 3]; `DataError` if missing or damaged."""
    return np.concatenate([_read_batch(root, file) for file in CIFAR[split]])


def _read_batch(root: Path, file: File) -> NDArray[np.uint8]:
    content = read_checked("cifar10", root, file)
    start = content.index(_BEFORE_PIXELS) + len(_BEFORE_PIXELS)
    pixels = np.frombuffer(content, np.uint8, _ROWS * _PIXELS, start)
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def read_celeba(root: Path, split: str, side: int) -> NDArray[np.uint8]:
    """Read a split of the aligned faces: uint8 [N, side, side, 3].

    The middle square of 148 pixels, made smaller by Pillow's BILINEAR.

    Raises:
        DataError: the list of the splits or a face is missing or damaged.
    """
    if not present("celeba", root):
        raise missing_error("celeba", root)
    lines = read_checked("celeba", root, CELEBA_PARTITION).decode().split("\n")
    pairs = [line.split() for line in lines if line]
    names = [name for name, part in pairs if part == _SPLITS[split]]
    faces = np.empty((len(names), side, side, 3), np.uint8)
    for face, name in zip(faces, names, strict=True):
        face[:] = _read_face(root, root / _FACES / name, side)
    return faces


def _read_face(root: Path, path: Path, side: int) -> NDArray[np.uint8]:
    try:
        with warnings.catch_warnings(action="error"), Image.open(path, formats=["JPEG"]) as opened:
            if opened.size != (178, 218):
                raise ValueError(f"it has {opened.width} x {opened.height} pixels, not 178 x 218")
            left, top = (178 - CROP) // 2, (218 - CROP) // 2
            square = opened.convert("RGB").crop((left, top, left + CROP, top + CROP))
            return np.asarray(square.resize((side, side), Image.Resampling.BILINEAR))
    except Exception as error:  # Pillow's readers raise almost anything for a damaged file
        raise damaged_error("celeba", root, path, str(error)) from error


def download(name: str, root: Path) -> None:
    """Fetch CIFAR-10, as far as its batches are missing or damaged below `root`.

    Raises:
        UsageError: CelebA, which its authors give to people alone.
        DataError, ResourceError, BusyError: as `published.download`.
    """
    if name == "celeba":
        raise UsageError(
            "celeba cannot be downloaded by a program",
            hint="get img_align_celeba and list_eval_partition.txt from "
            f"mmlab.ie.cuhk.edu.hk/projects/CelebA.html and put them into {root / 'celeba'}",
        )
    files = [file for split in CIFAR.values() for file in split]
    if all(intact(root / file.path, file) for file in files):
        return
    archive = root / CIFAR_ARCHIVE.path
    with downloads.alone(root / "cifar-10-batches-py"):
        downloads.sweep(archive)
        if not intact(archive, CIFAR_ARCHIVE):
            downloads.fetch(
                CIFAR_ARCHIVE.url,
                archive,
                CIFAR_ARCHIVE.algorithm,
                CIFAR_ARCHIVE.checksum,
            )
        with tarfile.open(archive) as opened:
            for file in files:
                member = opened.extractfile(file.path)
                if member is not None and not intact(root / file.path, file):
                    write_atomic(root / file.path, [member.read()])
