"""The embedded data set `glyphs`: handwriting-like characters drawn from a seed, without files.

A character is a few pen strokes: smooth curves through control points. A writer has a style (slant,
width, pen and own shapes of the characters), and each drawing varies around it. Training and test
split have different writers.

The images are the same on every machine and with every version: the randomness comes from the raw
bits of Philox, whose stream NumPy never changes. The pen's path is rounded to sixteenths of a
pixel, and all arithmetic after that is exact.
"""

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

SIDE = 28
"""Side of the images, pixels."""

SEEDS = {"train": 1, "test": 2}
WRITERS = {"train": 200, "test": 20}
REPEATS = 5
"""Drawings by each writer of each character."""

# Control points, in percent of a unit box: x to the right, y down. A smooth curve runs through the
# points of a stroke; at a corner one stroke ends and another starts at the same point.
STROKES: dict[str, Sequence[str]] = {
    "0": ("50,0 14,28 14,72 50,100 86,72 86,28 50,0",),
    "1": ("28,22 55,0", "55,0 50,100"),
    "2": ("12,25 28,4 60,2 80,24 62,55 10,100", "10,100 48,95 90,98"),
    "3": ("15,12 45,0 78,13 70,37 40,47", "40,47 77,57 85,80 52,100 12,88"),
    "4": ("30,0 12,56", "12,56 90,52", "70,8 62,100"),
    "5": ("82,2 28,4", "28,4 20,45", "20,45 50,37 82,56 74,87 42,100 12,88"),
    "6": ("70,0 36,22 15,62 25,92 53,100 80,80 68,56 42,55 18,74",),
    "7": ("12,6 86,4", "86,4 56,50 38,100"),
    "8": ("78,14 50,0 22,16 30,36 50,48 74,64 80,84 50,100 20,84 26,64 50,48 70,34 78,14",),
    "9": ("80,20 52,0 22,20 34,47 62,44 80,20", "80,20 78,60 58,100"),
    "A": ("50,0 10,100", "50,0 90,100", "26,62 76,62"),
    "C": ("86,16 55,0 22,16 8,52 24,89 60,100 90,84",),
    "E": ("20,2 15,100", "20,2 85,0", "18,50 70,48", "15,100 88,98"),
    "H": ("15,0 12,100", "86,0 88,100", "14,52 87,48"),
    "K": ("18,0 15,100", "84,2 40,44 16,62", "40,44 90,100"),
    "M": ("8,100 20,0", "20,0 50,65", "50,65 80,0", "80,0 92,100"),
    "P": ("20,2 17,100", "20,2 64,0 84,24 64,47 19,53"),
    "R": ("20,2 17,100", "20,2 64,0 82,22 62,43 45,48 19,50", "45,48 90,100"),
    "T": ("8,4 92,2", "50,3 48,100"),
    "X": ("12,0 88,100", "88,0 12,100"),
}
CHARACTERS = "".join(STROKES)

_GRID = 16  # steps per pixel of the pen's path
_FAR = 16_000  # cap on squared steps per axis: beyond a pen's reach, and two of them fit 16 bits
_AT_ONCE = 256  # images drawn at once: the arrays stay in the processor's cache

Floats = NDArray[np.float64]


def glyphs(split: str) -> NDArray[np.uint8]:
    """Return the images of a split, "train" (20,000) or "test" (2,000): uint8 [N, 1, 28, 28].

    Ink is 255, background 0. Characters and writers are shuffled, so the first n images are a
    representative subset. They are drawn once per process; each call returns its own copy.
    """
    return _split(split)[0].copy()


def labels(split: str) -> NDArray[np.int64]:
    """Return the index into `CHARACTERS` of each image of `glyphs(split)`: int64 [N]."""
    return _split(split)[1].copy()


@cache
def _split(split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    bits = np.random.Philox(key=SEEDS[split])
    writers = WRITERS[split]
    slant = 0.12 + 0.16 * _bell(bits, writers)
    width = 0.78 + 0.09 * _bell(bits, writers)
    pen = 1.25 + 0.17 * _bell(bits, writers)
    drawings = []
    for strokes in STROKES.values():
        points, basis = _spline(strokes)
        style = 0.042 * _bell(bits, writers, 1, *points.shape)
        varied = points + style + 0.026 * _bell(bits, writers, REPEATS, *points.shape)
        path = basis @ varied  # [writers, repeats, samples, 2]
        path = _placed(path, bits, slant, width, pen)
        radius = pen[:, None] + 0.08 * _bell(bits, writers, REPEATS)
        drawings.append(_inked(path.reshape(-1, *path.shape[2:]), radius.reshape(-1)))
    images = np.concatenate(drawings)[:, None]
    kinds = np.repeat(np.arange(len(STROKES)), writers * REPEATS)
    order = np.argsort(_uniform(bits, len(images)), kind="stable")
    return images[order], kinds[order]


def _uniform(bits: np.random.Philox, *shape: int) -> Floats:
    """Return numbers in [0, 1) from the raw bits: NumPy may change its distributions."""
    raw = np.asarray(bits.random_raw(math.prod(shape)))
    numbers: Floats = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers.reshape(shape)


def _bell(bits: np.random.Philox, *shape: int) -> Floats:
    """Return nearly normal numbers: mean 0, standard deviation 1, at most 3 in magnitude."""
    first, second, third = _uniform(bits, 3, *shape)
    total: Floats = first + second + third
    return 2 * total - 3


def _spline(strokes: Sequence[str]) -> tuple[Floats, Floats]:
    """Return control points [n, 2] of a character and the matrix [samples, n] to the pen's path.

    A point that strokes share is one control point, so they stay connected wherever it moves. A
    straight stroke gets a point in the middle, so that it can bend. The path is a Catmull-Rom
    spline, sampled about every 0.03 of the box, which is half a pixel.
    """
    points: list[tuple[float, float]] = []
    rows: list[tuple[list[int], list[Floats]]] = []
    for stroke in strokes:
        pairs = [tuple(float(v) / 100 for v in pair.split(",")) for pair in stroke.split()]
        knots = [(x, y) for x, y in pairs]
        if len(knots) == 2:
            (x0, y0), (x1, y1) = knots
            knots.insert(1, ((x0 + x1) / 2, (y0 + y1) / 2))
        points += [knot for knot in dict.fromkeys(knots) if knot not in points]
        where = [points.index(knot) for knot in knots]
        closed = where[0] == where[-1]
        for i, (a, b) in enumerate(pairwise(where)):
            before = where[i - 1] if i else where[-2] if closed else a
            after = where[i + 2] if i + 2 < len(where) else where[1] if closed else b
            length = np.hypot(*np.subtract(points[a], points[b]))
            t = np.linspace(0, 1, 1 + int(np.ceil(length / 0.03)))[:, None]
            weights = [t * (1 - t) ** 2 / -2, 1 + t**2 * (3 * t - 5) / 2]
            weights += [t * (1 + t * (4 - 3 * t)) / 2, t**2 * (t - 1) / 2]
            rows.append(([before, a, b, after], weights))
    basis = np.zeros((sum(len(weights[0]) for _, weights in rows), len(points)))
    start = 0
    for columns, weights in rows:
        stop = start + len(weights[0])
        for column, weight in zip(columns, weights, strict=True):
            basis[start:stop, column] += weight[:, 0]
        start = stop
    return np.array(points), basis


def _placed(
    path: Floats, bits: np.random.Philox, slant: Floats, width: Floats, pen: Floats
) -> Floats:
    """Slant, widen, rotate, scale and centre paths [writers, repeats, samples, 2], in pixels."""
    shape = path.shape[:2]
    lean = slant[:, None] + 0.04 * _bell(bits, *shape)
    wide = width[:, None] + 0.04 * _bell(bits, *shape)
    turn = 0.05 * _bell(bits, *shape)
    row = path[..., 1] - 0.5
    column = (path[..., 0] - 0.5) * wide[..., None] - row * lean[..., None]
    cosine, sine = np.cos(turn)[..., None], np.sin(turn)[..., None]
    path = np.stack([cosine * column - sine * row, sine * column + cosine * row], axis=-1)
    low, high = path.min(2, keepdims=True), path.max(2, keepdims=True)
    box = 19.2 + 0.5 * _bell(bits, *shape) - 2 * pen[:, None]
    scale = box[..., None, None] / (high - low).max(-1, keepdims=True)
    middle = (SIDE - 1) / 2 + 0.6 * _bell(bits, *shape, 1, 2)
    placed: Floats = (path - (low + high) / 2) * scale + middle
    return placed


def _inked(path: Floats, radius: Floats) -> NDArray[np.uint8]:
    """Draw paths [N, samples, 2] with pens of `radius` [N], in pixels: uint8 [N, 28, 28].

    Ink fades over one pixel at the edge of the pen. While drawing, images are the last axis, so
    that every operation runs over contiguous memory.
    """
    images = np.empty((len(path), SIDE, SIDE), np.uint8)
    pixels = _GRID * np.arange(SIDE, dtype=np.int32)[:, None]
    for start in range(0, len(path), _AT_ONCE):
        spots = np.rint(_GRID * path[start : start + _AT_ONCE]).astype(np.int32).transpose(1, 2, 0)
        apart = np.minimum((pixels - spots[:, :, None]) ** 2, _FAR).astype(np.int16)
        nearest = np.full((SIDE, SIDE, apart.shape[-1]), 2 * _FAR, np.int16)
        squared = np.empty_like(nearest)
        for column, row in apart:  # [28, n] each, at one sample of the path
            np.add(row[:, None], column[None], out=squared)
            np.minimum(nearest, squared, out=nearest)
        distance = np.sqrt(nearest.astype(np.float32)) / np.float32(_GRID)
        reach = np.rint(_GRID * (radius[start : start + _AT_ONCE] + 0.5)).astype(np.float32) / _GRID
        ink = np.rint(np.clip(reach - distance, 0, 1) * np.float32(255))
        images[start : start + _AT_ONCE] = ink.astype(np.uint8).transpose(2, 0, 1)
    return images
