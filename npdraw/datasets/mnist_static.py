"""MNIST binarised once and for all, as published by H. Larochelle: three files of 0 and 1.

This is the protocol of NADE and DRAW: 50,000 training, 10,000 validation and 10,000 test images of
28 x 28, in an order of their own and without labels. The training split here ends with the
published validation images, so that all of it together has the published division.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npdraw.datasets import published
from npdraw.datasets.published import File, read_checked


def _file(part: str, sha256: str) -> File:
    name = f"binarized_mnist_{part}.amat"
    url = f"http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/{name}"
    return File(url, f"binarized_mnist/{name}", "sha256", sha256)


FILES = {
    "train": _file("train", "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d"),
    "valid": _file("valid", "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2"),
    "test": _file("test", "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c"),
}

PARTS = {"train": ("train", "valid"), "test": ("test",)}
"""The files of each split."""


def present(root: Path) -> bool:
    """Return whether all files exist below `root`, without reading them."""
    return all((root / file.path).is_file() for file in FILES.values())


def read(root: Path, split: str) -> NDArray[np.uint8]:
    """Read a split: uint8 [N, 28, 28] of 0 and 255; `DataError` if it is missing or damaged."""
    return np.concatenate([_read(root, FILES[part]) for part in PARTS[split]])


def _read(root: Path, file: File) -> NDArray[np.uint8]:
    # A line for each image: digits with a space or a line feed after each, fixed by the checksum.
    digits = np.frombuffer(read_checked("mnist-static", root, file), np.uint8)[::2]
    return np.where(digits == ord("1"), np.uint8(255), np.uint8(0)).reshape(-1, 28, 28)


def check(root: Path) -> bool:
    """Check all files; `DataError` names a damaged one. True: the checksums cover all images."""
    for file in FILES.values():
        read_checked("mnist-static", root, file)
    return True


def download(root: Path) -> None:
    """Fetch the files that are missing or damaged; raises as `published.download`."""
    published.download(list(FILES.values()), root)
