"""The files of a folder of pictures: which are pictures, their splits and their classes."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from npdraw.datasets.decode import is_picture

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".apng"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
"""Suffixes of the files that are taken for pictures; others are pictures if they begin like one."""

_OTHERS = frozenset(
    {".txt", ".md", ".rst", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".xml", ".csv", ".tsv"}
    | {".html", ".css", ".js", ".py", ".ipynb", ".log", ".db", ".ini", ".svg", ".pdf", ".eps"}
    | {".zip", ".gz", ".tar", ".7z", ".npz", ".npy", ".pt", ".pth", ".pkl", ".safetensors"}
    | {".mp4", ".mov", ".avi", ".mp3", ".wav", ".psd", ".xcf", ".ttf", ".otf", ".parquet"}
)
"""Suffixes of files that are never opened."""

_SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "valid", "validation"),
}
_SPLIT_OF = {name: split for split, names in _SPLITS.items() for name in names}
_MOST_CLASSES = 1_000
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Listing:
    """The pictures in a folder and below, in the order of their relative paths."""

    paths: tuple[Path, ...]
    """Pictures, and folders that cannot be listed."""
    left_out: tuple[tuple[str, int], ...]
    """Endings of the files that are not pictures, or "hidden", and how many; most first."""
    splits: tuple[str, ...]
    """The split that the folders of each picture name; empty if they do not name both."""
    classes: tuple[str, ...]
    """The class that the folder of each picture names; empty if there are no classes."""
    validation: int = 0
    """Pictures in folders of validation images; they count as training images."""


def listed(folder: Path) -> Listing:
    """List the pictures in `folder` and below.

    Folders called train and test (or training and testing) are the splits if there are both.
    Other folders are classes if every picture is in one, and there are at least two of them.
    Hidden files and folders are left out; links to folders are not followed.
    """
    left_out: Counter[str] = Counter()
    paths = sorted(_walk(folder, left_out), key=lambda path: path.relative_to(folder).as_posix())
    folders = [PurePosixPath(path.relative_to(folder).as_posix()).parts[:-1] for path in paths]
    splits, folders = _splits_of(folders)
    most_first = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    return Listing(
        tuple(paths),
        tuple(most_first),
        tuple("train" if split == "validation" else split for split in splits),
        _classes_of(folders),
        splits.count("validation"),
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
                    elif suffix in SUFFIXES:
                        yield path
                    elif not entry.is_dir():
                        if suffix not in _OTHERS and is_picture(path):
                            yield path
                        else:
                            left_out[ascii(suffix)[1:-1] or "without an ending"] += 1
        except OSError:
            yield current


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def _splits_of(folders: list[tuple[str, ...]]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the split of each picture, and its folders without that of the split.

    No splits, and the folders as they are, if there is not a folder of each.
    """
    splits, others = [], []
    for parts in folders:
        at = next((n for n, part in enumerate(parts[:2]) if part.lower() in _SPLIT_OF), None)
        splits.append("" if at is None else _SPLIT_OF[parts[at].lower()])
        others.append(parts if at is None else parts[:at] + parts[at + 1 :])
    if "train" not in splits or "test" not in splits:
        return [], folders
    return [split or "train" for split in splits], others


def _classes_of(folders: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the class of each picture, or nothing."""
    if not folders:
        return ()
    shared = 0
    while all(len(parts) > shared and parts[shared] == folders[0][shared] for parts in folders):
        shared += 1
    names = ["/".join(parts[shared:]) for parts in folders]
    counts = Counter(names)
    usable = (
        2 <= len(counts) <= _MOST_CLASSES
        and 2 * len(counts) <= len(names)
        and all(0 < len(ascii(name)) <= _LONGEST_NAME and name for name in counts)
    )
    return tuple(_printable(name) for name in names) if usable else ()


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)[1:-1]
