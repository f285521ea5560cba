"""Picture files, still and moving: written by npdraw and recognised as its own.

Every picture holds a text that describes what it shows. From it the same command sees that the
picture is up to date, and another command that it may replace it. Pictures that npdraw did not make
are only replaced with --force.
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
"""Key of the text in a PNG, first word of it in the comment of a GIF or the EXIF of a WebP."""

ACCENT = 255, 80, 40
"""RGB of the outline of the stroke that was painted last."""

_DESCRIPTION = 0x010E
"""Number of the EXIF entry ImageDescription."""

STILL, MOVING = (".png",), (".gif", ".apng", ".png", ".webp")
"""Suffixes of picture files; `.png` and `.apng` may hold animations too."""

HOLD_MS = 1600
"""How long the last frame of an animation is shown, milliseconds."""


def check_picture(out: Path, *, suffixes: Sequence[str] = STILL, force: bool) -> None:
    """Refuse an output that cannot be written, before anything is computed for it.

    Raises:
        UsageError: `out` has another suffix or cannot be a file; or it exists, npdraw did not make
            it, and `force` is not set.
    """
    check_output(out, ())
    if out.suffix.lower() not in suffixes:
        raise UsageError(
            f"{out} does not end in {' or '.join(suffixes)}", hint="Choose another --out."
        )
    if not force and out.is_file() and text_of(out) is None:
        raise UsageError(
            f"{out} exists and is not a picture that npdraw made",
            hint="Choose another --out, or add --force to replace it.",
        )


def is_up_to_date(
    out: Path, text: Mapping[str, Any], *, suffixes: Sequence[str] = STILL, force: bool
) -> bool:
    """Return whether `out` is a picture with this `text`; raises as `check_picture`."""
    check_picture(out, suffixes=suffixes, force=force)
    sweep_temporaries(out)
    return not force and out.is_file() and text_of(out) == json.dumps(text)


def text_of(path: Path) -> str | None:
    """Return the text that npdraw wrote into a picture; None if npdraw did not make it."""
    try:
        with Image.open(path, formats=["PNG", "GIF", "WEBP"]) as picture:
            if picture.format == "PNG":
                text = picture.info.get(MARK)
            elif picture.format == "GIF":
                text = picture.info.get("comment", b"").decode("utf-8", "replace")
            else:
                text = picture.getexif().get(_DESCRIPTION)
    except (OSError, SyntaxError, ValueError):
        return None
    if not isinstance(text, str):
        return None
    if picture.format == "PNG":
        return text
    mark, _, rest = text.partition(" ")
    return rest if mark == MARK else None


def png(pixels: Tensor, text: str = "") -> bytes:
    """Encode uint8 [C, H, W] (C 1: mode L, 3: RGB) as PNG, with `text` under the key `MARK`."""
    array = pixels.permute(1, 2, 0).cpu().numpy()
    picture = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=_png_text(text), compress_level=6)
    return buffer.getvalue()


def write_still(out: Path, pixels: Tensor, text: Mapping[str, Any]) -> None:
    """Write uint8 [C, H, W] as PNG; `text` describes what it shows."""
    write_atomic(out, [png(pixels, json.dumps(text))])


def write_moving(
    out: Path,
    frames: Sequence[Tensor],
    outlines: Sequence[Tensor],
    text: Mapping[str, Any],
    frame_ms: int,
) -> None:
    """Write an animation in the format of the suffix of `out`; see `encoded`."""
    content = encoded(out.suffix.lower(), frames, outlines, json.dumps(text), frame_ms)
    write_atomic(out, [content])


def encoded(
    suffix: str,
    frames: Sequence[Tensor],
    outlines: Sequence[Tensor],
    description: str,
    frame_ms: int,
) -> bytes:
    """Return an animation of frames, uint8 [C, H, W] each, in the format of one of `MOVING`.

    `outlines` bool [H, W], one per frame, are drawn in `ACCENT`. A frame is shown for `frame_ms`
    milliseconds, the last one for `HOLD_MS`; then the animation repeats. Grey frames of a GIF keep
    their values, except that 255 becomes 254; a GIF in colour has 255 colours chosen by Pillow.
    """
    durations = [frame_ms] * (len(frames) - 1) + [HOLD_MS]
    outlined = zip(frames, outlines, strict=True)
    if suffix == ".gif":
        pictures = [_indexed(frame, outline) for frame, outline in outlined]
        more: dict[str, Any] = {"optimize": False, "comment": f"{MARK} {description}".encode()}
        kind = "GIF"
    elif suffix == ".webp":
        exif = Image.Exif()
        exif[_DESCRIPTION] = f"{MARK} {description}"
        pictures = [_coloured(frame, outline) for frame, outline in outlined]
        more, kind = {"lossless": True, "exif": exif, "minimize_size": True}, "WEBP"
    else:
        pictures = [_coloured(frame, outline) for frame, outline in outlined]
        more, kind = {"pnginfo": _png_text(description)}, "PNG"
    buffer = io.BytesIO()
    first, *rest = pictures
    first.save(buffer, kind, save_all=True, append_images=rest, duration=durations, loop=0, **more)
    return buffer.getvalue()


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
    """Return a picture with a palette: greys and `ACCENT`, or for colour what Pillow chooses."""
    if frame.shape[0] == 3:
        return _coloured(frame, outline).quantize(255)
    array = _array(frame)[:, :, 0].clip(0, 254)
    array[outline.numpy()] = 255
    picture = Image.fromarray(array)
    picture.putpalette([value for grey in range(255) for value in (grey,) * 3] + [*ACCENT])
    return picture
