"""CelebA, aligned and cropped faces, as its authors publish it: JPEG files and a list of splits.

They ask people to accept their terms, so no program can download it.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npdraw.datasets.facts import SETS
from npdraw.datasets.published import File, how_to_get, missing_error, open_image, read_checked
from npdraw.errors import DataError, UsageError

PARTITION = File("", "celeba/list_eval_partition.txt", "md5", "d32c9cbf5e040fd4025c592c306e6668")
"""Lines of file name and split: 0 training, 1 validation (not used), 2 test."""

CROP = 148
"""Side, in pixels, of the centre square of an aligned face (178x218): usual for 64x64."""

_FACES, _SPLITS = "celeba/img_align_celeba", {"train": "0", "test": "2"}


def present(root: Path) -> bool:
    """Return whether the list and the folder of faces exist below `root`, without reading them."""
    return (root / PARTITION.path).is_file() and (root / _FACES).is_dir()


def read(root: Path, split: str, image_size: int = SETS["celeba"].image_size) -> NDArray[np.uint8]:
    """Read a split: uint8 [N, image_size, image_size, 3].

    The centre square of `CROP` pixels, resized by Pillow's BILINEAR, which antialiases.

    Raises:
        DataError: the list of splits or a face is missing or damaged.
    """
    if not present(root):
        raise missing_error("celeba", root)
    # Imported here because the import takes over a second; reading the faces takes minutes.
    import torchvision.transforms.v2.functional as F  # type: ignore[import-untyped] # noqa: PLC0415

    names = _names(root, split)
    faces = np.empty((len(names), image_size, image_size, 3), np.uint8)
    for face, name in zip(faces, names, strict=True):
        path = root / _FACES / name
        whole = open_image("celeba", root, path, form="JPEG", size=(178, 218), mode="RGB")
        face[:] = F.resize(F.center_crop(whole, [CROP]), [image_size, image_size])
    return faces


def check(root: Path) -> bool:
    """Check the list and that no face is missing, or raise `DataError`.

    Returns False: the content of the faces is not read.
    """
    existing = {path.name for path in (root / _FACES).iterdir()}
    names = [name for split in _SPLITS for name in _names(root, split)]
    absent = [name for name in names if name not in existing]
    if absent:
        raise DataError(
            f"{len(absent):,} of {len(names):,} faces are missing in {root / _FACES}; the first is "
            f"{absent[0]}",
            hint=how_to_get("celeba", root),
        )
    return False


def _names(root: Path, split: str) -> list[str]:
    """Return the file names of the faces of a split."""
    lines = read_checked("celeba", root, PARTITION).decode().split("\n")
    pairs = [line.split() for line in lines if line]
    return [name for name, part in pairs if part == _SPLITS[split]]


def download(root: Path) -> None:
    """Refuse with the way to get CelebA.

    Raises:
        UsageError: always; only people who accept its terms may fetch it.
    """
    raise UsageError(
        "celeba cannot be downloaded by a program",
        hint="Get img_align_celeba and list_eval_partition.txt from "
        f"mmlab.ie.cuhk.edu.hk/projects/CelebA.html and put them into {root / 'celeba'}.",
    )
