"""Animations: a canvas that fills part by part, a drawing that turns into another."""

from pathlib import Path
from typing import Any

from npdraw.drawings.drawing_model import DrawingModel, open_model
from npdraw.drawings.frames import check_animation, moving, prefixes, transitions, usual_fps
from npdraw.drawings.named import named_drawing, noted
from npdraw.drawings.stamp import stamp
from npdraw.errors import UsageError
from npdraw.model.latents import Latents
from npdraw.pictures.files import MOVING, check_picture, is_up_to_date, write_moving
from npdraw.runtime.settings import Runtime


def animate(
    model_path: Path,
    *,
    names: list[str],
    root: Path,
    fps: float | None,
    out: Path,
    runtime: Runtime,
) -> dict[str, Any]:
    """Write how the canvas fills part by part, next to the decoded image, for each of `names`.

    See `named.named_drawing` for `names`. Returns the result of `npdraw animate --json`.
    """
    check_animation(len(names), fps)
    check_picture(out, suffixes=MOVING, force=runtime.force)
    model = open_model(model_path, runtime)
    _check_colours(model, out)
    named = [named_drawing(name, model, root) for name in names]
    written = _write("animate", model, [prefixes(one.drawing) for one in named], fps, out)
    return written | noted(*named)


def interpolate(
    model_path: Path,
    *,
    names: tuple[str, str],
    root: Path,
    fps: float | None,
    out: Path,
    runtime: Runtime,
) -> dict[str, Any]:
    """Write how one drawing turns into another, one step at a time.

    Returns the result of `npdraw interpolate --json`.
    """
    check_animation(1, fps)
    check_picture(out, suffixes=MOVING, force=runtime.force)
    model = open_model(model_path, runtime)
    _check_colours(model, out)
    one, other = (named_drawing(name, model, root) for name in names)
    way = transitions(one.drawing, other.drawing)
    return _write("interpolate", model, [way], fps, out) | noted(one, other)


def _check_colours(model: DrawingModel, out: Path) -> None:
    if model.config.parse.channels == 3 and out.suffix.lower() == ".gif":
        raise UsageError(
            f"{out}: a GIF has too few colours", hint="Name an .apng or a .webp with --out."
        )


def _write(
    command: str,
    model: DrawingModel,
    ways: list[tuple[Latents, list[int]]],
    fps: float | None,
    out: Path,
) -> dict[str, Any]:
    strokes = [len(steps) for _, steps in ways]
    frames, fps = 1 + max(strokes), fps or usual_fps(ways)
    result = {"drawings": len(ways), "steps": strokes, "frames": frames, "out": str(out)}
    text = stamp(command, model, [z for z, _ in ways], fps=fps)
    if is_up_to_date(out, text, suffixes=MOVING, force=model.runtime.force):
        return result | {"up_to_date": True}
    shown, outlines = moving(model, ways)
    write_moving(out, shown, outlines, text, round(1000 / fps))
    return result
