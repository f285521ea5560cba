"""Drawings as JSON, for people and their tools: a list of strokes.

    {"npdraw": "drawing", "schema": 1, "bank": "3f9a1c...", "canvas": [28, 28], "part_size": 4,
     "strokes": [{"step": 9, "row": 4, "column": 8, "part": 17}, ...]}

Strokes with ink also have an ink and a contrast, and may be on several layers, one part size each:

    {..., "part_size": [8, 4], "strokes": [{"step": 20, "row": 0, "column": 16, "part": 17,
     "ink": 3, "contrast": 5}, ...]}

`step` is the cell, counted from 0 along the rows of the grid, and from one layer to the next; each
cell has at most one stroke, and strokes are in the order of their cells. `row` and `column` are the
top-left pixel of the part on the canvas; at the edges it may lie outside. `part` is a row of the
part bank, or of the patterns of the step's layer; `ink` and `contrast` are rows of the layer's
palette and of its contrasts. `bank` is the SHA-256 of the numbers of all these tables, because the
same row of another bank is another part.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from npdraw.errors import ArtifactError
from npdraw.model.brush import Brush
from npdraw.model.latents import Latents, blank
from npdraw.model.layout import Layout
from npdraw.runtime.run_folder import write_json

SCHEMA = 1
_WRITTEN = "A drawing is a JSON file as npdraw edit writes it."

_LONGEST = 16 << 20
"""Largest file in bytes: the strokes of the largest layout take less."""


def bank_digest(brush: Brush) -> str:
    """Return the SHA-256 of the shapes and the fp32 numbers of the tables of a brush."""
    digest = hashlib.sha256()
    for table in brush.tables().values():
        digest.update(json.dumps(list(table.shape)).encode())
        digest.update(table.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def as_json(z: Latents, brush: Brush) -> dict[str, Any]:
    """Return one drawing, [1, T], as values that JSON can hold."""
    layout = brush.layout
    sides = [grid.part_size for grid in layout.grids]
    return {
        "npdraw": "drawing",
        "schema": SCHEMA,
        "bank": bank_digest(brush),
        "canvas": [layout.height, layout.width],
        "part_size": sides if brush.inked else sides[0],
        "strokes": strokes_of(z, layout),
    }


def strokes_of(z: Latents, layout: Layout) -> list[dict[str, int]]:
    """Return the strokes of one drawing, [1, T], in the order in which they are painted."""
    strokes = []
    for step in z.whether[0].nonzero().flatten().tolist():
        chosen = z.stroke(0, step)
        row, column = layout.positions[step, chosen.pop("where")].tolist()
        part = chosen.pop("what")
        strokes.append({"step": step, "row": row, "column": column, "part": part, **chosen})
    return strokes


def write_drawing(path: Path, z: Latents, brush: Brush) -> None:
    """Write one drawing as a JSON file."""
    write_json(path, as_json(z, brush))


def read_drawing(path: Path, brush: Brush) -> Latents:
    """Read a drawing, [1, T].

    Raises:
        ArtifactError: it cannot be read, is not a drawing, or belongs to another bank or layout.
    """
    if path.exists() and not path.is_file():  # reading a pipe would block
        raise _drawing_error(path, "it is not a regular file")
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
        values = json.loads(content) if len(content) <= _LONGEST else None
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}", hint=_WRITTEN) from error
    except (ValueError, RecursionError) as error:
        raise _drawing_error(path, f"it is not JSON: {error}") from error
    return from_json(values, brush, path)


def from_json(values: Any, brush: Brush, source: object = "drawing") -> Latents:
    """Return the drawing, [1, T], that `as_json` turned into `values`; `source` is for errors.

    Raises:
        ArtifactError: it is not a drawing, or belongs to another bank or layout.
    """
    # The file belongs to this bank and layout, and has no other entries.
    if not isinstance(values, Mapping) or values.get("npdraw") != "drawing":
        raise _drawing_error(source, 'it has no "npdraw": "drawing"')
    if values.get("schema") != SCHEMA or values["schema"] is True:
        raise _drawing_error(
            source, f"its schema is {values.get('schema')!r:.40}, expected {SCHEMA}"
        )
    empty = blank(1, brush.layout.steps, inked=brush.inked)
    expected = as_json(empty, brush)
    if values.get("bank") != expected["bank"]:
        raise ArtifactError(
            f"{source} is a drawing with parts of bank {values.get('bank')!s:.6}, but the model "
            f"has {expected['bank'][:6]}",
            hint="Use the model that the drawing was made with.",
        )
    for name in ("canvas", "part_size"):
        if values.get(name) != expected[name]:
            raise _drawing_error(
                source, f"{name} {values.get(name)!r:.40}, expected {expected[name]}"
            )
    surplus = sorted(values.keys() - expected.keys())
    if surplus:
        raise _drawing_error(source, f"unknown {surplus[0]!r:.40}")

    # Its strokes.
    strokes = values.get("strokes")
    if not isinstance(strokes, list):
        raise _drawing_error(source, "its strokes are not a list")
    z, before = empty, -1
    for number, stroke in enumerate(strokes):
        step, chosen = _stroke(stroke, f"stroke {number}", brush, source)
        if step <= before:
            raise _drawing_error(
                source, f"stroke {number} is at step {step}, after that of step {before}"
            )
        z.put_stroke(0, step, **chosen)
        before = step
    return z


def _stroke(stroke: Any, name: str, brush: Brush, source: object) -> tuple[int, dict[str, int]]:
    """Return the step of a stroke, and what it paints, as `Latents.put_stroke` takes it."""
    counts = {"step": brush.layout.steps, "row": 0, "column": 0, "part": brush.sizes["what"]}
    if brush.inked:
        counts |= {key: brush.sizes[key] for key in ("ink", "contrast")}
    if not isinstance(stroke, Mapping):
        raise _drawing_error(source, f"{name} is not an object with {', '.join(counts)}")
    if lacking := [key for key in counts if key not in stroke]:
        raise _drawing_error(source, f"{name} lacks {', '.join(lacking)}")
    if unknown := [key for key in stroke if key not in counts]:
        raise _drawing_error(source, f"{name} has the unknown entry {unknown[0]!r:.40}")
    for key, value in stroke.items():
        if type(value) is not int:
            raise _drawing_error(source, f"{key} of {name} is {value!r:.40}, not a whole number")
    for key, count in counts.items():
        if count and not 0 <= stroke[key] < count:
            raise _drawing_error(source, f"{key} of {name} is {stroke[key]}, not in 0..{count - 1}")
    step, corner = stroke["step"], [stroke["row"], stroke["column"]]
    places: list[list[int]] = brush.layout.positions[step].tolist()
    if corner not in places:
        raise _drawing_error(
            source,
            f"{name} is at row {corner[0]}, column {corner[1]}, where step {step} cannot place it",
            f"Its corner is at {' or '.join(str(place) for place in places[:4])}.",
        )
    chosen: dict[str, int] = {"where": places.index(corner), "what": stroke["part"]}
    return step, chosen | {key: stroke[key] for key in ("ink", "contrast") if key in counts}


def _drawing_error(source: object, problem: str, hint: str = "") -> ArtifactError:
    problem = f"{source} is not a drawing for this model: {problem}"
    return ArtifactError(problem, hint=hint or _WRITTEN)


def fingerprint(z: Latents) -> str:
    """Return the SHA-256 of drawings; what they store at steps that do not paint does not count."""
    z = z.canonical()
    numbers = [x.to(torch.int64).cpu().numpy().tobytes() for x in z.tensors().values()]
    return hashlib.sha256(json.dumps(list(z.what.shape)).encode() + b"".join(numbers)).hexdigest()
