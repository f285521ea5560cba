"""Data sets: a name, a folder or a file becomes uint8 images [N, C, H, W].

`load` reads; `download` and `status` manage the files of the published data sets. A named data set
is one row of `facts.SETS` and one module, `mnist` for example. A submodule must not have the name
of a function of this module, which would hide it.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from npdraw.datasets import arrays, celeba, cifar10, folder, idx, mnist, npz, omniglot
from npdraw.datasets.arrays import Arrays
from npdraw.datasets.embedded import glyphs
from npdraw.datasets.facts import SETS, Facts
from npdraw.errors import DataError, UsageError, did_you_mean

Pixels = NDArray[np.uint8]

SPLITS = ("train", "test")

PATHS = ("folder", "npz", "idx")
"""Kinds of data sets that are given by a path."""

_FORMS = ("folder:PATH", "npz:FILE", "idx:FOLDER")


class _Published(Protocol):
    """The functions of the module of a published data set."""

    def present(self, root: Path) -> bool: ...

    def read(self, root: Path, split: str) -> Pixels: ...

    def check(self, root: Path) -> bool: ...

    def download(self, root: Path) -> None: ...


_PUBLISHED: Mapping[str, _Published] = {
    "mnist": mnist,
    "omniglot": omniglot,
    "cifar10": cifar10,
    "celeba": celeba,
}


@dataclass(frozen=True)
class Source:
    """Where images come from: a named data set, or one of `PATHS` with its path.

    `key` is the array in an `npz` file, or the beginning of the names of `idx` files.
    """

    name: str
    path: Path | None = None
    key: str = ""

    def absolute(self) -> "Source":
        """Return the source with an absolute path, valid in any working directory."""
        return replace(self, path=self.path and self.path.absolute())

    def __str__(self) -> str:
        if self.path is None:
            return self.name
        return f"{self.name}:{self.path}" + (f"#{self.key}" if self.key else "")


@dataclass(frozen=True)
class Loaded:
    """Images, uint8 [N, C, H, W], ink or light 255, and `notes` to show to the user."""

    images: Pixels
    notes: tuple[str, ...] = ()


def default_root() -> Path:
    """Return the folder of the named data sets: that of `NPDRAW_DATA`, or `data`."""
    return Path(os.environ.get("NPDRAW_DATA") or "data")


def parse_source(text: str) -> Source:
    """Parse `NAME`, `folder:PATH`, `npz:FILE`, `npz:FILE#KEY`, `idx:FOLDER` or `idx:FOLDER#KEY`.

    Raises:
        UsageError: the name is unknown (the hint suggests the nearest one) or the path is missing.
    """
    name, _, path = text.partition(":")
    if name in PATHS:
        key = ""
        if name != "folder" and "#" in path and not Path(path).expanduser().exists():
            path, _, key = path.rpartition("#")
        if not path:
            raise UsageError(f"{text!r} has no path", hint=f"Write {name}:PATH.")
        return Source(name, Path(path).expanduser(), key)
    if text not in SETS:
        if kind := _kind_of(text):
            raise UsageError(f"unknown data set {text!r}", hint=f"Write {kind}:{text}.")
        raise UsageError(f"unknown data set {text!r}", hint=did_you_mean(text, [*SETS, *_FORMS]))
    return Source(text)


def _kind_of(text: str) -> str:
    """Return which of `PATHS` reads an existing folder or file, or nothing."""
    path = Path(text)
    if text and path.is_dir():
        return "folder"
    return "npz" if path.suffix in (".npz", ".npy") and path.is_file() else ""


def read_native(source: Source, split: str) -> Arrays:
    """Read a split of an `npz` or `idx` source with the values, type and size that were saved.

    Raises:
        DataError: the files are missing or damaged, or it is not clear what they hold.
    """
    assert source.path is not None
    if source.name == "idx":
        return idx.read_native(source.path, source.key, split)
    return npz.read_native(source.path, source.key, split)


def has_colour(source: Source) -> bool:
    """Return whether the images are in colour; for a folder, whether most of a sample are.

    False if they cannot be read: `load` reports why.
    """
    if source.path is None:
        return SETS[source.name].channels == 3
    if source.name == "folder":
        return folder.has_colour(source.path)
    if source.name == "idx":
        return idx.has_colour(source.path, source.key)
    return npz.has_colour(source.path, source.key)


def load(
    source: Source,
    split: str,
    *,
    root: Path,
    image_size: int,
    channels: int = 1,
    strict: bool = False,
) -> Loaded:
    """Load the split "train" or "test": square images of `image_size` pixels, 1 or 3 channels.

    Images of another size are resized (shorter side, antialiased) and cropped to the centre. A
    named data set is read from `root/NAME.npz` if that file exists, otherwise from its published
    files below `root`. Nothing is ever downloaded or written.

    Raises:
        UsageError: `split` or `channels` is not one of these.
        DataError: the data are missing or damaged; or `strict`, and one picture of a folder is.
    """
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}", hint=did_you_mean(split, SPLITS))
    if channels not in (1, 3):
        raise UsageError(f"images with {channels} channels", hint="Use 1 (grey) or 3 (colour).")

    if source.name == "folder" and source.path is not None:
        images, notes = folder.read_folder(
            source.path, split, image_size=image_size, channels=channels, strict=strict
        )
        return Loaded(images, notes)
    if source.name in PATHS:
        native_images, _, array_notes = read_native(source, split)
        white = 255 if native_images.max() > 1 else 1
        native = arrays.as_bytes(native_images, white)
        return Loaded(folder.fit(native, image_size, channels), array_notes)

    facts = SETS[source.name]
    native = _read_named(source.name, split, root, image_size)
    notes = (facts.note,) if facts.note else ()
    if not _as_published(facts, split, native):
        notes += (f"{source.name} in {root}: its {split} images are not the expected ones",)
    return Loaded(folder.fit(native, image_size, channels), notes)


def _read_named(name: str, split: str, root: Path, image_size: int) -> Pixels:
    """Read a named data set: uint8 [N, H, W] or [N, H, W, 3], in its own size but for CelebA."""
    if name == "glyphs":
        return glyphs(split)[:, 0]
    archive = root / f"{name}.npz"
    if archive.exists():
        return npz.read_npz(archive, split)
    if name == "celeba":  # resized face by face: together the large ones could fill the memory
        return celeba.read(root, split, image_size)
    return _PUBLISHED[name].read(root, split)


def _as_published(facts: Facts, split: str, native: Pixels) -> bool:
    known = facts.digests.get(split)
    return known is None or digest(native[:, None]) == known


def read_picture(source: Path | bytes, image_size: int, channels: int) -> Pixels:
    """Read one picture as `load` reads those of a folder: uint8 [C, image_size, image_size].

    `source` is the path of its file, or the content of the file.

    Raises:
        DataError: the file does not exist, or it cannot be read.
    """
    return folder.read_picture(source, image_size, channels)


def download(name: str, root: Path) -> None:
    """Download the published files of a named data set to where `load` reads them.

    Raises:
        UsageError: the name is unknown, or the data set needs no download or does not allow it.
        DataError, ResourceError, BusyError: the download failed.
    """
    source = parse_source(name)
    if source.name == "glyphs" or source.path is not None:
        raise UsageError(f"{name} needs no download", hint="It can be used as it is.")
    _PUBLISHED[name].download(root)


@dataclass(frozen=True)
class Status:
    """State of a named data set: ready, unchecked, missing, or damaged, then with the problem.

    "unchecked" means that the files exist and look right, but the images were not all compared with
    what is known of them.
    """

    name: str
    state: str
    problem: str
    facts: Facts


def status(root: Path, *, check: bool = False) -> list[Status]:
    """Return the state of every named data set; `check` reads them and compares the digests.

    Without it, sizes, the headers of arrays and the checksums of a few large files are compared,
    which takes at most a second.
    """
    return [Status(name, *_state(name, root, check), facts) for name, facts in SETS.items()]


def _state(name: str, root: Path, check: bool) -> tuple[str, str]:
    archive = root / f"{name}.npz"
    if name == "glyphs":
        return "ready", ""
    if not archive.exists() and not _PUBLISHED[name].present(root):
        return "missing", ""
    try:
        if archive.exists():
            _check_shapes(archive, SETS[name])
            known = False
        else:
            known = _PUBLISHED[name].check(root)
        if not check:
            return ("ready" if known else "unchecked"), ""
        for split in SPLITS:
            native = _read_named(name, split, root, SETS[name].image_size)
            if not _as_published(SETS[name], split, native):
                where = archive if archive.exists() else root
                return "damaged", f"the {split} images in {where} are not the expected ones"
    except DataError as error:
        return "damaged", error.message
    # Without a digest nobody knows what an archive should hold.
    return ("unchecked" if archive.exists() and not SETS[name].digests else "ready"), ""


def _check_shapes(archive: Path, facts: Facts) -> None:
    """Raise `DataError` if the arrays of a data set cannot be the expected ones, by their shapes.

    The size is free where no digest is known: CelebA may have been saved in any.
    """
    side = (facts.image_size, facts.image_size)
    for split, count in (("train", facts.train), ("test", facts.test)):
        shape = npz.plain_shape(archive, split)
        colour = (3,) if facts.channels == 3 else ()
        if (shape[0], shape[3:]) != (count, colour) or (facts.digests and shape[1:3] != side):
            raise DataError(
                f"the {split} images in {archive} are not the expected ones: "
                f"they are {list(shape)}, not {[count, *side, *colour]}"
            )


def digest(images: Pixels) -> str:
    """Return the SHA-256 of type, shape and pixels, as hexadecimal digits."""
    head = json.dumps([images.dtype.str, list(images.shape)])
    return hashlib.sha256(head.encode() + np.ascontiguousarray(images).tobytes()).hexdigest()
