"""Editing: take cells from another drawing; move, remove, replace and add parts."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from npdraw.drawings.drawing_model import DrawingModel, open_model
from npdraw.drawings.frames import rendered, still
from npdraw.drawings.named import named_drawing, noted
from npdraw.drawings.regions import Region, cells_in
from npdraw.drawings.stamp import stamp
from npdraw.drawings.strokes import as_json, strokes_of, write_drawing
from npdraw.errors import UsageError
from npdraw.model.brush import Brush
from npdraw.model.latents import Latents
from npdraw.pictures.files import check_picture, is_up_to_date, text_of, write_still
from npdraw.runtime.lock import check_output
from npdraw.runtime.run_folder import read_json
from npdraw.runtime.settings import Runtime


@dataclass(frozen=True)
class Changes:
    """Changes to a drawing, in the order in which they are made: `--remove`, `--move`, ..."""

    remove: Sequence[int] = ()
    """Steps that paint."""
    move: Sequence[tuple[int, int]] = ()
    """A step that paints, and the step that does not to which its part moves."""
    replace: Sequence[tuple[int, ...]] = ()
    """A step that paints, and its new part; with ink, its new ink and contrast may follow."""
    add: Sequence[tuple[int, ...]] = ()
    """A step that does not paint, and its part, put at the first placement of the cell; with ink,
    ink and contrast follow."""


def changed(z: Latents, changes: Changes, brush: Brush) -> Latents:
    """Return one drawing, [1, T], with `changes` made in their order: removals first.

    Raises:
        UsageError: a step, part, ink or contrast does not exist, a step paints that should not, or
            the reverse, or a part would move to another layer.
    """
    edited = z.clone()
    steps = edited.whether.shape[1]

    def check(flag: str, step: int, paints: bool) -> None:
        if not 0 <= step < steps:
            raise UsageError(
                f"{flag} {step}: steps are 0..{steps - 1}",
                hint="Steps are the cells of the grid, counted along its rows, layer by layer.",
            )
        if bool(edited.whether[0, step]) != paints:
            state = "paints nothing" if paints else "paints already"
            raise UsageError(
                f"{flag} {step}: step {step} {state}",
                hint="npdraw edit without changes shows the strokes (--json).",
            )

    for step in changes.remove:
        check("--remove", step, True)
        edited.whether[0, step] = False
    for step, to in changes.move:
        check("--move", step, True)
        edited.whether[0, step] = False
        check("--move", to, False)
        _check_layers(step, to, brush)
        edited.put_stroke(0, to, **edited.stroke(0, step))
    for step, *values in changes.replace:
        check("--replace", step, True)
        chosen = _chosen("--replace", step, values, brush, whole=False)
        edited.put_stroke(0, step, **chosen)
    for step, *values in changes.add:
        check("--add", step, False)
        chosen = _chosen("--add", step, values, brush, whole=True)
        edited.put_stroke(0, step, where=0, **chosen)
    return edited.canonical()


def _check_layers(step: int, to: int, brush: Brush) -> None:
    """Raise `UsageError` if two steps are on different layers."""
    one, other = (int(brush.layout.layer_of[s]) + 1 for s in (step, to))
    if one != other:
        raise UsageError(
            f"--move {step}:{to}: step {step} is on layer {one}, step {to} on layer {other}",
            hint="Parts of different layers have different sizes; --remove and --add instead.",
        )


def _chosen(
    flag: str, step: int, values: Sequence[int], brush: Brush, *, whole: bool
) -> dict[str, int]:
    """Return part, ink and contrast of a stroke that is replaced or, if `whole`, added."""
    names = ["part", "ink", "contrast"] if brush.inked else ["part"]
    sizes = {**brush.sizes, "part": brush.sizes["what"]}
    text = ":".join(map(str, (step, *values)))
    if len(values) != len(names) and (whole or len(values) != 1):
        form = ":".join(["STEP", *(name.upper() for name in names)])
        raise UsageError(
            f"{flag} {text}: strokes of this model are {form}",
            hint="npdraw edit without changes shows the strokes (--json).",
        )
    for name, value in zip(names, values, strict=False):
        if not 0 <= value < sizes[name]:
            raise UsageError(
                f"{flag} {text}: {name}s are 0..{sizes[name] - 1}",
                hint="npdraw report shows the part bank of the model.",
            )
    chosen = dict(zip(names, values, strict=False))
    return {"what": chosen.pop("part"), **chosen}


UNSEEN = "the canvas is as before: the changes do not show (nor does a part at contrast 0)"
"""What `edit` says if strokes changed, but nothing that is painted."""


def edit(
    model_path: Path,
    *,
    name: str,
    other: str | None,
    region: Region | None,
    changes: Changes,
    root: Path,
    out: Path,
    runtime: Runtime,
) -> dict[str, Any]:
    """Edit a drawing; write a picture and, with the suffix `.json`, the edited drawing.

    First the cells of `region` are taken from `other`, then `changes` are made. The picture shows
    the drawing, `other` if given, and the edited drawing, canvases above decoded images. Returns
    the result of `npdraw edit --json`.
    """
    if (other is None) != (region is None):
        raise UsageError("--from and --region go together", hint="Give both, or neither.")
    check_picture(out, force=runtime.force)
    model = open_model(model_path, runtime)
    sources = [named_drawing(name, model, root)]
    before = sources[0].drawing
    shown, after = [before], before
    if other is not None and region is not None:
        sources.append(named_drawing(other, model, root))
        shown.append(sources[1].drawing)
        after = before.with_cells(cells_in(region, model), sources[1].drawing)
    after = changed(after, changes, model.brush)
    shown.append(after)
    changed_steps = before.differs(after)[0].nonzero().flatten().tolist()
    unseen = changed_steps and torch.equal(model.paint(before), model.paint(after))
    result = {
        "changed_steps": changed_steps,
        "strokes": strokes_of(after, model.layout),
        "drawing": str(out.with_suffix(".json")),
        "out": str(out),
        **noted(*sources, more=[UNSEEN] if unseen else []),
    }
    for written in (out, out.with_suffix(".json")):
        check_output(written, [Path(named) for named in (name, other or "")])
    return result | write_drawings(model, "edit", shown, out, after)


def decode(
    model_path: Path, *, drawing: str, root: Path, out: Path, runtime: Runtime
) -> dict[str, Any]:
    """Write the canvas and the decoded image of a drawing, side by side."""
    check_picture(out, force=runtime.force)
    model = open_model(model_path, runtime)
    named = named_drawing(drawing, model, root)
    z = named.drawing
    result = {"strokes": len(strokes_of(z, model.layout)), "out": str(out)}
    return result | noted(named) | write_drawings(model, "decode", [z], out, None)


def write_drawings(
    model: DrawingModel, command: str, shown: list[Latents], out: Path, kept: Latents | None
) -> dict[str, Any]:
    """Write the drawings `shown`, canvases above decoded images, and the drawing `kept` as JSON.

    Without `kept`, canvases and decoded images are side by side. Returns "up_to_date" if nothing
    had to be written.
    """
    path, text, written = out.with_suffix(".json"), stamp(command, model, shown), True
    if kept is not None:
        values = as_json(kept, model.brush)
        text = stamp(command, model, shown, written=_digest(values))
        written = _is_written(path, values, out, force=model.runtime.force)
    if is_up_to_date(out, text, force=model.runtime.force) and written:
        return {"up_to_date": True}
    pairs = [rendered(model, z) for z in shown]
    rows = [torch.cat([pair[row] for pair in pairs]) for row in range(2)]
    if kept is None:
        rows = [torch.cat(rows)]
    else:
        write_drawing(path, kept, model.brush)
    write_still(out, still(rows), text)
    return {}


def _is_written(path: Path, values: Mapping[str, Any], picture: Path, *, force: bool) -> bool:
    """Return whether a file holds the drawing `values`.

    Raises:
        UsageError: without `force`, if it holds neither `values` nor the drawing that was written
            with `picture`: somebody may have changed it.
    """
    if not path.is_file():
        return False
    content = read_json(path)
    if content == values or force:
        return content == values
    written = None
    with suppress(ValueError, TypeError, KeyError):  # not a picture, or one with another text
        written = json.loads((picture.is_file() and text_of(picture)) or "")["written"]
    if _digest(content) != written:
        raise UsageError(
            f"{path} exists and is not as npdraw edit wrote it",
            hint="Choose another --out, or use --force to replace it.",
        )
    return False


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
