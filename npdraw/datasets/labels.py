"""The labels of data sets, in the order of their images.

Pictures and arrays that a path names come with theirs (`load`). Those of named data sets are read
only here, and no run depends on them: an artifact would have another digest if they were stored.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from npdraw.datasets import Source, digest, embedded, mnist, npz, omniglot
from npdraw.errors import DataError

CLASSES = {
    "mnist": tuple("0123456789"),
    "cifar10": (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
}
"""Names of the classes of named data sets whose labels do not name them."""

_USABLE = "Labels are one name or whole number from 0 for each image, in the same order."


class Labels(NamedTuple):
    """The class of each image of a split."""

    values: NDArray[np.int16]
    """Index into `classes` of each image, int16 [N], in the order of `load`."""
    classes: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the values."""
        return digest(self.values.astype("<i2").view("u1"))


def load_labels(source: Source, split: str, *, root: Path) -> Labels | None:
    """Load the labels of a named data set, split "train" or "test", in the order of `load`.

    They are those of `root/NAME.npz` if that file exists (arrays `train_labels` and `test_labels`),
    otherwise those of its published files: digits for `mnist`, alphabets for `omniglot`. None for
    the published `cifar10`, whose labels are in pickles, which are never unpickled, and for
    `mnist-static` and `celeba`, which have none.

    Raises:
        DataError: files of the data set are missing or damaged.
    """
    name, archive = source.name, root / f"{source.name}.npz"
    if name == "glyphs":
        return Labels(embedded.labels(split).astype(np.int16), tuple(embedded.CHARACTERS))
    if archive.exists():
        read = npz.read_native(archive, "", split)
        if read.labels is None and read.notes:
            raise DataError(f"{archive}: {' '.join(read.notes)}", hint=_USABLE)
        if read.labels is None:
            return None
        numbered = read.classes == tuple(str(number) for number in range(len(read.classes)))
        return Labels(read.labels, _named(name, read.labels) if numbered else read.classes)
    if name == "mnist":
        values = mnist.read_labels(root, split)
        return Labels(values, _named(name, values))
    if name == "omniglot":
        return Labels(*omniglot.read_labels(root, split))
    return None


def _named(name: str, values: NDArray[np.int16]) -> tuple[str, ...]:
    count = int(values.max()) + 1
    known = CLASSES.get(name, ())
    return known if count <= len(known) else tuple(str(number) for number in range(count))


def no_labels_error(source: Source, root: Path) -> DataError:
    """Return the error for a data set without labels, with what to do about it."""
    if source.path is not None:
        return DataError(
            f"{source} has no labels",
            hint="Put pictures of each class in a folder of its own, or labels beside the arrays.",
        )
    archive = root / f"{source.name}.npz"
    if source.name == "cifar10":
        problem = "its published batches have them in pickles, which are never unpickled"
        return DataError(
            f"the labels of cifar10 are not in {root}: "
            + (f"{archive.name} has no train_labels" if archive.exists() else problem),
            hint=f"Save images and labels as {archive}: np.savez_compressed(FILE, train=..., "
            "test=..., train_labels=..., test_labels=...).",
        )
    return DataError(
        f"{source.name} has no labels",
        hint=f"Use another --data, or save train_labels and test_labels in {archive}.",
    )
