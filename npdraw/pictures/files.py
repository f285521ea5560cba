"""Picture files, still and moving: named, written and recognised as npdraw's own.

A picture holds a text that says what it shows. So the same command finds it up to date, another one
replaces it, and no picture that npdraw did not make is ever replaced unasked.
"""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from torch import Tensor

from npdraw.errors import UsageError
from npdraw.files import sweep_temporaries, write_atomic
from npdraw.runtime.lock import check_output

MARK = "npdraw"
"""Key of the text of a PNG; the text of a GIF is its comment, that of a WebP its EXIF."""

ACCENT = 255, 80, 40
"""The one colour on grey pictures: outlines of what has just been painted."""

_DESCRIPTION = 0x010E
"""The EXIF entry ImageDescription."""

STILL, MOVING = (".png",), (".gif", ".apng", ".png", ".webp")
"""Suffixes of pictures; `.png` and `.apng` hold moving pictures too."""

HOLD_MS = 1600
"""How long the last frame stays."""


def check_picture(out: Path, *, suffixes: Sequence[str] = STILL, force: bool) -> None:
    """Refuse what a picture cannot be written to, before anything is computed for it.

    Another one of npdraw's may be replaced, but never a picture that it did not make.

    Raises:
        UsageError: `out` is no name of such a picture, or a picture is there that is not npdraw's.
    """
    check_output(out, ())
    if out.suffix.lower() not in suffixes:
        names = " or ".join(suffix.removeprefix(".").upper() for suffix in suffixes)
        raise UsageError(
            f"{out} is not the name of a {names}", hint=f"Name a {suffixes[0]} with --out."
        )
    if not force and out.is_file() and text_of(out) is None:
        raise UsageError(
            f"{out} is there and is not a picture of npdraw's",
            hint="Choose another --out, or --force to replace it.",
        )


def is_up_to_date(
    out: Path, text: Mapping[str, Any], *, suffixes: Sequence[str] = STILL, force: bool
) -> bool:
    """Whether the picture that says `text` is there; errors as `check_picture`."""
    check_picture(out, suffixes=suffixes, force=force)
    sweep_temporaries(out)
    return not force and out.is_file() and text_of(out) == json.dumps(text)


def text_of(path: Path) -> str | None:
    """Return what npdraw wrote into this picture; None if it did not make it."""
    try:
        with Image.open(path, formats=["PNG", "GIF", "WEBP"]) as picture:
            if picture.format == "PNG":
                found = picture.info.get(MARK)
            elif picture.format == "GIF":
                found = picture.info.get("comment", b"").decode("utf-8", "replace")
            else:
                found = picture.getexif().get(_DESCRIPTION)
    except (OSError, SyntaxError, ValueError):
        return None
    if not isinstance(found, str):
        return None
    if picture.format == "PNG":
        return found
    mark, _, rest = found.partition(" ")
    return rest if mark == MARK else None


def png(pixels: Tensor, text: str = "") -> bytes:
    """Encode uint8 [C, H, W] (C 1: mode L, 3: RGB) as PNG, with `text` under the key `npdraw`."""
    array = pixels.permute(1, 2, 0).cpu().numpy()
    picture = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=_png_text(text), compress_level=6)
    return buffer.getvalue()


def write_still(out: Path, pixels: Tensor, text: Mapping[str, Any]) -> None:
    """Write uint8 [C, H, W] as PNG."""
    write_atomic(out, [png(pixels, json.dumps(text))])


def write_moving(
    out: Path,
    frames: Sequence[Tensor],
    outlines: Sequence[Tensor],
    text: Mapping[str, Any],
    frame_ms: int,
) -> None:
    """Write frames, uint8 [C, H, W] each, in the format that the suffix of `out` names.

    `outlines` bool [H, W], one for each frame, are drawn in `ACCENT`. The last frame stays for
    `HOLD_MS`, then it begins again. Grey frames of a GIF keep their values, but for 255, which is
    254 there; a GIF in colour has the 255 colours that Pillow chooses.
    """
    durations = [frame_ms] * (len(frames) - 1) + [HOLD_MS]
    told, suffix = json.dumps(text), out.suffix.lower()
    shown = zip(frames, outlines, strict=True)
    if suffix == ".gif":
        pictures = [_indexed(frame, outline) for frame, outline in shown]
        more: dict[str, Any] = {"optimize": False, "comment": f"{MARK} {told}".encode()}
        kind = "GIF"
    elif suffix == ".webp":
        exif = Image.Exif()
        exif[_DESCRIPTION] = f"{MARK} {told}"
        pictures = [_coloured(frame, outline) for frame, outline in shown]
        more, kind = {"lossless": True, "exif": exif, "minimize_size": True}, "WEBP"
    else:
        pictures = [_coloured(frame, outline) for frame, outline in shown]
        more, kind = {"pnginfo": _png_text(told)}, "PNG"
    buffer = io.BytesIO()
    first, *rest = pictures
    first.save(buffer, kind, save_all=True, append_images=rest, duration=durations, loop=0, **more)
    write_atomic(out, [buffer.getvalue()])


def _png_text(text: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text(MARK, text)
    return info


def _array(frame: Tensor) -> NDArray[np.uint8]:
    array: NDArray[np.uint8] = frame.permute(1, 2, 0).cpu().numpy()
    return array


def _coloured(frame: Tensor, outline: Tensor) -> Image.Image:
    array = np.repeat(_array(frame), 3 // frame.shape[0], axis=2)
    array[outline.numpy()] = ACCENT
    return Image.fromarray(array)


def _indexed(frame: Tensor, outline: Tensor) -> Image.Image:
    """Return a picture with a palette: greys and `ACCENT`, or what is best for colours."""
    if frame.shape[0] == 3:
        return _coloured(frame, outline).quantize(255)
    array = _array(frame)[:, :, 0].clip(0, 254)
    array[outline.numpy()] = 255
    picture = Image.fromarray(array)
    picture.putpalette([value for grey in range(255) for value in (grey,) * 3] + [*ACCENT])
    return picture
