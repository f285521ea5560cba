"""Editing: parts of one drawing on another, parts moved, removed, replaced and added."""

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
from npdraw.drawings.named import named_drawing
from npdraw.drawings.regions import Region, cells_in
from npdraw.drawings.stamp import stamp
from npdraw.drawings.strokes import as_json, strokes_of, write_drawing
from npdraw.errors import UsageError
from npdraw.model.latents import Latents
from npdraw.pictures.files import check_picture, is_up_to_date, text_of, write_still
from npdraw.runtime.lock import check_output
from npdraw.runtime.run_folder import read_json
from npdraw.runtime.settings import Runtime


@dataclass(frozen=True)
class Changes:
    """What `--move`, `--remove`, `--replace` and `--add` say; steps and parts as in a drawing."""

    remove: Sequence[int] = ()
    move: Sequence[tuple[int, int]] = ()
    """From a step that paints to one that does not."""
    replace: Sequence[tuple[int, int]] = ()
    """A step that paints, and its new part."""
    add: Sequence[tuple[int, int]] = ()
    """A step that does not paint, and its part; at the first placement of its cell."""


def changed(z: Latents, changes: Changes, parts: int) -> Latents:
    """Return one drawing, [1, T], with `changes` made in their order: removals first.

    Raises:
        UsageError: a step or part is not there, or a step paints that should not, or the reverse.
    """
    found = z.clone()
    steps = found.whether.shape[1]

    def check(flag: str, step: int, paints: bool) -> None:
        if not 0 <= step < steps:
            raise UsageError(f"{flag} {step}: steps are 0..{steps - 1}")
        if bool(found.whether[0, step]) != paints:
            state = "paints nothing" if paints else "paints already"
            raise UsageError(
                f"{flag} {step}: step {step} {state}",
                hint="npdraw edit without changes shows the strokes (--json).",
            )

    def put(flag: str, step: int, where: int, part: int) -> None:
        if not 0 <= part < parts:
            raise UsageError(f"{flag} {step}:{part}: parts are 0..{parts - 1}")
        found.put_stroke(0, step, where, part)

    for step in changes.remove:
        check("--remove", step, True)
        found.whether[0, step] = False
    for step, to in changes.move:
        check("--move", step, True)
        found.whether[0, step] = False
        check("--move", to, False)
        put("--move", to, int(found.where[0, step]), int(found.what[0, step]))
    for step, part in changes.replace:
        check("--replace", step, True)
        put("--replace", step, int(found.where[0, step]), part)
    for step, part in changes.add:
        check("--add", step, False)
        put("--add", step, 0, part)
    return found.canonical()


def edit(
    model_path: Path,
    *,
    word: str,
    other: str | None,
    region: Region | None,
    changes: Changes,
    root: Path,
    out: Path,
    runtime: Runtime,
) -> dict[str, Any]:
    """Edit a drawing; write a picture of it and, with the suffix `.json`, the edited drawing.

    First the cells of `region` are taken from `other`, then `changes` are made. The picture shows
    the drawing, `other` if there is one, and the edited one, canvases above decoded images.
    """
    if (other is None) != (region is None):
        raise UsageError("--from and --region go together", hint="Give both, or neither.")
    check_picture(out, force=runtime.force)
    model = open_model(model_path, runtime)
    before = named_drawing(word, model, root).drawing
    shown, after = [before], before
    if other is not None and region is not None:
        source = named_drawing(other, model, root).drawing
        shown.append(source)
        after = before.with_cells(cells_in(region, model), source)
    after = changed(after, changes, len(model.bank))
    shown.append(after)
    result = {
        "changed_steps": before.differs(after)[0].nonzero().flatten().tolist(),
        "strokes": strokes_of(after, model.layout),
        "drawing": str(out.with_suffix(".json")),
        "out": str(out),
    }
    for written in (out, out.with_suffix(".json")):
        check_output(written, [Path(named) for named in (word, other or "")])
    return result | write_drawings(model, "edit", shown, out, after)


def decode(
    model_path: Path, *, drawing: str, root: Path, out: Path, runtime: Runtime
) -> dict[str, Any]:
    """Write the canvas and the decoded image of a drawing, side by side."""
    check_picture(out, force=runtime.force)
    model = open_model(model_path, runtime)
    z = named_drawing(drawing, model, root).drawing
    result = {"strokes": len(strokes_of(z, model.layout)), "out": str(out)}
    return result | write_drawings(model, "decode", [z], out, None)


def write_drawings(
    model: DrawingModel, command: str, shown: list[Latents], out: Path, kept: Latents | None
) -> dict[str, Any]:
    """Write canvases above decoded images, and the drawing `kept` beside them as JSON."""
    path, text, written = out.with_suffix(".json"), stamp(command, model, shown), True
    if kept is not None:
        values = as_json(kept, model.bank, model.layout)
        text = stamp(command, model, shown, written=_digest(values))
        written = _is_written(path, values, out, force=model.runtime.force)
    if is_up_to_date(out, text, force=model.runtime.force) and written:
        return {"up_to_date": True}
    pairs = [rendered(model, z) for z in shown]
    rows = [torch.cat([pair[row] for pair in pairs]) for row in range(2)]
    if kept is None:
        rows = [torch.cat(rows)]
    else:
        write_drawing(path, kept, model.bank, model.layout)
    write_still(out, still(rows), text)
    return {}


def _is_written(path: Path, values: Mapping[str, Any], picture: Path, *, force: bool) -> bool:
    """Whether a file holds the drawing `values`.

    Raises:
        UsageError: it holds something else than what `picture` was written with, as a drawing that
            somebody changed, and `force` is not given.
    """
    if not path.is_file():
        return False
    found = read_json(path)
    if found == values or force:
        return found == values
    written = None
    with suppress(ValueError, TypeError, KeyError):  # no picture, or with another text
        written = json.loads((picture.is_file() and text_of(picture)) or "")["written"]
    if _digest(found) != written:
        raise UsageError(
            f"{path} is there and is not as npdraw edit wrote it",
            hint="Choose another --out, or --force to replace it.",
        )
    return False


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
