"""Folders that name a split, such as `train` and `test_images`, and the splits that follow."""

import re
from collections import defaultdict
from collections.abc import Sequence

Folders = tuple[str, ...]
"""The folders of a picture, from the outermost."""

_SPLITS = "train(?:ing)?|test(?:ing)?|val(?:id(?:ation)?)?"
_BESIDE = "(?:images?|imgs?|pictures?|pics?|photos?|data|sets?|splits?|files?|folders?|x|px)*"
_NAMED = re.compile(f"{_BESIDE}({_SPLITS}){_BESIDE}")
_DOMAIN = re.compile("(?<=[a-z])[AB]$")
_NOT_LETTERS = re.compile(r"[\W\d_]+")
_SHORT = {"tra": "train", "tes": "test", "val": "validation"}


def split_named(name: str) -> str:
    """Return the split that a folder is called after: train, test, validation, or nothing.

    Case, digits and signs do not count, nor do words such as "images": `Train Set` and
    `images_train_64x64` are train, `trains` is not. Nor does a final A or B, as in sets of two
    kinds of pictures: `trainA`.
    """
    match = _NAMED.fullmatch(_NOT_LETTERS.sub("", _DOMAIN.sub("", name).lower()))
    return _SHORT[match[1][:3]] if match else ""


def splits_of(folders: Sequence[Folders]) -> tuple[list[str], list[Folders]]:
    """Return the split that the folders of each picture name, or "", and its other folders.

    A folder is a split if another split is next to it, or if it is called after test or validation
    and anything is next to it. A `train` with other folders may be a class, of trains. A folder
    with nothing next to it is a split if there are splits elsewhere; otherwise it means nothing.
    """
    sure, alone = _split_folders(folders)
    splits, others = [], []
    for parts in folders:
        above = [parts[: n + 1] for n in range(len(parts))]
        at = next((n for n, folder in enumerate(above) if folder in sure), None)
        if at is None and sure:
            at = next((n for n, folder in enumerate(above) if folder in alone), None)
        splits.append("" if at is None else split_named(parts[at]))
        below = len(parts) if at is None else at  # there, a `train` is a class
        kept = [n for n, folder in enumerate(above) if n > below or folder not in alone]
        others.append(tuple(parts[n] for n in kept if n != at))
    return splits, others


def _split_folders(folders: Sequence[Folders]) -> tuple[set[Folders], set[Folders]]:
    """Return the folders that are splits for sure, and those next to which there is nothing."""
    below: defaultdict[Folders, set[str]] = defaultdict(set)
    for parts in set(folders):
        for n, part in enumerate(parts):
            below[parts[:n]].add(part)
        below[parts].add("")  # its pictures
    sure, alone = set(), set()
    for parent, names in below.items():
        splits = {name: split_named(name) for name in names}
        kinds = set(splits.values())
        for name, split in splits.items():
            if split and kinds == {split}:
                alone.add((*parent, name))
            elif split and (split != "train" or len(kinds - {""}) > 1):
                sure.add((*parent, name))
    if len({split_named(folder[-1]) for folder in alone}) > 1:
        sure |= alone
    return sure, alone
