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

from npdraw.datasets import celeba, cifar10, folder, idx, mnist, npz, omniglot, prepare
from npdraw.datasets import mnist_static as static
from npdraw.datasets.arrays import Arrays
from npdraw.datasets.embedded import glyphs
from npdraw.datasets.facts import SETS, Facts
from npdraw.errors import DataError, UsageError, did_you_mean
from npdraw.reading import Reading

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
    "mnist-static": static,
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
    labels: NDArray[np.int16] | None = None
    """The class of each image, an index into `classes`, int16 [N]; None if there are no classes."""
    classes: tuple[str, ...] = ()


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
        if text and (kind := kind_of(Path(text))):
            raise UsageError(f"unknown data set {text!r}", hint=f"Write {kind}:{text}.")
        raise UsageError(f"unknown data set {text!r}", hint=did_you_mean(text, [*SETS, *_FORMS]))
    return Source(text)


def kind_of(path: Path) -> str:
    """Return which of `PATHS` reads an existing folder or file, or nothing."""
    if path.is_dir():
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


def load(
    source: Source,
    split: str,
    *,
    root: Path,
    image_size: int,
    channels: int = 1,
    strict: bool = False,
    reading: Reading | None = None,
) -> Loaded:
    """Load the split "train" or "test": square images of `image_size` pixels, 1 or 3 channels.

    Pictures and arrays that a path names are read as `reading` says; without one, they are neither
    inverted nor padded. Images of named data sets that have another size are resized (shorter side,
    antialiased) and cropped to the centre. A named data set is read from `root/NAME.npz` if that
    file exists, otherwise from its published files below `root`. Nothing is ever downloaded or
    written.

    Raises:
        UsageError: `split` or `channels` is not one of these.
        DataError: the data are missing or damaged, or all images are equal; or `strict`, and one
            picture of a folder is damaged.
    """
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}", hint=did_you_mean(split, SPLITS))
    if channels not in (1, 3):
        raise UsageError(f"images with {channels} channels", hint="Use 1 (grey) or 3 (colour).")

    if source.name == "folder" and source.path is not None:
        read = folder.read_folder(
            source.path,
            split,
            image_size=image_size,
            channels=channels,
            strict=strict,
            reading=reading or folder.UNRECORDED,
        )
        return Loaded(read.images, read.notes, read.labels, read.classes)
    if source.name in PATHS:
        return _load_arrays(source, split, reading, image_size, channels)

    facts = SETS[source.name]
    native = _read_named(source.name, split, root, image_size)
    notes: tuple[str, ...] = (facts.note,) if facts.note else ()
    if not _as_published(facts, split, native):
        notes += (f"{source.name} in {root}: its {split} images are not the expected ones",)
    return Loaded(prepare.from_arrays(native, Reading(), image_size, channels), notes)


def _load_arrays(
    source: Source, split: str, reading: Reading | None, image_size: int, channels: int
) -> Loaded:
    native = read_native(source, split)
    reading = reading or prepare.white_of(native.images)
    images = prepare.from_arrays(native.images, reading, image_size, channels)
    if split == "train" and len(images) > 1 and (images == images[0]).all():
        raise DataError(
            f"all {len(images):,} training images of {source} are equal",
            hint="A model needs images that differ.",
        )
    return Loaded(images, native.notes, native.labels, native.classes)


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


def read_picture(
    source: Path | bytes, image_size: int, channels: int, reading: Reading | None = None
) -> Pixels:
    """Read one picture as `load` reads those of a folder: uint8 [C, image_size, image_size].

    `source` is the path of its file, or the content of the file.

    Raises:
        DataError: the file does not exist, or it cannot be read.
    """
    return folder.read_picture(source, image_size, channels, reading or folder.UNRECORDED)


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

    Number and size are free where no digest is known: CelebA may have been saved in any size, and
    in part.
    """
    side = (facts.image_size, facts.image_size)
    for split, count in (("train", facts.train), ("test", facts.test)):
        shape = npz.plain_shape(archive, split)
        colour = (3,) if facts.channels == 3 else ()
        known = (shape[0], shape[1:3]) == (count, side)
        if shape[3:] != colour or (facts.digests and not known):
            raise DataError(
                f"the {split} images in {archive} are not the expected ones: "
                f"they are {list(shape)}, not {[count, *side, *colour]}"
            )


def digest(images: Pixels) -> str:
    """Return the SHA-256 of type, shape and pixels, as hexadecimal digits."""
    head = json.dumps([images.dtype.str, list(images.shape)])
    return hashlib.sha256(head.encode() + np.ascontiguousarray(images).tobytes()).hexdigest()
