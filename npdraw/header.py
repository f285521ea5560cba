"""The header of an artifact: what the file says about itself, read without torch or numpy.

An artifact is a safetensors file with one metadata key, `npdraw`, holding one JSON string.
safetensors checks offsets, not values, so we check both: the header must be byte-equal to its
canonical form (what safetensors writes for these tensors), and `digest` covers the metadata and
every byte of every tensor.
"""

import hashlib
import json
import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from npdraw.errors import FAILING, ArtifactError
from npdraw.files import REINSTALL, SHIPPED

SCHEMAS: Mapping[str, int] = {"parse": 1, "prior": 1, "model": 1, "drawings": 1, "checkpoint": 1}
"""The schema of each kind that is written, and the only one that is read."""

COMMANDS: Mapping[str, str] = {
    "parse": "npdraw parse",
    "prior": "npdraw train-prior",
    "model": "npdraw train-decoder",
    "drawings": "npdraw sample",
}
"""The command that makes each kind; a checkpoint is made by what goes on from it."""

DTYPES: Mapping[str, tuple[str, int]] = {
    "I64": ("int64", 8),
    "F32": ("float32", 4),
    "BF16": ("bfloat16", 2),
    "I16": ("int16", 2),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
}
"""safetensors' name -> torch's name and bytes an element, in the order safetensors stores them."""

# What a header may ask for before anything is known of it: some 150 MB and a second or two at most.
_MAX_HEADER = 10 << 20  # bytes; ours have some thousand, the seeds of many samples 7 million
_MAX_GROUPS = 1 << 16  # lists and objects, of which each tensor has three
_MAX_ELEMENTS = 1 << 48  # counting sides of 0 as 1, so that torch's strides cannot overflow
_MAX_AXES = 8
_MAX_TEXT = 256  # characters of a name or value
_MAX_DEPTH = 5  # of the metadata
_BLOCK = 1 << 20  # bytes hashed at a time


@dataclass(frozen=True)
class Header:
    """What an artifact says about itself; equal runs have equal headers.

    `inputs` maps the role of each artifact it was made from to that artifact's digest; `metrics`
    are finite numbers; `digest` (64 hexadecimal digits) covers all of this and the tensors.
    """

    kind: str
    schema: int
    config: dict[str, Any]
    dataset: dict[str, Any]
    inputs: dict[str, str]
    seed: int
    metrics: dict[str, float]
    digest: str


class OddHeaderError(ValueError):
    """A header that no artifact has, and why: damage when read, a caller's bug when written."""


class Entry(NamedTuple):
    """Where a tensor lies: bytes `start` to `end` counted from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_header(path: Path, *, kind: str | None = None, verify: bool = False) -> Header:
    """Read what an artifact says about itself; `kind` None accepts any kind.

    Kind, schema, structure and sizes are always checked; with `verify` also the digest over all
    bytes.

    Raises:
        ArtifactError: no such file, not an artifact, another kind or schema, or damaged.
    """
    with opened(path, kind) as file:
        header, entries, begin = read_head(file, path, kind)
        if verify:

            def blocks(entry: Entry) -> Iterator[bytes]:
                file.seek(begin + entry.start)
                for start in range(entry.start, entry.end, _BLOCK):
                    yield file.read(min(_BLOCK, entry.end - start))

            check_digest(path, header, entries, blocks)
    return header


@contextmanager
def opened(path: Path, kind: str | None) -> Iterator[BufferedReader]:
    """Open a regular file for reading, with every reason it cannot be read as `ArtifactError`."""
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ArtifactError(f"{path} is not a regular file", hint="Name an artifact's file")
            yield file
    except IsADirectoryError as error:
        raise ArtifactError(f"{path} is a folder", hint="Name an artifact's file") from error
    except FileNotFoundError as error:
        make = f"Make it: {_command(kind)}"
        raise ArtifactError(f"there is no file {path}", hint=make) from error
    except OSError as error:
        if error.errno in FAILING:
            raise
        raise ArtifactError(
            f"cannot read {path}: {error.strerror or error}", hint="Check its path and permissions"
        ) from error


def read_head(
    file: BufferedReader, path: Path, kind: str | None
) -> tuple[Header, list[Entry], int]:
    """Return the header, where the tensors lie, and at which byte of the file they begin."""
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise damaged_error(path, kind, "it is empty")
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= _MAX_HEADER:
        raise ArtifactError(f"{path} is not an artifact", hint=f"Make one: {_command(kind)}")
    if 8 + length > size:
        raise damaged_error(path, kind, f"it ends inside its header, after {size} bytes")
    raw = file.read(length)
    try:
        if raw.count(b"[") + raw.count(b"{") > _MAX_GROUPS:
            raise OddHeaderError("its header has too many entries")
        tensors = json.loads(raw.decode("ascii"), object_pairs_hook=_no_duplicates)
        text = tensors.pop("__metadata__")["npdraw"]
        values = json.loads(text, object_pairs_hook=_no_duplicates)
        _check_kind(path, kind, values["kind"], values["schema"])
        header = parse_metadata(values)
        entries = layout((name, spec["dtype"], spec["shape"]) for name, spec in tensors.items())
        # Equality settles what is not looked at above: offsets, order, padding, blanks.
        if text != canonical(values) or raw != render(text, entries)[8:]:
            raise OddHeaderError("its header is not in canonical form")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        odd = isinstance(error, OddHeaderError)
        reason = str(error) if odd else "its header is not npdraw's"
        raise damaged_error(path, kind, reason) from error
    expected = 8 + length + (entries[-1].end if entries else 0)
    if size != expected:
        raise damaged_error(path, kind, f"it has {size} bytes, expected {expected}")
    return header, entries, 8 + length


def _check_kind(path: Path, kind: str | None, found: Any, schema: Any) -> None:
    if found not in SCHEMAS or type(schema) is not int or not 0 <= schema < 1 << 16:
        raise OddHeaderError(f"its kind {found!r:.40} is unknown, or has no schema")
    if kind is not None and found != kind:
        raise ArtifactError(
            f"{path} is a {found}, expected a {kind}",
            hint=f"Pass a {kind}, or make one: {_command(kind)}",
        )
    if schema != SCHEMAS[found]:
        age = "a newer" if schema > SCHEMAS[found] else "an older"
        raise ArtifactError(
            f"{path} was written by {age} npdraw: "
            f"its schema is {schema}, expected {SCHEMAS[found]}",
            hint=f"Use that npdraw, or make it again: {_command(found)} --force",
        )


def parse_metadata(values: dict[str, Any]) -> Header:
    """Return `values` as a `Header`; TypeError or OddHeaderError if it is none."""
    header = Header(**values)
    _check_plain(values, _MAX_DEPTH)
    if not (
        all(
            type(field) is dict
            for field in (header.config, header.dataset, header.inputs, header.metrics)
        )
        and type(header.seed) is int
        and header.seed >= 0
        and all(type(value) in (int, float) for value in header.metrics.values())
        and all(is_digest(value) for value in (header.digest, *header.inputs.values()))
    ):
        raise OddHeaderError("a field of its header has another type")
    return header


def _check_plain(value: Any, depth: int) -> None:
    """Raise OddHeaderError for what cannot be told in a line or does not fit a machine's number."""
    parts: Iterable[Any] = ()
    if isinstance(value, Mapping):
        parts = chain(value, value.values())
    elif isinstance(value, list | tuple):
        parts = value
    if (
        depth == 0
        or (type(value) is int and not -(1 << 63) <= value < 1 << 63)
        or (type(value) is str and not (len(value) <= _MAX_TEXT and value.isprintable()))
    ):
        raise OddHeaderError("its header has a value that is too large, too long or too deep")
    for part in parts:
        _check_plain(part, depth - 1)


def is_digest(value: Any) -> bool:
    """Whether `value` is a SHA-256 as we write it."""
    return type(value) is str and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise OddHeaderError("its header has a name twice")
    return values


def layout(specs: Iterable[tuple[str, str, Sequence[int]]]) -> list[Entry]:
    """Lay tensors (name, dtype, shape) out as safetensors does: wide dtypes first, then by name.

    Raises OddHeaderError for a name, dtype or shape that no artifact has.
    """
    entries: list[Entry] = []
    start = 0
    order = list(DTYPES)
    for name, dtype, shape in sorted(specs, key=lambda spec: (order.index(spec[1]), spec[0])):
        if (
            not (name.isascii() and name.isprintable())
            or len(name) > _MAX_TEXT
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


def render(text: str, entries: Iterable[Entry]) -> bytes:
    """Return the file up to its first tensor's first byte, exactly as safetensors writes it."""
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


def canonical(values: Any) -> str:
    """Return the one JSON text of `values`; ValueError if a number is not finite."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(
    unsigned: Mapping[str, Any],
    entries: Iterable[Entry],
    read: Callable[[Entry], Iterable[bytes | memoryview]],
) -> str:
    """Return the SHA-256 over the metadata and each tensor's name, dtype, shape and bytes.

    `unsigned` is the metadata without its digest; `read` gives the bytes of a tensor.
    """
    digest = hashlib.sha256(canonical(unsigned).encode("ascii"))
    for entry in sorted(entries):
        digest.update(canonical([entry.name, entry.dtype, entry.shape]).encode("ascii"))
        for block in read(entry):
            digest.update(block)
    return digest.hexdigest()


def check_digest(
    path: Path,
    header: Header,
    entries: Iterable[Entry],
    read: Callable[[Entry], Iterable[bytes | memoryview]],
) -> None:
    """Raise `ArtifactError` unless the digest in `header` is that of its fields and tensors."""
    unsigned = dict(vars(header))
    if unsigned.pop("digest") != digest_of(unsigned, entries, read):
        raise damaged_error(path, header.kind, "its bytes do not match its digest")


def damaged_error(path: Path, kind: str | None, reason: str) -> ArtifactError:
    """Return the error for a file that is not what a command of ours once wrote."""
    ours = path.parent.resolve() in SHIPPED
    again = REINSTALL if ours else f"Make it again: {_command(kind)} --force"
    return ArtifactError(f"{path} is damaged: {reason}", hint=again)


def _command(kind: str | None) -> str:
    if kind == "checkpoint":
        return "the same command"
    *others, last = COMMANDS.values()
    return COMMANDS[kind] if kind else f"{', '.join(others)} or {last}"
