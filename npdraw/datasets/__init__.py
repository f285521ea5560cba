"""A name, folder or file -> uint8 images [N, C, H, W]: the data sets, their facts and subsets."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npdraw.datasets import folder as pictures
from npdraw.datasets import photographs, published
from npdraw.datasets.embedded import glyphs
from npdraw.errors import DataError, UsageError, did_you_mean

Pixels = NDArray[np.uint8]

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Facts:
    """What is known of a named data set; `digests` are those of the images [N, 1, H, W]."""

    train: int
    test: int
    image_size: int
    origin: str
    licence: str
    digests: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    channels: int = 1


SETS: Mapping[str, Facts] = {
    "glyphs": Facts(20_000, 2_000, 28, "drawn by npdraw", "MIT"),
    "mnist": Facts(
        60_000,
        10_000,
        28,
        "Y. LeCun, C. Cortes: yann.lecun.com/exdb/mnist",
        "CC BY-SA 3.0",
        {
            "train": "0f507c79838d9fb97b81e67df24cb0e7adb1dbd2b707bbf7aded55922a16f3b7",
            "test": "22498ea987607f37719b79dd1f938f649c0b0ca2ed5a669381b4f1c06f472600",
        },
    ),
    "omniglot": Facts(
        24_345,
        8_070,
        28,
        "B. Lake: github.com/brendenlake/omniglot",
        "MIT",
        {
            "train": "ab6b043ac5268a134ea2743faef3f08db97bd2ebbae8d51d0d6599c7433651ec",
            "test": "882ee7ea90a6a1f6bd87ecf4fd659c74253b167202e7bf2d7e63ff44a2351004",
        },
        note="omniglot: a seeded random split of the published size, not the published split, "
        "so likelihoods are close to published ones but not comparable",
    ),
    "cifar10": Facts(
        50_000,
        10_000,
        32,
        "A. Krizhevsky: cs.toronto.edu/~kriz/cifar.html",
        "none stated",
        channels=3,
    ),
    "celeba": Facts(
        162_770,
        19_962,
        64,
        "Z. Liu and others: mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        "research only",
        channels=3,
    ),
}
"""The named data sets."""

PATHS = ("folder", "npz")
"""Kinds of data sets that are given by a path."""


@dataclass(frozen=True)
class Source:
    """Where images come from: a named data set, or a `folder` or `npz` file with its path."""

    name: str
    path: Path | None = None

    def absolute(self) -> "Source":
        """Return the same source, wherever the process moves."""
        return Source(self.name, self.path and self.path.absolute())

    def __str__(self) -> str:
        return self.name if self.path is None else f"{self.name}:{self.path}"


@dataclass(frozen=True)
class Loaded:
    """Images uint8 [N, C, H, W], ink or light 255, and lines for people about them."""

    images: Pixels
    notes: tuple[str, ...] = ()


def default_root() -> Path:
    """Return the folder of the named data sets: `NPDRAW_DATA`, or `data`."""
    return Path(os.environ.get("NPDRAW_DATA") or "data")


def parse_source(text: str) -> Source:
    """Return the source that `NAME`, `folder:PATH` or `npz:FILE` stands for.

    Raises:
        UsageError: unknown name (the hint has the nearest one) or no path.
    """
    name, _, path = text.partition(":")
    if name in PATHS:
        if not path:
            raise UsageError(f"{text!r} has no path", hint=f"write {name}:PATH")
        return Source(name, Path(path).expanduser())
    if text not in SETS:
        raise UsageError(
            f"unknown data set {text!r}",
            hint=did_you_mean(text, [*SETS, "folder:PATH", "npz:FILE"]),
        )
    return Source(text)


def has_colour(source: Source) -> bool:
    """Return whether the images are in colour; of a folder, most of some that are looked at.

    False for what cannot be read: `load` says why.
    """
    if source.path is None:
        return SETS[source.name].channels == 3
    if source.name == "npz":
        return pictures.npz_has_colour(source.path)
    return pictures.folder_has_colour(source.path)


def load(
    source: Source,
    split: str,
    *,
    root: Path,
    image_size: int,
    channels: int = 1,
    strict: bool = False,
) -> Loaded:
    """Load the images of split "train" or "test", image_size pixels square; 1 or 3 channels.

    Images of another size are resized (shorter side, antialiased) and cut to the middle. A named
    set is read from `root/NAME.npz` if that is there, otherwise from its published files below
    `root`. Nothing is ever downloaded or written.

    Raises:
        DataError: missing or damaged; `strict`: also if one picture of a folder is.
    """
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}", hint=did_you_mean(split, SPLITS))
    if channels not in (1, 3):
        raise UsageError(f"images with {channels} channels", hint="1 is grey, 3 is colour")
    if source.name == "folder" and source.path is not None:
        images, notes = pictures.read_folder(
            source.path, split, image_size=image_size, channels=channels, strict=strict
        )
        return Loaded(images, notes)
    if source.name == "npz" and source.path is not None:
        return Loaded(pictures.fit(pictures.read_npz(source.path, split), image_size, channels))
    facts = SETS[source.name]
    native = _read_named(source.name, split, root, image_size)
    notes = (facts.note,) if facts.note else ()
    if not _as_published(facts, split, native):
        notes += (f"{source.name} in {root}: its {split} images are not the usual ones",)
    return Loaded(pictures.fit(native, image_size, channels), notes)


def _read_named(name: str, split: str, root: Path, image_size: int) -> Pixels:
    """Read a named data set: uint8 [N, H, W] or [N, H, W, 3]; faces are made smaller at once."""
    if name == "glyphs":
        return glyphs(split)[:, 0]
    archive = root / f"{name}.npz"
    if archive.exists():
        return pictures.read_npz(archive, split)
    if name == "mnist":
        return published.read_mnist(root, split)
    if name == "cifar10":
        return photographs.read_cifar10(root, split)
    if name == "celeba":
        return photographs.read_celeba(root, split, image_size)
    return published.read_omniglot(root, split)


def _as_published(facts: Facts, split: str, native: Pixels) -> bool:
    known = facts.digests.get(split)
    return known is None or digest(native[:, None]) == known


def read_picture(source: Path | bytes, image_size: int, channels: int) -> Pixels:
    """Read one picture as `load` reads those of a folder: uint8 [C, image_size, image_size].

    `source` is its file, or what is in it.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    return pictures.read_picture(source, image_size, channels)


def download(name: str, root: Path) -> None:
    """Fetch the published files of a named data set to where `load` looks for them.

    Raises:
        UsageError: unknown name, or a data set that needs no download.
        DataError: it failed.
    """
    source = parse_source(name)
    if source.name == "glyphs" or source.path is not None:
        raise UsageError(f"{name} needs no download", hint="it can be used as it is")
    (photographs if SETS[name].channels == 3 else published).download(name, root)


@dataclass(frozen=True)
class Status:
    """State of a named data set: "ready", "missing", or "damaged" with the problem."""

    name: str
    state: str
    problem: str
    facts: Facts


def status(root: Path, *, check: bool = False) -> list[Status]:
    """Return the state of every named data set; `check` reads all and compares the digests."""
    return [Status(name, *_state(name, root, check), facts) for name, facts in SETS.items()]


def _state(name: str, root: Path, check: bool) -> tuple[str, str]:
    archive = root / f"{name}.npz"
    if name == "glyphs":
        return "ready", ""
    module = photographs if SETS[name].channels == 3 else published
    if not archive.exists() and not module.present(name, root):
        return "missing", ""
    if check:
        try:
            if name == "mnist" and not archive.exists():
                published.check_mnist(root)
            for split in SPLITS:
                native = _read_named(name, split, root, SETS[name].image_size)
                if not _as_published(SETS[name], split, native):
                    where = archive if archive.exists() else root
                    return "damaged", f"the {split} images in {where} are not the usual ones"
        except DataError as error:
            return "damaged", error.message
    return "ready", ""


def digest(images: Pixels) -> str:
    """Return the SHA-256 of type, shape and pixels, as hexadecimal digits."""
    head = json.dumps([images.dtype.str, list(images.shape)])
    return hashlib.sha256(head.encode() + np.ascontiguousarray(images).tobytes()).hexdigest()
