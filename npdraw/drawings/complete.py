"""Completion: keep given strokes and resample the rest, once per seed."""

from pathlib import Path
from typing import Any

import torch

from npdraw.drawings.drawing_model import DrawingModel, open_model
from npdraw.drawings.frames import rendered, still
from npdraw.drawings.named import named_drawing, noted
from npdraw.drawings.regions import Region, cells_in
from npdraw.drawings.stamp import stamp
from npdraw.drawings.strokes import strokes_of
from npdraw.errors import UsageError
from npdraw.model.latents import Latents, blank
from npdraw.pictures.files import check_picture, is_up_to_date, write_still
from npdraw.runtime.progress import Progress
from npdraw.runtime.settings import Runtime


def complete(
    model_path: Path,
    *,
    name: str | None,
    prefix: int | None,
    region: Region | None,
    seeds: list[int],
    label: str | None = None,
    temperature: float,
    root: Path,
    out: Path,
    runtime: Runtime,
    progress: Progress,
) -> dict[str, Any]:
    """Complete a drawing once per seed; write a picture of the given strokes and all completions.

    The drawing `name` (see `named.named_drawing`) fixes, with `prefix`, its first
    strokes and the blank cells before the last of them; with `region`, all cells inside, blank ones
    too; with neither, all its strokes, and any other cell may be painted. Without `name` nothing is
    fixed. What is sampled follows p(z), or p(z | label) for the class `label`. The picture has
    pairs of canvas and decoded image, the given strokes first. Returns the result of `npdraw
    complete --json`.

    Raises:
        UsageError: the settings contradict each other, or name strokes or cells that do not exist.
    """
    # Which cells are fixed.
    _check(name, prefix, region)
    check_picture(out, force=runtime.force)
    model = open_model(model_path, runtime)
    named = None if name is None else named_drawing(name, model, root)
    empty = blank(1, model.layout.steps, inked=model.brush.inked)
    given = empty if named is None else named.drawing
    fixed = _fixed(given, name is not None, prefix, region, model)

    # Complete the drawing.
    drawn = []
    progress.start("complete", len(seeds), unit="drawings")
    for seed in seeds:
        drawn.append(model.complete(given, fixed, 1, seed, temperature=temperature, label=label))
        progress.update(len(drawn))
    progress.finish()

    # Write the picture, unless it is up to date.
    kept = given.only(fixed)
    shown = [kept, *drawn] if fixed.any() else drawn
    result = {
        "given": strokes_of(kept, model.layout),
        "drawings": [
            {"seed": s, "strokes": strokes_of(z, model.layout)}
            for s, z in zip(seeds, drawn, strict=True)
        ],
        "out": str(out),
        **({} if named is None else noted(named)),
    }
    text = stamp("complete", model, shown)
    if is_up_to_date(out, text, force=runtime.force):
        return result | {"up_to_date": True}
    pairs = [rendered(model, z) for z in shown]
    rows = [torch.cat([pair[row] for pair in pairs]) for row in range(2)]
    write_still(out, still(rows), text)
    return result


def _check(name: str | None, prefix: int | None, region: Region | None) -> None:
    """Raise `UsageError` if the settings contradict each other."""
    if name is None and (prefix is not None or region is not None):
        raise UsageError(
            "--prefix and --region need an --image to apply to", hint="For example: --image seed:0"
        )
    if prefix is not None and region is not None:
        raise UsageError("--prefix and --region exclude each other", hint="Give one of them.")


def _fixed(
    given: Latents, named: bool, prefix: int | None, region: Region | None, model: DrawingModel
) -> torch.Tensor:
    """Return which cells are fixed, bool [T]."""
    steps = model.layout.steps
    if region is not None:
        return cells_in(region, model)
    if prefix is None:
        return given.whether[0] & named
    strokes = given.whether[0].nonzero().flatten().tolist()
    if not 0 <= prefix <= len(strokes):
        raise UsageError(
            f"--prefix {prefix}, but the drawing has {len(strokes)} strokes",
            hint=f"Give a number from 0 to {len(strokes)}.",
        )
    end = 0 if prefix == 0 else steps if prefix == len(strokes) else strokes[prefix - 1] + 1
    return torch.arange(steps) < end
