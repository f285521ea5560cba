"""Artifacts: self-describing safetensors files; no other module reads or writes tensors.

`safetensors.torch` converts between tensors and bytes. npdraw adds the checks: the header
(`npdraw.header`), a digest over every byte, finite values only, and files that are written
completely or not at all.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from npdraw.errors import ArtifactError
from npdraw.files import write_atomic
from npdraw.header import (
    COMMANDS,
    SCHEMAS,
    Header,
    canonical,
    check_digest,
    damaged_error,
    digest_of,
    opened,
    parse_metadata,
    read_head,
)
from npdraw.run_key import RunKey
from npdraw.tensor_layout import DTYPES, Entry, layout, render, size_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Artifact:
    """An artifact in memory; the tensors no longer depend on the file."""

    path: Path
    header: Header
    tensors: "dict[str, torch.Tensor]"


def write_artifact(
    path: Path,
    kind: str,
    tensors: "Mapping[str, torch.Tensor]",
    run_key: RunKey,
    metrics: Mapping[str, float],
) -> str:
    """Write an artifact atomically and return its digest; equal content gives equal bytes.

    `run_key` and `metrics` (finite numbers) become the header. While the file is written, memory
    holds up to two more copies of the tensors.

    Raises:
        ArtifactError: a tensor or a metric is not finite; the message names it.
        ResourceError, UsageError: the file cannot be written (see `write_atomic`).
        KeyError, TypeError, ValueError: a bug of the caller, such as an unknown kind or dtype.
    """
    import safetensors.torch

    for name, value in metrics.items():
        if not math.isfinite(value):
            raise _not_finite(path, f"metric {name} is {value}")
    prepared, entries = _prepare(path, tensors)

    # Compute the digest.
    unsigned = {
        "kind": kind,
        "schema": SCHEMAS[kind],
        "config": dict(run_key.config),
        "dataset": dict(run_key.dataset),
        "inputs": dict(run_key.inputs),
        "seed": run_key.seed,
        "metrics": dict(metrics),
    }
    digest = digest_of(unsigned, entries, lambda entry: [_view(prepared[entry.name])])
    values = unsigned | {"digest": digest}
    parse_metadata(values)

    # Write, unless this release of safetensors uses a layout that the reader would refuse.
    text = canonical(values)
    content = safetensors.torch.save(prepared, {"npdraw": text})
    if not content.startswith(render(text, entries)):
        raise ValueError(f"safetensors {safetensors.__version__} lays out files differently")
    write_atomic(path, [content])
    return digest


def _prepare(
    path: Path, tensors: "Mapping[str, torch.Tensor]"
) -> "tuple[dict[str, torch.Tensor], list[Entry]]":
    """Check the tensors; return them contiguous and without shared memory, and their layout."""
    import torch

    dtypes = {getattr(torch, torch_name): dtype for dtype, (torch_name, _) in DTYPES.items()}
    prepared: dict[str, torch.Tensor] = {}
    specs: list[tuple[str, str, Sequence[int]]] = []
    storages: set[int] = set()
    for name, tensor in tensors.items():
        if tensor.dtype not in dtypes:
            raise ValueError(f"tensor {name} has dtype {tensor.dtype}, not one of {list(dtypes)}")
        if not torch.isfinite(tensor).all():
            raise _not_finite(path, f"tensor {name} is not finite")
        specs.append((name, dtypes[tensor.dtype], tuple(tensor.shape)))
        values = tensor.detach().cpu().contiguous()
        storage = values.untyped_storage().data_ptr()
        prepared[name] = values.clone() if storage in storages else values
        storages.add(storage)
    return prepared, layout(specs)


def read_artifact(path: Path, *, kind: str) -> Artifact:
    """Read and check an artifact.

    The file is read once and never mapped: what was checked is what is returned, and a later
    overwrite of the file does not change the tensors.

    Raises:
        ArtifactError: as for `read_header(..., verify=True)`, or a tensor is not finite.
    """
    import safetensors.torch
    import torch

    with opened(path, kind) as file:
        header, entries, head = read_head(file, path, kind)
        content = head + file.read(size_of(entries))
    with memoryview(content)[len(head) :] as body:
        check_digest(path, header, entries, lambda entry: [body[entry.start : entry.end]])
    tensors = safetensors.torch.load(content)
    del content
    for name, tensor in list(tensors.items()):
        # The behaviour of torch is undefined for a bool that is neither 0 nor 1.
        if tensor.dtype == torch.bool and (tensor.view(torch.uint8) > 1).any():
            raise damaged_error(path, kind, f"its tensor {name} has values other than 0 and 1")
        if not torch.isfinite(tensor).all():
            raise damaged_error(path, kind, f"its tensor {name} is not finite")
        # Copy into memory aligned by torch: the alignment may decide how a kernel rounds.
        tensors[name] = tensor.clone()
    return Artifact(path, header, tensors)


def content_of(artifact: Artifact) -> bytes:
    """Return the bytes of the file that `artifact` was read from; it may have changed since."""
    import safetensors.torch

    return safetensors.torch.save(artifact.tensors, {"npdraw": canonical(vars(artifact.header))})


def check_input(artifact: Artifact, name: str, other: Artifact) -> None:
    """Check that `artifact` was made from `other`, which is its input `name`.

    Raises:
        ArtifactError: it was made from another one; the message names both.
    """
    trained_on, given = artifact.header.inputs.get(name), other.header.digest
    if trained_on == given:
        _check_agree(artifact, other)
        return
    what = "part bank" if name == "parse" else name
    was = f"{what} {trained_on[:6]}{_parts(artifact)}" if trained_on else f"no {what}"
    command = COMMANDS.get(artifact.header.kind)
    raise ArtifactError(
        f"{artifact.path} was trained on {was}, but {other.path} holds {given[:6]}{_parts(other)}",
        hint=f"Pass the {name} it was trained on"
        + (f", or rerun: {command} {other.path}" if command else ""),
    )


def _check_agree(artifact: Artifact, other: Artifact) -> None:
    """Raise `ArtifactError` unless bank and data set equal those of `other`, the signed input."""
    import torch

    mine, its = artifact.tensors.get("bank"), other.tensors.get("bank")
    if mine is not None and its is not None and not torch.equal(mine, its):
        problem = "part bank"
    elif artifact.header.dataset != other.header.dataset:
        problem = "data set"
    else:
        return
    raise damaged_error(
        artifact.path, artifact.header.kind, f"its {problem} is not that of {other.path}"
    )


def _parts(artifact: Artifact) -> str:
    parse = artifact.header.config.get("parse")
    return f" (K={parse['parts']})" if parse and "parts" in parse else ""


def _not_finite(path: Path, problem: str) -> ArtifactError:
    return ArtifactError(
        f"cannot write {path}: its {problem}",
        hint="Nothing was written. A lower learning rate may help.",
    )


def _view(tensor: "torch.Tensor") -> memoryview:
    """Return the bytes of a contiguous tensor on the CPU, without a copy."""
    import torch

    return tensor.reshape(-1).view(torch.uint8).numpy().data


class Expected(NamedTuple):
    """The shape that a tensor must have, and the dtypes it may have, as named by torch."""

    shape: Sequence[int]
    dtypes: Sequence[str] = ("float32",)


def check_tensors(artifact: Artifact, expected: Mapping[str, Expected]) -> None:
    """Check that an artifact holds exactly the tensors of `expected`.

    Raises:
        ArtifactError: names the first tensor that is missing, unexpected, or of another shape or
            dtype.
    """
    tensors = artifact.tensors
    for name in sorted(tensors.keys() | expected.keys()):
        shape = list(tensors[name].shape) if name in tensors else []
        if name not in tensors:
            problem = f"it has no tensor {name}, expected one of shape {list(expected[name].shape)}"
        elif name not in expected:
            problem = f"it has a tensor {name} of shape {shape}, expected none"
        elif shape != list(expected[name].shape):
            problem = f"its tensor {name} has shape {shape}, expected {list(expected[name].shape)}"
        elif (dtype := _dtype_name(tensors[name])) not in expected[name].dtypes:
            wanted = " or ".join(expected[name].dtypes)
            problem = f"its tensor {name} is {dtype}, expected {wanted}"
        else:
            continue
        raise unfit_error(artifact, problem)


def _dtype_name(tensor: "torch.Tensor") -> str:
    return str(tensor.dtype).removeprefix("torch.")


def check_values(artifact: Artifact, name: str, low: float, high: float) -> None:
    """Raise `ArtifactError` unless all values of the tensor `name` are in low..high."""
    tensor = artifact.tensors[name]
    least, most = (float(value) for value in tensor.aminmax()) if tensor.numel() else (low, high)
    if least < low or most > high:
        problem = f"its tensor {name} has values in {least:g}..{most:g}, expected {low:g}..{high:g}"
        raise unfit_error(artifact, problem)


def check_count(artifact: Artifact, name: str, high: int) -> int:
    """Return the metric `name`; raise `ArtifactError` unless it is an integer in 0..high."""
    value = artifact.header.metrics.get(name)
    if type(value) is not int or not 0 <= value <= high:
        shown = "missing" if value is None else value
        raise unfit_error(
            artifact, f"its metric {name} is {shown}, expected an integer in 0..{high}"
        )
    return value


def unfit_error(artifact: Artifact, problem: str) -> ArtifactError:
    """Return the error for content that does not match the artifact's kind and settings."""
    return ArtifactError(
        f"{artifact.path} does not fit its settings: {problem}",
        hint="It was written by another version of npdraw; make it again with --force.",
    )
