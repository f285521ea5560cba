"""The layout of the tensors in an artifact: the canonical form of a safetensors file.

The safetensors library writes and reads the tensors (`npdraw.artifacts`). Its layout is restated
here so that every byte of a header can be checked without that library or torch.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

DTYPES: Mapping[str, tuple[str, int]] = {
    "I64": ("int64", 8),
    "F32": ("float32", 4),
    "BF16": ("bfloat16", 2),
    "I16": ("int16", 2),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
}
"""Allowed dtypes: safetensors' name -> (torch's name, bytes per element), in storage order."""

MAX_TEXT = 256
"""The most characters of a name or of a value in the header."""

_MAX_ELEMENTS = 1 << 48  # with sides of 0 counted as 1, so that torch's strides cannot overflow
_MAX_AXES = 8


class OddHeaderError(ValueError):
    """A header that no artifact can have: damage when read, a caller's bug when written."""


class Entry(NamedTuple):
    """A tensor's place in the file: bytes `start` to `end`, counted from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def layout(specs: Iterable[tuple[str, str, Sequence[int]]]) -> list[Entry]:
    """Lay out tensors (name, dtype, shape) as safetensors does: widest dtype first, then by name.

    Raises:
        OddHeaderError: a name, dtype or shape is not allowed in an artifact.
    """
    entries: list[Entry] = []
    start = 0
    order = list(DTYPES)
    for name, dtype, shape in sorted(specs, key=lambda spec: (order.index(spec[1]), spec[0])):
        if (
            not (name.isascii() and name.isprintable())
            or len(name) > MAX_TEXT
            or name in ("", "__metadata__")
        ):
            raise OddHeaderError(f"a tensor has the name {name!r:.40}")
        if (
            len(shape) > _MAX_AXES
            or any(type(side) is not int or not 0 <= side <= _MAX_ELEMENTS for side in shape)
            or math.prod(max(side, 1) for side in shape) > _MAX_ELEMENTS
        ):
            raise OddHeaderError(f"tensor {name} has the shape {shape!r:.40}")
        end = start + math.prod(shape) * DTYPES[dtype][1]
        entries.append(Entry(name, dtype, tuple(shape), start, end))
        start = end
    return entries


def size_of(entries: Sequence[Entry]) -> int:
    """Return the total size of the tensors in bytes."""
    return entries[-1].end if entries else 0


def render(text: str, entries: Iterable[Entry]) -> bytes:
    """Return all bytes that precede the first tensor, exactly as safetensors writes them.

    `text` is the value of the one metadata key, `npdraw`.
    """
    tensors = {
        entry.name: {
            "dtype": entry.dtype,
            "shape": entry.shape,
            "data_offsets": (entry.start, entry.end),
        }
        for entry in entries
    }
    head = {"__metadata__": {"npdraw": text}} | tensors
    raw = json.dumps(head, separators=(",", ":")).encode("ascii")
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw
