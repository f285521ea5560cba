"""The files of a folder of pictures: which are pictures, their splits and their classes."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from npdraw.datasets.class_names import printable, why_not_classes
from npdraw.datasets.decode import is_picture
from npdraw.datasets.split_folders import splits_of

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".apng"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
"""Suffixes of the files that are taken for pictures; others are if they begin like one."""

_RAW = frozenset({".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".raf", ".rw2", ".pef", ".srw"})
"""Suffixes of raw pictures: they begin like a TIFF, that of a thumbnail."""

UNREAD = _RAW | {".heic", ".heif", ".hif", ".svg", ".svgz", ".eps", ".psd", ".xcf", ".tga", ".jxl"}
"""Suffixes of pictures in formats that are not read."""

ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"})
"""Suffixes of files that may hold the pictures."""

_SYSTEM = frozenset(
    {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "$recycle.bin"}
)


@dataclass(frozen=True)
class Listing:
    """The pictures in a folder and below, in the order of their relative paths."""

    paths: tuple[Path, ...]
    """Pictures, and folders that cannot be listed."""
    left_out: tuple[tuple[str, int], ...]
    """Endings of the files that are not pictures, or "hidden", and how many; most first."""
    splits: tuple[str, ...]
    """The split of each picture; empty if the folders do not name both."""
    classes: tuple[str, ...]
    """The class that the folder of each picture names, "" for a test picture without one; empty
    without classes."""
    validation: int = 0
    """Pictures in folders of validation images; they count as training images."""
    elsewhere: int = 0
    """Pictures outside the folders of splits, if there are splits; they count as training images.
    """
    no_classes: str = ""
    """A note on why the folders are not classes; empty if they are, and without folders."""


def listed(folder: Path) -> Listing:
    """List the pictures in `folder` and below.

    Folders with names such as train and test are the splits, see `split_folders`. Other folders
    are classes if every training picture is in one, and there are at least two of them. Hidden
    files and folders are left out; links to folders are not followed.
    """
    left_out: Counter[str] = Counter()
    paths = sorted(_walk(folder, left_out), key=lambda path: path.relative_to(folder).as_posix())
    folders = [PurePosixPath(path.relative_to(folder).as_posix()).parts[:-1] for path in paths]
    named, folders = splits_of(folders)
    both = "test" in named and set(named) != {"test"}
    splits = tuple("test" if split == "test" else "train" for split in named) if both else ()
    classes, no_classes = _classes_of(folders, splits)
    return Listing(
        tuple(paths),
        tuple(sorted(left_out.items(), key=lambda item: (-item[1], item[0]))),  # most first
        splits,
        classes,
        named.count("validation"),
        named.count("") if both else 0,
        no_classes,
    )


def _walk(folder: Path, left_out: Counter[str]) -> Iterator[Path]:
    """Yield the pictures in `folder` and below, and folders that cannot be listed.

    Links to folders are not followed: they may form a cycle.
    """
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    path, suffix = current / entry.name, Path(entry.name).suffix.lower()
                    if entry.is_dir(follow_symlinks=False):
                        if not _is_hidden(entry.name):
                            waiting.append(path)
                    elif _is_hidden(entry.name):
                        left_out["hidden"] += 1
                    elif suffix in SUFFIXES or (suffix not in _RAW and is_picture(path)):
                        yield path
                    elif not entry.is_dir():
                        left_out[ascii(suffix)[1:-1] or "without an ending"] += 1
        except OSError:
            yield current


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM


def _classes_of(
    folders: Sequence[tuple[str, ...]], splits: Sequence[str]
) -> tuple[tuple[str, ...], str]:
    """Return the class of each picture, or no classes and a note on why the folders are not."""
    train = [split != "test" for split in splits] or [True] * len(folders)
    # Test pictures without folders are in no class, and nobody has to know it.
    known = [parts for parts, first in zip(folders, train, strict=True) if first or parts]
    shared = 0
    while known and all(len(p) > shared and p[shared] == known[0][shared] for p in known):
        shared += 1
    names = ["/".join(parts[shared:]) for parts in folders]
    counts = Counter(name for name in names if name)
    outside = sum(not name for name, first in zip(names, train, strict=True) if first)
    reason = ""
    if len(counts) < 2:
        return (), ""
    if outside:
        reason = f"{outside:,} picture{'s are' if outside > 1 else ' is'} in none of them"
    reason = reason or why_not_classes(counts)
    if reason:
        return (), f"{len(counts):,} folders are not used as classes: {reason}"
    return tuple(printable(name) for name in names), ""
