"""A single picture for a model that does not say how pictures are read."""

from pathlib import Path

from npdraw.datasets import prepare
from npdraw.datasets.choices import choices
from npdraw.datasets.decode import decode
from npdraw.datasets.looks import Look
from npdraw.datasets.sizes import is_far_from_square
from npdraw.datasets.values import Values
from npdraw.reading import Reading, Wanted

_BINARY = Wanted(channels="1", pixels="binary")


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
