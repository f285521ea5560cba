"""A single picture for a model: how it is read, and what a note says about that."""

from collections.abc import Iterator
from pathlib import Path

from npdraw.datasets import prepare
from npdraw.datasets.choices import choices
from npdraw.datasets.decode import decode
from npdraw.datasets.looks import Look
from npdraw.datasets.polarity import expects_light, looks_other_way
from npdraw.datasets.sizes import is_far_from_square
from npdraw.datasets.values import Values
from npdraw.reading import Reading, Wanted

_BINARY = Wanted(channels="1", pixels="binary")
_CUT = 0.1  # of a picture, or less of it, may be cropped without a note


def reading_of_picture(source: Path | bytes) -> Reading | None:
    """Return how a picture, its file or the content of one, becomes light strokes on black.

    The rules are those for a folder of such pictures (data/README.md). None if there is nothing in
    the picture, or it cannot be read.
    """
    try:
        picture, values = decode(source), Values()
        values.add(picture)
        reading = values.reading()
        look = Look.at(prepare.in_bytes(picture, reading))
        far = float(is_far_from_square(picture.size))
        return choices([look], reading, _BINARY, far_from_square=far, name="it").reading
    except MemoryError:
        raise
    except Exception:  # Pillow's readers raise almost anything; reading the picture reports it
        return None


def notes_on_picture(
    source: Path | bytes, reading: Reading | None, *, strokes: bool
) -> Iterator[str]:
    """Yield what is lost or odd about a picture that is read so, for a model of `strokes` or not.

    `reading` is None for models of a named data set, which has no transparent pictures. Nothing if
    the picture cannot be read.
    """
    unknown, reading = reading is None, reading or Reading()
    try:
        picture = decode(source)
        other = strokes and looks_other_way(prepare.in_bytes(picture, reading), reading)
    except MemoryError:
        raise
    except Exception:  # Pillow's readers raise almost anything; reading the picture reports it
        return
    if other:
        kind = "light strokes on a dark" if expects_light(reading) else "dark strokes on a light"
        yield f"{kind} ground, the other way round than the model's pictures: invert it first"
    if unknown and picture.mode == "RGBA" and min(picture.getchannel("A").tobytes()) < 255:
        yield f"its transparent pixels are put on {reading.background}"
    (width, height), side = picture.size, min(picture.size)
    if reading.fit == "crop" and side < (1 - _CUT) * max(width, height):
        yield f"cropped from {width} x {height} to the {side} x {side} in the middle"
