"""Pictures that look the other way round than those for which a reading was chosen."""

import numpy as np
from PIL import Image

from npdraw.datasets import prepare
from npdraw.datasets.ground import ground_of
from npdraw.datasets.looks import thinned
from npdraw.reading import Reading

_CONTRAST = 40  # of 255: a picture of less has nothing but noise, perhaps


def looks_other_way(picture: Image.Image, reading: Reading) -> bool:
    """Return whether a picture in 8 bits clearly has another ground than strokes that are read so.

    The picture is what `prepare.in_bytes` returns.
    """
    seen = prepare.on_ground(thinned(picture), reading).convert("L")
    pixels = np.asarray(seen).astype(np.int16)
    if np.ptp(pixels) <= _CONTRAST:
        return False
    ground = ground_of(pixels > (pixels.min() + pixels.max()) / 2)
    return ground.sure and ground.light != expects_light(reading)


def expects_light(reading: Reading) -> bool:
    """Return whether strokes that are read so have a light ground.

    They do if the reading inverts them, or if its background is light.
    """
    return reading.invert or float(np.mean(reading.ground)) > prepare.BYTE / 2
