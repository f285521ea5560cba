"""Drawings as JSON, for people and their tools: a list of strokes.

    {"npdraw": "drawing", "schema": 1, "bank": "3f9a1c...", "canvas": [28, 28], "part_size": 4,
     "strokes": [{"step": 9, "row": 4, "column": 8, "part": 17}, ...]}

`step` is the cell, counted from 0 along the rows of the grid; each cell has at most one stroke, and
strokes are in the order of their cells. `row` and `column` are the top-left pixel of the part on
the canvas; at the edges it may lie outside. `part` is a row of the part bank, and `bank` the
SHA-256 of its numbers, because the same row of another bank is another part.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.errors import ArtifactError
from npdraw.model.latents import Latents, blank
from npdraw.model.layout import Layout
from npdraw.runtime.run_folder import write_json

SCHEMA = 1
_WRITTEN = "A drawing is a JSON file as npdraw edit writes it."

_LONGEST = 16 << 20
"""Largest file in bytes: the strokes of the largest layout take less."""

_STROKE = ("step", "row", "column", "part")


def bank_digest(bank: Tensor) -> str:
    """Return the SHA-256 of the shape and the fp32 numbers of a part bank [K, C, P, P]."""
    shape = json.dumps(list(bank.shape)).encode()
    return hashlib.sha256(shape + bank.detach().float().cpu().numpy().tobytes()).hexdigest()


def as_json(z: Latents, bank: Tensor, layout: Layout) -> dict[str, Any]:
    """Return one drawing, [1, T], as values that JSON can hold."""
    return {
        "npdraw": "drawing",
        "schema": SCHEMA,
        "bank": bank_digest(bank),
        "canvas": [layout.height, layout.width],
        "part_size": layout.part_size,
        "strokes": strokes_of(z, layout),
    }


def strokes_of(z: Latents, layout: Layout) -> list[dict[str, int]]:
    """Return the strokes of one drawing, [1, T], in the order in which they are painted."""
    strokes = []
    for step in z.whether[0].nonzero().flatten().tolist():
        row, column = layout.positions[step, int(z.where[0, step])].tolist()
        strokes.append({"step": step, "row": row, "column": column, "part": int(z.what[0, step])})
    return strokes


def write_drawing(path: Path, z: Latents, bank: Tensor, layout: Layout) -> None:
    """Write one drawing as a JSON file."""
    write_json(path, as_json(z, bank, layout))


def read_drawing(path: Path, bank: Tensor, layout: Layout) -> Latents:
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
    return from_json(values, bank, layout, path)


def from_json(values: Any, bank: Tensor, layout: Layout, source: object = "drawing") -> Latents:
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
    expected = as_json(blank(1, layout.steps), bank, layout)
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
    z, before = blank(1, layout.steps), -1
    for number, stroke in enumerate(strokes):
        step, where, part = _stroke(stroke, f"stroke {number}", bank, layout, source)
        if step <= before:
            raise _drawing_error(
                source, f"stroke {number} is at step {step}, after that of step {before}"
            )
        z.put_stroke(0, step, where, part)
        before = step
    return z


def _stroke(
    stroke: Any, name: str, bank: Tensor, layout: Layout, source: object
) -> tuple[int, int, int]:
    """Return step, placement and part of a stroke."""
    if not isinstance(stroke, Mapping) or sorted(stroke) != sorted(_STROKE):
        raise _drawing_error(source, f"{name} has other entries than {', '.join(_STROKE)}")
    for key, value in stroke.items():
        if type(value) is not int:
            raise _drawing_error(source, f"{key} of {name} is {value!r:.40}, not a whole number")
    step, part = stroke["step"], stroke["part"]
    for key, count in (("step", layout.steps), ("part", len(bank))):
        if not 0 <= stroke[key] < count:
            raise _drawing_error(source, f"{key} of {name} is {stroke[key]}, not in 0..{count - 1}")
    corner = [stroke["row"], stroke["column"]]
    places: list[list[int]] = layout.positions[step].tolist()
    if corner not in places:
        raise _drawing_error(
            source,
            f"{name} is at row {corner[0]}, column {corner[1]}, where step {step} cannot place it",
            f"Its corner is at {' or '.join(str(place) for place in places[:4])}.",
        )
    return step, places.index(corner), part


def _drawing_error(source: object, problem: str, hint: str = "") -> ArtifactError:
    problem = f"{source} is not a drawing for this model: {problem}"
    return ArtifactError(problem, hint=hint or _WRITTEN)


def fingerprint(z: Latents) -> str:
    """Return the SHA-256 of drawings; what they store at steps that do not paint does not count."""
    z = z.canonical()
    numbers = [x.to(torch.int64).cpu().numpy().tobytes() for x in (z.whether, z.where, z.what)]
    return hashlib.sha256(json.dumps(list(z.what.shape)).encode() + b"".join(numbers)).hexdigest()
