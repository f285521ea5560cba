"""MNIST as its authors publish it: four `.gz` files, read in memory behind their checksums.

Whatever is unpacked next to the archives may be incomplete, so it is never read.
"""

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npdraw.datasets import published
from npdraw.datasets.published import File, read_checked


def _file(name: str, sha256: str) -> File:
    url = f"https://ossci-datasets.s3.amazonaws.com/mnist/{name}"
    return File(url, f"MNIST/raw/{name}", "sha256", sha256)


FILES = {
    "train": _file(
        "train-images-idx3-ubyte.gz",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "train labels": _file(
        "train-labels-idx1-ubyte.gz",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "test": _file(
        "t10k-images-idx3-ubyte.gz",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "test labels": _file(
        "t10k-labels-idx1-ubyte.gz",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}

_HEADER_BYTES = 16  # magic number, images, rows, columns: fixed by the checksum
_LABEL_HEADER_BYTES = 8  # magic number, images


def present(root: Path) -> bool:
    """Return whether the image files exist below `root`, without reading them."""
    return all((root / FILES[split].path).is_file() for split in ("train", "test"))


def read(root: Path, split: str) -> NDArray[np.uint8]:
    """Read a split: uint8 [N, 28, 28], ink 255; `DataError` if it is missing or damaged."""
    packed = read_checked("mnist", root, FILES[split])
    pixels = np.frombuffer(gzip.decompress(packed), np.uint8, offset=_HEADER_BYTES)
    return pixels.reshape(-1, 28, 28)


def read_labels(root: Path, split: str) -> NDArray[np.int16]:
    """Read the digit of each image of a split: int16 [N], 0 to 9; errors as `read`."""
    packed = read_checked("mnist", root, FILES[f"{split} labels"])
    return np.frombuffer(gzip.decompress(packed), np.uint8, offset=_LABEL_HEADER_BYTES).astype(
        np.int16
    )


def check(root: Path) -> bool:
    """Check every file that exists, the labels too; `DataError` names a damaged one.

    Returns True: the checksums cover all images.
    """
    for file in FILES.values():
        if (root / file.path).exists():
            read_checked("mnist", root, file)
    return True


def download(root: Path) -> None:
    """Fetch the files that are missing or damaged; raises as `published.download`."""
    published.download(list(FILES.values()), root)
