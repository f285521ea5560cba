"""Decoded pictures and arrays as square uint8 images, by the rules of a `Reading`."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from npdraw.reading import Reading

Pixels = NDArray[np.uint8]

BYTE = 255
DEEP = (1023, 4095, 16383, 65535)
"""Largest values of 10, 12, 14 and 16 bits."""

_DIM = 16  # 8-bit images that are never lighter than this have another range
_STRAY = 0.001  # of the pixels of a picture may be lighter than white
_MODES = {1: "L", 3: "RGB"}
_FILTER = Image.Resampling.BILINEAR


def white_for(largest: float, *, floating: bool = False) -> float:
    """Return the value that stands for full light in images whose largest value is `largest`.

    Integers: that value if it is at most 16, else the smallest of 8, 10, 12, 14 or 16 bits that
    reaches it. Floats: 1 or 255 likewise.
    """
    if floating and 0 < largest <= 1:
        return 1.0
    if largest <= _DIM:
        return float(max(largest, 1))
    for white in (BYTE, *DEEP):
        if largest <= white:
            return float(white)
    return float(largest) if floating else 2.0 ** math.ceil(math.log2(largest + 1)) - 1


def prepared(picture: Image.Image, reading: Reading, image_size: int, channels: int) -> Pixels:
    """Return a picture as `decode` returns it as an image [channels, image_size, image_size]."""
    size = (image_size, image_size)
    if channels == 1 and picture.mode in ("RGB", "RGBA"):
        picture = _in_grey(picture)  # first: black and white are those of grey
    picture = on_ground(in_bytes(picture, reading), reading).convert(_MODES[channels])
    if reading.fit == "stretch":
        square = picture.resize(size, _FILTER)
    elif reading.fit == "pad":
        square = ImageOps.pad(picture, size, method=_FILTER, color=_ground(reading, channels))
    else:
        # torchvision's resize and crop round the crop to whole pixels: that would be other images.
        square = ImageOps.fit(picture, size, method=_FILTER)
    pixels = np.asarray(square).reshape(image_size, image_size, channels).transpose(2, 0, 1)
    return BYTE - pixels if reading.invert else pixels


def in_bytes(picture: Image.Image, reading: Reading) -> Image.Image:
    """Return a picture in mode L, RGB or RGBA, with the values `black`..`white` as 0..255."""
    if picture.mode in ("I", "F"):
        values = np.asarray(picture)
        white, black = reading.white, reading.black
        largest = float(values.max())
        if not math.isfinite(largest) or not math.isfinite(float(values.min())):
            raise ValueError("its pixels are not finite numbers")
        depth = white_for(largest, floating=picture.mode == "F")
        deeper = depth > white_for(white) and not (picture.mode == "I" and black < 0)
        beyond = np.count_nonzero(values > white_for(white)) if deeper else 0
        if beyond > max(1, _STRAY * values.size):  # than the pictures of which the reading is
            white = depth
        return Image.fromarray(_scaled(values, black, white))
    white, black = min(reading.white, BYTE), reading.black
    if (black, white) == (0, BYTE):
        return picture
    table = [int(min(max((v - black) / (white - black), 0), 1) * BYTE + 0.5) for v in range(256)]
    if picture.mode == "RGBA":
        *colours, alpha = picture.split()
        return Image.merge("RGBA", [*(colour.point(table) for colour in colours), alpha])
    return picture.point(table * len(picture.getbands()))


def _in_grey(picture: Image.Image) -> Image.Image:
    """Return a picture with its colours in grey; transparency is kept."""
    grey = picture.convert("L")
    if picture.mode == "RGB":
        return grey
    return Image.merge("RGBA", [grey, grey, grey, picture.getchannel("A")])


def on_ground(picture: Image.Image, reading: Reading) -> Image.Image:
    """Return a picture without transparency: it shows the background of the reading."""
    if picture.mode != "RGBA":
        return picture
    ground = Image.new("RGB", picture.size, reading.ground)
    ground.paste(picture, mask=picture)
    return ground


def ground_of(reading: Reading | None, channels: int) -> Pixels:
    """Return the value of the ground in images that are read so, uint8 [channels]; else 0."""
    if reading is None:
        return np.zeros(channels, np.uint8)
    ground = np.array(_ground(reading, channels), np.uint8).reshape(channels)
    return BYTE - ground if reading.invert else ground


def _ground(reading: Reading, channels: int) -> Any:
    """Return the background in a mode of Pillow."""
    picture = Image.new("RGB", (1, 1), reading.ground).convert(_MODES[channels])
    return picture.getpixel((0, 0))


def _scaled(values: NDArray[Any], black: float, white: float) -> Pixels:
    scaled = (values.astype(np.float64) - black) * (BYTE / (white - black)) + 0.5
    return np.floor(scaled).clip(0, BYTE).astype(np.uint8)


def array_in_bytes(image: NDArray[Any], reading: Reading) -> Pixels:
    """Return an array with the values `black`..`white` as uint8 0..255."""
    white = min(reading.white, BYTE) if image.dtype == np.uint8 else reading.white
    if image.dtype == np.uint8 and (reading.black, white) == (0, BYTE):
        return image
    return _scaled(image, reading.black, white)


def from_arrays(images: NDArray[Any], reading: Reading, image_size: int, channels: int) -> Pixels:
    """Return images [N, H, W] or [N, H, W, 3] as [N, C, image_size, image_size].

    uint8 images of that size and channels keep every pixel, if the reading changes no value.
    """
    native = 1 if images.ndim == 3 else 3
    if images.shape[1:3] == (image_size, image_size) and native == channels:
        pixels = images
        if images.dtype != np.uint8 or (reading.black, min(reading.white, BYTE)) != (0, BYTE):
            pixels = np.stack([array_in_bytes(image, reading) for image in images])
        channels_last = pixels[..., None] if native == 1 else pixels
        pixels = np.ascontiguousarray(channels_last.transpose(0, 3, 1, 2))
        return BYTE - pixels if reading.invert else pixels
    simple = Reading(reading.background, reading.invert, reading.fit)
    squares = (Image.fromarray(array_in_bytes(image, reading)) for image in images)
    return np.stack([prepared(square, simple, image_size, channels) for square in squares])


def white_of(images: NDArray[Any]) -> Reading:
    """Return the reading of arrays for which none was chosen: by their smallest and largest value.

    Floats below 0 are taken from the smallest value: -1 if they are in -1..1.
    """
    if images.dtype == np.bool_:
        return Reading(white=1.0)
    low, high = float(images.min()), float(images.max())
    if low >= 0:
        return Reading(white=white_for(high, floating=images.dtype.kind == "f"))
    if low >= -1 and high <= 1:
        return Reading(black=-1.0, white=1.0)
    return Reading(black=low, white=max(high, low + 1))
