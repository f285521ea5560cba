"""Looks at all pictures or arrays of a source, and decides how they become images.

The rules are those of a person who looks at them (data/README.md); every choice has a flag.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from npdraw.datasets import Source, folder_notes, prepare, read_native
from npdraw.datasets import survey_lines as said
from npdraw.datasets.choices import choices
from npdraw.datasets.decode import decode, header_of
from npdraw.datasets.folder import check_number, list_pictures
from npdraw.datasets.looks import Look, smoothed, thinned
from npdraw.datasets.polarity import looks_other_way
from npdraw.datasets.sizes import Sizes
from npdraw.datasets.values import Values, values_of
from npdraw.reading import FITS, Reading, Wanted

SAMPLE = 2_000
"""Pictures that are looked at, evenly spaced, where there are more."""

_LEAST_SAMPLE = 100  # pictures that are looked at however large they are
_MOST_PIXELS = 200_000_000  # in all of them
_ROUGH = 512  # side in pixels at which a JPEG shows what it is like
_TESTS = 100  # test pictures that are looked at
_IMAGES = "images"  # the noun of arrays
_MUCH_CUT = 0.05  # of the pictures that are not square; less is not worth a word
_MUCH_LARGER = 4  # times the side of the images

T = TypeVar("T")


@dataclass(frozen=True)
class Survey:
    """What a source holds, and the choices that follow from it."""

    reading: Reading
    channels: int
    binarize: bool
    wanted: Wanted
    """What the flags asked for: the choices that were not automatic."""
    noun: str
    """What the source holds: pictures or images."""
    pictures: int
    """Pictures or images of all splits."""
    looked_at: int
    unreadable: int
    """Pictures, of those looked at, that cannot be read; loading counts them all."""
    several_frames: int
    """Pictures with more than one frame or page."""
    left_out: tuple[tuple[str, int], ...]
    """Endings of the files that are not pictures, and their numbers."""
    sizes: Sizes
    coloured: float
    """Share of the pictures in colour."""
    tinged: float
    """Share of the pictures with any colour: a tint of paper or a trace is enough."""
    transparent: float
    """Share of the pictures with transparent pixels."""
    two_valued: bool
    """Whether the pictures, in grey, have few pixels that are neither dark nor light."""
    light_ground: bool
    """Whether they are dark strokes on a light ground."""
    others: int
    """Pictures, of those looked at, that clearly have the other ground."""
    uneven: bool
    """Whether pictures with all levels are strokes on a light ground that is unevenly lit."""
    values: tuple[float, float]
    """Smallest and largest value of arrays, and of pictures of more than 8 bits."""
    splits: tuple[tuple[str, int], ...]
    """The splits that folders or arrays name, and the pictures in each."""
    test_others: tuple[int, int]
    """Test pictures that clearly have the other ground than strokes for training, and all that were
    examined: 0 without a test split, and for pictures that are not strokes.
    """
    validation: int
    """Pictures in folders of validation images; they count as training images."""
    elsewhere: int
    """Pictures outside the folders of splits, if there are splits; they count as training images.
    """
    classes: tuple[tuple[str, int], ...]
    """The classes that folders or labels name, and the pictures of each."""

    @property
    def side(self) -> int:
        """Side in pixels of a picture of the median size, made square."""
        return self._side(self.sizes.median)

    def _side(self, size: tuple[int, int]) -> int:
        return (max if self.reading.fit == "pad" else min)(size)

    def lines(self, image_size: int = 0) -> list[str]:
        """Return in a few sentences what was seen and chosen, and which option changes it.

        `image_size` is the side of the images that the pictures become, if that is known.
        """
        small, large = (f"{width} x {height}" for width, height in self.sizes.ends)
        size = small if small == large else f"{small} to {large}"
        lines = [f"{self.pictures:,} {self.noun}, {size}, {said.colour(self)}{said.ground(self)}"]
        if more := [*said.transparency(self), *said.values(self), *self._fit(image_size)]:
            lines.append("; ".join(more))
        if more := [*self._folders(), *self._left_out()]:
            lines.append("; ".join(more))
        return lines

    def _fit(self, image_size: int) -> Iterator[str]:
        if count := self.sizes.not_square:
            cut = f", which cuts off {self.sizes.cut:.0%}" if self.sizes.cut >= _MUCH_CUT else ""
            done = {
                "crop": f"cropped to the square in the middle{cut}",
                "pad": f"padded with {self.reading.background}",
                "stretch": "stretched",
            }[self.reading.fit]
            others = " or ".join(fit for fit in FITS if fit != self.reading.fit)
            verb = "is" if count == 1 else "are"
            yield f"{count:,} {verb} not square: {done}" + self._option("fit", f" (--fit {others})")
        if image_size and self.side != image_size:
            change = "shrunk" if self.side > image_size else "enlarged"
            thin = self.binarize and self.side > _MUCH_LARGER * image_size
            fade = ", where thin strokes fade" if thin else ""
            what = f"{change} from {self.side} to {image_size} pixels"
            smallest, largest = (self._side(size) for size in self.sizes.ends)
            if smallest < image_size < largest:
                what = f"shrunk or enlarged to {image_size} pixels, the median from {self.side}"
            yield f"{what}{fade} (--image-size)"

    def _folders(self) -> Iterator[str]:
        yield from folder_notes.splits(
            dict(self.splits), self.validation, self.elsewhere, arrays=self.noun == _IMAGES
        )
        yield from folder_notes.test_others(*self.test_others)
        yield from folder_notes.classes([name for name, _ in self.classes])

    def _left_out(self) -> Iterator[str]:
        yield from folder_notes.frames(self.several_frames)
        yield from folder_notes.left_out(self.left_out)

    def _option(self, name: str, text: str) -> str:
        """Return what names the option that changes a choice, if the choice was automatic."""
        return said.option(self.wanted, name, text)


def survey(source: Source, root: Path, wanted: Wanted, image_size: int = 0) -> Survey:
    """Look at the pictures or arrays of a source that is given by a path, and decide.

    Up to 2,000 training pictures, evenly spaced, are decoded, fewer of large ones, and up to 100
    test pictures of strokes; of the others, only names and sizes are read. It takes seconds.

    Raises:
        DataError: they cannot be read, there are fewer than 4, or they hold nothing.
    """
    del root, image_size  # the choices do not depend on them
    assert source.path is not None
    if source.name == "folder":
        return _of_folder(source.path, wanted)
    return _of_arrays(source, wanted)


def _of_folder(folder: Path, wanted: Wanted) -> Survey:
    listing = list_pictures(folder)
    train: list[Path] = []
    test: list[Path] = []
    sizes, frames, unreadable = [], 0, 0
    for row, path in enumerate(listing.paths):
        try:
            header = header_of(path)
            sizes.append(header.size)
            frames += header.several_frames
            is_test = listing.splits and listing.splits[row] == "test"
            (test if is_test else train).append(path)
        except Exception:  # Pillow's readers raise almost anything; loading reports it
            unreadable += 1

    pictures, values = [], Values()
    for path in _sample(train, sizes):
        try:
            picture = decode(path, rough=_ROUGH)
            values.add(picture)
            smooth = smoothed(picture) if picture.mode == "RGB" else None
            pictures.append((thinned(picture), smooth))
        except MemoryError:
            raise
        except Exception:
            unreadable += 1
    readable = len(pictures) + len(test)
    check_number(folder, listing, readable=readable, training=len(pictures), skipped=unreadable)
    reading = values.reading()
    seen = _survey(
        [
            Look.at(prepare.in_bytes(seen, reading), smooth and prepare.in_bytes(smooth, reading))
            for seen, smooth in pictures
        ],
        reading,
        wanted,
        str(folder),
        noun="pictures",
        pictures=len(listing.paths) - unreadable,
        unreadable=unreadable,
        several_frames=frames,
        left_out=listing.left_out,
        sizes=Sizes.of(sizes),
        values=(values.low, values.high),
        splits=_counts(listing.splits),
        validation=listing.validation,
        elsewhere=listing.elsewhere,
        classes=_counts([name for name in listing.classes if name]),
    )
    return _with_tests(seen, (_decoded(path, seen.reading) for path in _some(test)))


def _decoded(path: Path, reading: Reading) -> Image.Image | None:
    """Return a picture in 8 bits, None if it cannot be read; loading reports it."""
    try:
        return prepare.in_bytes(decode(path, rough=_ROUGH), reading)
    except MemoryError:
        raise
    except Exception:  # Pillow's readers raise almost anything
        return None


def _some(items: Sequence[T]) -> list[T]:
    """Return up to 100 of them, evenly spaced."""
    count = min(len(items), _TESTS)
    return [items[n * len(items) // count] for n in range(count)]


def _with_tests(seen: Survey, pictures: Iterable[Image.Image | None]) -> Survey:
    """Return a survey that counts test pictures with another ground; strokes have one."""
    if not seen.binarize:
        return seen
    others = [looks_other_way(picture, seen.reading) for picture in pictures if picture]
    return replace(seen, test_others=(sum(others), len(others)))


def _sample(paths: list[Path], sizes: list[tuple[int, int]]) -> list[Path]:
    """Return pictures, evenly spaced: at most 2,000, and fewer where they are large."""
    pixels = sum(width * height for width, height in sizes) / max(len(sizes), 1)
    count = min(len(paths), SAMPLE, max(_LEAST_SAMPLE, int(_MOST_PIXELS / max(pixels, 1))))
    return [paths[n * len(paths) // count] for n in range(count)]


def _of_arrays(source: Source, wanted: Wanted) -> Survey:
    native = read_native(source, "train")
    images = native.images
    count = len(images)
    reading, values = values_of(images)
    chosen = np.arange(min(count, SAMPLE)) * count // min(count, SAMPLE)
    height, width = images.shape[1:3]
    classes = [] if native.labels is None else [native.classes[n] for n in native.labels]
    seen = _survey(
        [Look.at(_array(images[n], reading)) for n in chosen],
        reading,
        wanted,
        str(source),
        noun=_IMAGES,
        pictures=native.total,
        unreadable=0,
        several_frames=0,
        left_out=(),
        sizes=Sizes.of([(width, height)] * native.total),
        values=values,
        splits=native.splits,
        validation=0,
        elsewhere=0,
        classes=_counts(classes),
    )
    if not native.splits or not seen.binarize:
        return seen
    test = read_native(source, "test").images
    return _with_tests(seen, (_array(test[n], seen.reading) for n in _some(range(len(test)))))


def _array(image: NDArray[Any], reading: Reading) -> Image.Image:
    return Image.fromarray(prepare.array_in_bytes(image, reading))


def _survey(
    looks: list[Look], reading: Reading, wanted: Wanted, name: str, sizes: Sizes, **facts: Any
) -> Survey:
    chosen = choices(
        looks,
        reading,
        wanted,
        far_from_square=sizes.far_from_square / facts["pictures"],
        name=name,
    )
    facts |= {"wanted": wanted, "looked_at": len(looks), "sizes": sizes, "test_others": (0, 0)}
    return Survey(**chosen._asdict(), **facts)


def _counts(names: Sequence[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(Counter(names).items()))
