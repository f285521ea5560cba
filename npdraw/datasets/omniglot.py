"""Omniglot as its authors publish it: two zip archives of PNG drawings, unpacked.

The drawings are read from the folders next to the archives. The split is npdraw's own: the
published one (of IWAE, in `chardata.mat`) can no longer be downloaded.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from npdraw.datasets import published
from npdraw.datasets.facts import SETS
from npdraw.datasets.published import File, how_to_get, missing_error, open_image
from npdraw.errors import DataError


def _file(name: str, md5: str) -> File:
    url = f"https://raw.githubusercontent.com/brendenlake/omniglot/master/python/{name}"
    return File(url, f"omniglot-py/{name}", "md5", md5)


FILES = {
    "background": _file("images_background.zip", "68d2efa1b9178cc56df9314c21c6e718"),
    "evaluation": _file("images_evaluation.zip", "6b91aef0f799c5bb55b94e3f2daec811"),
}

CHARACTERS = 1623
DRAWERS = 20
SPLIT = {"train": SETS["omniglot"].train, "test": SETS["omniglot"].test}


def present(root: Path) -> bool:
    """Return whether both folders of drawings exist below `root`, without reading them."""
    return all(_drawings(root, part).is_dir() for part in FILES)


def read(root: Path, split: str) -> NDArray[np.uint8]:
    """Read a split from the folders of drawings: uint8 [N, 28, 28], ink 255.

    Drawings are numbered by character, then drawer (that is, by file name), and resized from
    105x105 by Pillow's BICUBIC. `RandomState(0)` draws the split, kept in ascending order; 45
    drawings belong to neither part.

    Raises:
        DataError: the data set is missing, or a drawing is missing or damaged.
    """
    return np.stack([_read_drawing(root, path) for path in _split(root, split)])


def read_labels(root: Path, split: str) -> tuple[NDArray[np.int16], tuple[str, ...]]:
    """Read the alphabet of each image of a split, int16 [N], and the names of all alphabets.

    The numbers are positions among the names, which are sorted. Raises as `read`.
    """
    alphabets = sorted({_alphabet(path) for path in _paths(root)[0].values()})
    number = {alphabet: index for index, alphabet in enumerate(alphabets)}
    labels = [number[_alphabet(path)] for path in _split(root, split)]
    return np.array(labels, np.int16), tuple(alphabets)


def _alphabet(path: Path) -> str:
    return path.parents[1].name


def _split(root: Path, split: str) -> list[Path]:
    """Return the drawings of a split, in order; raises as `read`."""
    paths, names = _paths(root)
    order = np.random.RandomState(0).permutation(len(names))  # NumPy froze this generator's stream
    train = SPLIT["train"]
    chosen = order[:train] if split == "train" else order[train:][: SPLIT["test"]]
    return [paths[names[i]] for i in np.sort(chosen)]


def check(root: Path) -> bool:
    """Check that no drawing is missing, or raise `DataError`; False: their content is not read."""
    _paths(root)
    return False


def _paths(root: Path) -> tuple[dict[str, Path], list[str]]:
    """Return where each drawing is, by its name, and the names in order; or raise `DataError`."""
    if not present(root):
        raise missing_error("omniglot", root)
    drawings = (path for part in FILES for path in _drawings(root, part).glob("*/*/*.png"))
    paths = {path.name: path for path in drawings if path.is_file()}
    names = [
        f"{character:04}_{drawer:02}.png"
        for character in range(1, CHARACTERS + 1)
        for drawer in range(1, DRAWERS + 1)
    ]
    absent = [name for name in names if name not in paths]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(names)} Omniglot drawings are missing in "
            f"{root / 'omniglot-py'}; the first is {absent[0]}",
            hint=how_to_get("omniglot", root),
        )
    return paths, names


def _drawings(root: Path, part: str) -> Path:
    return (root / FILES[part].path).with_suffix("")


def _read_drawing(root: Path, path: Path) -> NDArray[np.uint8]:
    paper = open_image("omniglot", root, path, form="PNG", size=(105, 105), mode="L")
    ink = Image.fromarray(255 - np.asarray(paper))
    return np.asarray(ink.resize((28, 28), Image.Resampling.BICUBIC))


def download(root: Path) -> None:
    """Fetch and unpack what is missing or damaged; raises as `published.download`."""
    published.download(list(FILES.values()), root)
