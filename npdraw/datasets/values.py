"""The values of pictures and arrays: which of them becomes white, and which black."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from npdraw.datasets import prepare
from npdraw.datasets.looks import thinned
from npdraw.reading import Reading

_BYTES = prepare.BYTE + 1
_DEPTHS = (*prepare.DEEP, math.inf)
_FLOAT_DEPTHS = (1, prepare.BYTE, *_DEPTHS)
_STRAY = 10_000  # values of which one may be larger than white: a pixel that is always lit
DIM = 63  # of 255: pictures that are never lighter are seen as black
_LABELS = 24  # of 255: labels up to here look black
_LABELLED = 0.01  # of the pixels
_SPACED = 1024  # values of a picture that are compared where some are below 0
_FLAT = 0.5  # of the labelled pixels have neighbours with the same label


class Values:
    """The range of the values of pictures or arrays, by their depth."""

    def __init__(self) -> None:
        self.low: float = math.inf
        self.high: float = -math.inf
        self._counts = np.zeros(_BYTES + len(_DEPTHS), np.int64)  # of 0..255, then by depth
        self._of_floats = np.zeros(len(_FLOAT_DEPTHS), np.int64)  # up to each depth
        self._whole: list[NDArray[Any]] = []  # whole numbers of deep pictures, evenly spaced
        self._transparent = False
        self._labelled = self._flat = 0

    def add(self, picture: Image.Image) -> None:
        """Add a picture as `decode` returns it."""
        if picture.mode in ("I", "F"):
            if picture.mode == "I":
                self._whole.append(_spaced(np.asarray(picture), _SPACED))
            self.add_array(np.asarray(picture))
            return
        counts = np.array(picture.histogram(), np.int64).reshape(-1, _BYTES)
        if picture.mode == "RGBA":  # dark ink on transparency does not mean another range
            self._transparent = True
            self._include(prepare.BYTE, prepare.BYTE)
            counts = counts[:3]
        self._add_bytes(counts.sum(0), picture)

    def add_array(self, values: NDArray[Any]) -> None:
        """Add an image [H, W] or [H, W, 3]."""
        if values.dtype == np.uint8:
            counts = np.bincount(values.ravel(), minlength=_BYTES)
            self._add_bytes(counts, Image.fromarray(values))
            return
        self._include(float(values.min()), float(values.max()))
        if values.dtype.kind == "f":
            self._of_floats += _between(values, (-math.inf, *_FLOAT_DEPTHS))
            return
        small = values[values <= prepare.BYTE].clip(0)
        self._counts[:_BYTES] += np.bincount(small.astype(np.int64), minlength=_BYTES)
        self._counts[_BYTES:] += _between(values, (prepare.BYTE, *_DEPTHS))

    def _include(self, low: float, high: float) -> None:
        self.low, self.high = min(self.low, low), max(self.high, high)

    def _add_bytes(self, counts: NDArray[np.int64], picture: Image.Image) -> None:
        seen = np.flatnonzero(counts)
        self._include(float(seen[0]), float(seen[-1]))
        self._counts[:_BYTES] += counts
        if (
            picture.mode == "L"
            and counts[1 : _LABELS + 1].any()
            and not counts[_LABELS + 1 : -1].any()
        ):
            pixels = np.asarray(thinned(picture))
            low = (pixels > 0) & (pixels <= _LABELS)
            alike = (pixels[1:, 1:] == pixels[:-1, 1:]) & (pixels[1:, 1:] == pixels[1:, :-1])
            self._labelled += int(np.count_nonzero(low[1:, 1:]))
            self._flat += int(np.count_nonzero(low[1:, 1:] & alike))

    def reading(self) -> Reading:
        """Return the reading that covers all values but for a few stray ones."""
        if self._of_floats.any():
            black = 0.0 if self.low >= 0 else -1.0 if self.low >= -1 else float(self.low)
            depth = _FLOAT_DEPTHS[_largest(self._of_floats)]
            return Reading(
                black=black, white=prepare.white_for(min(self.high, depth), floating=True)
            )
        if self.low < 0 and self._whole and (signed := _signed(np.concatenate(self._whole))):
            return signed
        return Reading(white=self._white())

    def _white(self) -> float:
        """Return the white of whole numbers."""
        if self._transparent and self.high <= prepare.BYTE:
            return float(prepare.BYTE)
        if 0 < self.high <= DIM:
            return float(self.high)
        at = _largest(self._counts)
        if at == prepare.BYTE and self._are_labels():
            at = int(np.flatnonzero(self._counts[: _LABELS + 1])[-1])
        if not at:  # the few light pixels are all there is
            return prepare.white_for(float(self.high)) if self.high > 0 else float(prepare.BYTE)
        if at < _BYTES:
            return float(at if at <= DIM else prepare.BYTE)
        return prepare.white_for(min(float(self.high), _DEPTHS[at - _BYTES]))

    def _are_labels(self) -> bool:
        """Return whether the values are a few low labels, with 255 for pixels without one."""
        total = self._counts.sum()
        low, between = self._counts[1 : _LABELS + 1].sum(), self._counts[_LABELS + 1 : -1]
        others = between.sum() - self._counts[prepare.BYTE]
        return bool(
            low >= _LABELLED * total
            and others <= total / _STRAY
            and self._counts[prepare.BYTE] < total / 2
            and self._flat >= _FLAT * self._labelled > 0
        )


def values_of(images: NDArray[Any]) -> tuple[Reading, tuple[float, float]]:
    """Return the reading of arrays [N, H, W] or [N, H, W, 3], and smallest and largest value."""
    ends = float(images.min()), float(images.max())
    if images.dtype == np.bool_ or (ends[0] < 0 and images.dtype.kind == "f"):
        return prepare.white_of(images), ends
    if ends[0] < 0 and (signed := _signed(_spaced(images, _SPACED**2))):
        return signed, ends
    values = Values()
    for image in images:
        values.add_array(image)
    return values.reading(), ends


def _spaced(values: NDArray[Any], count: int) -> NDArray[Any]:
    """Return at most `count` values of an array, evenly spaced."""
    flat = values.reshape(-1)
    return flat[np.linspace(0, flat.size - 1, min(flat.size, count)).astype(np.int64)]


def _signed(values: NDArray[Any]) -> Reading | None:
    """Return the reading of whole numbers, from the smallest to the largest, but for stray ones.

    None if only stray ones are below 0.
    """
    stray = values.size // _STRAY
    ordered = np.sort(values)
    low, high = float(ordered[stray]), float(ordered[-1 - stray])
    return Reading(black=low, white=max(high, low + 1)) if low < 0 else None


def _between(values: NDArray[Any], depths: tuple[float, ...]) -> NDArray[np.int64]:
    """Return how many values are above each depth, and not above the next."""
    largest = values.max()
    above = [np.count_nonzero(values > depth) if depth < largest else 0 for depth in depths]
    counts: NDArray[np.int64] = np.array(above[:-1]) - np.array(above[1:])
    return counts


def _largest(counts: NDArray[np.int64]) -> int:
    """Return the lowest position that has all but one in 10,000 of the counts at it or before."""
    return int(np.searchsorted(counts.cumsum(), counts.sum() - counts.sum() // _STRAY))
