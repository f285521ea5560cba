"""The header of an artifact: what the file says about itself, read without torch or numpy.

An artifact is a safetensors file with one metadata key, `npdraw`, whose value is a JSON text.
safetensors checks offsets but not values, so two checks are added: the header must equal its
canonical form (what safetensors writes for these tensors) byte for byte, and `digest` covers the
metadata and every byte of every tensor.
"""

import hashlib
import json
import os
import shlex
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import Any

from npdraw.errors import FAILING, ArtifactError
from npdraw.files import REINSTALL, SHIPPED, SHIPPED_FEATURES
from npdraw.tensor_layout import MAX_TEXT, Entry, OddHeaderError, layout, render, size_of

SCHEMAS: Mapping[str, int] = {
    "parse": 1,
    "prior": 1,
    "model": 1,
    "drawings": 1,
    "features": 1,
    "checkpoint": 1,
}
"""The schema of each kind: the one that is written, and the only one that is read."""

COMMANDS: Mapping[str, str] = {
    "parse": "npdraw parse",
    "prior": "npdraw train-prior",
    "model": "npdraw train-decoder",
    "drawings": "npdraw sample",
    "features": "npdraw train-features",
}
"""The command that makes each kind; a checkpoint is made by the command that resumes from it."""

_WRITERS = "Artifacts are written by {} and {}.".format(
    ", ".join(list(COMMANDS.values())[:-1]), list(COMMANDS.values())[-1]
)
"""Hint where the kind is unknown."""

# Limits on an untrusted header: parsing it takes at most some 150 MB and a second or two.
_MAX_HEADER = 10 << 20  # bytes; usually a few thousand, 7 million with a million seeds
_MAX_GROUPS = 1 << 16  # lists and objects; each tensor has three
_MAX_DEPTH = 5  # levels of nesting in the metadata
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


def read_header(path: Path, *, kind: str | None = None, verify: bool = False) -> Header:
    """Read what an artifact says about itself; with `kind` None any kind is accepted.

    Kind, schema, structure and sizes are always checked, and with `verify` also the digest over
    all bytes.

    Raises:
        ArtifactError: the file is missing, not an artifact, of another kind or schema, or damaged.
    """
    with opened(path, kind) as file:
        header, entries, head = read_head(file, path, kind)
        if verify:

            def blocks(entry: Entry) -> Iterator[bytes]:
                file.seek(len(head) + entry.start)
                for start in range(entry.start, entry.end, _BLOCK):
                    yield file.read(min(_BLOCK, entry.end - start))

            check_digest(path, header, entries, blocks)
    return header


@contextmanager
def opened(path: Path, kind: str | None) -> Iterator[BufferedReader]:
    """Open a regular file for reading; raise `ArtifactError` for whatever makes it unreadable."""
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ArtifactError(f"{path} is not a regular file", hint="Name an artifact file.")
            yield file
    except IsADirectoryError as error:
        raise ArtifactError(f"{path} is a folder", hint="Name an artifact file.") from error
    except FileNotFoundError as error:
        make = f"Make it: {_command(kind)}" if kind else f"Check its path. {_WRITERS}"
        raise ArtifactError(f"there is no file {path}", hint=make) from error
    except OSError as error:
        if error.errno in FAILING:
            raise
        raise ArtifactError(
            f"cannot read {path}: {error.strerror or error}", hint="Check its path and permissions."
        ) from error


def read_head(
    file: BufferedReader, path: Path, kind: str | None
) -> tuple[Header, list[Entry], bytes]:
    """Return the header, the layout of the tensors, and the bytes that precede them in the file."""
    # Check sizes before any memory is taken.
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise damaged_error(path, kind, "it is empty")
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= _MAX_HEADER:
        make = f"Make one: {_command(kind)}" if kind else f"Name an artifact. {_WRITERS}"
        raise ArtifactError(f"{path} is not an artifact", hint=make)
    if 8 + length > size:
        raise damaged_error(path, kind, f"it ends inside its header, after {size} bytes")
    raw = file.read(length)

    # Parse.
    try:
        if raw.count(b"[") + raw.count(b"{") > _MAX_GROUPS:
            raise OddHeaderError("its header has too many entries")
        tensors = json.loads(raw.decode("ascii"), object_pairs_hook=_no_duplicates)
        text = tensors.pop("__metadata__")["npdraw"]
        values = json.loads(text, object_pairs_hook=_no_duplicates)
        _check_kind(path, kind, values["kind"], values["schema"])
        header = parse_metadata(values)
        entries = layout((name, spec["dtype"], spec["shape"]) for name, spec in tensors.items())
        # Equality covers everything not checked above: offsets, order, padding, whitespace.
        head = render(text, entries)
        if text != canonical(values) or raw != head[8:]:
            raise OddHeaderError("its header is not in canonical form")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        odd = isinstance(error, OddHeaderError)
        reason = str(error) if odd else "its header is not npdraw's"
        raise damaged_error(path, kind, reason) from error

    expected = len(head) + size_of(entries)
    if size != expected:
        raise damaged_error(path, kind, f"it has {size} bytes, expected {expected}")
    return header, entries, head


def _a(kind: str) -> str:
    return "a file of features" if kind == "features" else f"a {kind}"


def _check_kind(path: Path, kind: str | None, actual: Any, schema: Any) -> None:
    if actual not in SCHEMAS or type(schema) is not int or not 0 <= schema < 1 << 16:
        raise OddHeaderError(f"its kind {actual!r:.40} is unknown, or has no schema")
    if kind is not None and actual != kind:
        raise ArtifactError(
            f"{path} is {_a(actual)}, expected {_a(kind)}",
            hint=f"Pass {_a(kind)}, or make one: {_command(kind)}",
        )
    if schema != SCHEMAS[actual]:
        age = "a newer" if schema > SCHEMAS[actual] else "an older"
        raise ArtifactError(
            f"{path} was written by {age} npdraw: "
            f"its schema is {schema}, expected {SCHEMAS[actual]}",
            hint=f"Use that version, or make it {_again(actual, path)}",
        )


def parse_metadata(values: dict[str, Any]) -> Header:
    """Return `values` as a `Header`; raise TypeError or OddHeaderError if they do not form one."""
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
    """Raise OddHeaderError for deep nesting, long or unprintable text, and integers over 64 bit."""
    parts: Iterable[Any] = ()
    if isinstance(value, Mapping):
        parts = chain(value, value.values())
    elif isinstance(value, list | tuple):
        parts = value
    if (
        depth == 0
        or (type(value) is int and not -(1 << 63) <= value < 1 << 63)
        or (type(value) is str and not (len(value) <= MAX_TEXT and value.isprintable()))
    ):
        raise OddHeaderError("its header has a value that is too large, too long or too deep")
    for part in parts:
        _check_plain(part, depth - 1)


def is_digest(value: Any) -> bool:
    """Return whether `value` is a SHA-256 in lower-case hexadecimal digits."""
    return type(value) is str and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise OddHeaderError("its header has a duplicate name")
    return values


def canonical(values: Any) -> str:
    """Return the canonical JSON text of `values`; raise ValueError for a non-finite number."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(
    unsigned: Mapping[str, Any],
    entries: Iterable[Entry],
    read: Callable[[Entry], Iterable[bytes | memoryview]],
) -> str:
    """Return the SHA-256 over the metadata and each tensor's name, dtype, shape and bytes.

    `unsigned` is the metadata without its digest; `read` returns the bytes of a tensor in blocks.
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
    """Raise `ArtifactError` unless the digest in `header` matches its fields and the tensors."""
    unsigned = dict(vars(header))
    if unsigned.pop("digest") != digest_of(unsigned, entries, read):
        raise damaged_error(path, header.kind, "its bytes do not match its digest")


def damaged_error(path: Path, kind: str | None, reason: str) -> ArtifactError:
    """Return the error for a file that is not as a command of npdraw wrote it."""
    shipped = path.parent.resolve() in (*SHIPPED, *SHIPPED_FEATURES)
    again = REINSTALL if shipped else f"Make it {_again(kind, path)}"
    return ArtifactError(f"{path} is damaged: {reason}", hint=again)


def _command(kind: str) -> str:
    return COMMANDS.get(kind, "the same command")


def _again(kind: str | None, path: Path) -> str:
    """Return the end of "Make it ...": how the file at `path` is replaced."""
    if kind is None:
        return "again with the command that wrote it, and --force."
    if kind == "checkpoint":
        return "again with the same command and --force."
    out = path
    if kind == "drawings":  # npdraw sample names the folder, which may hold other files
        if path.name != "drawings.safetensors":
            return f"again: {COMMANDS[kind]} --force"
        out = path.parent
    return f"again: {COMMANDS[kind]} --out {shlex.quote(str(out))} --force"
