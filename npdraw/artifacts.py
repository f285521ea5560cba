"""Artifacts: safetensors files that say what they are; nothing else here reads or writes tensors.

The bytes are those of `safetensors.torch.save`, put together here so that equal content gives
equal bytes under any version of that library, and so that what is hashed is what is written.
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
    DTYPES,
    SCHEMAS,
    Entry,
    Header,
    canonical,
    check_digest,
    damaged_error,
    digest_of,
    layout,
    opened,
    parse_metadata,
    read_head,
    render,
)
from npdraw.run_key import RunKey

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Artifact:
    """An artifact in memory; the tensors do not depend on the file any more."""

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

    `run_key` and `metrics` (finite numbers) become the header.

    Raises:
        ArtifactError: a tensor or a metric is not finite; names it.
        ResourceError, UsageError: the file cannot be written (see `write_atomic`).
        KeyError, TypeError, ValueError: a bug of the caller, such as an unknown kind or dtype.
    """
    import torch  # noqa: PLC0415

    for name, value in metrics.items():
        if not math.isfinite(value):
            raise _not_finite(path, f"metric {name} is {value}")
    names = {getattr(torch, torch_name): dtype for dtype, (torch_name, _) in DTYPES.items()}
    views: dict[str, memoryview] = {}
    specs: list[tuple[str, str, Sequence[int]]] = []
    for name, tensor in tensors.items():
        if tensor.dtype not in names:
            raise ValueError(f"tensor {name} has dtype {tensor.dtype}, not one of {list(names)}")
        if not torch.isfinite(tensor).all():
            raise _not_finite(path, f"tensor {name} is not finite")
        specs.append((name, names[tensor.dtype], tuple(tensor.shape)))
        views[name] = _view(tensor.detach().cpu().contiguous())
    entries = layout(specs)
    unsigned = {
        "kind": kind,
        "schema": SCHEMAS[kind],
        "config": dict(run_key.config),
        "dataset": dict(run_key.dataset),
        "inputs": dict(run_key.inputs),
        "seed": run_key.seed,
        "metrics": dict(metrics),
    }

    def read(entry: Entry) -> list[memoryview]:
        return [views[entry.name]]

    digest = digest_of(unsigned, entries, read)
    values = unsigned | {"digest": digest}
    parse_metadata(values)
    write_atomic(path, [render(canonical(values), entries), *(views[e.name] for e in entries)])
    return digest


def read_artifact(path: Path, *, kind: str) -> Artifact:
    """Read and check an artifact.

    The file is read once, into memory of our own: what was checked is what is returned, and a
    later overwrite of the file changes nothing.

    Raises:
        ArtifactError: as `read_header(..., verify=True)`; or a tensor is not finite.
    """
    import torch  # noqa: PLC0415

    tensors: dict[str, torch.Tensor] = {}
    views: dict[str, memoryview] = {}
    with opened(path, kind) as file:
        header, entries, begin = read_head(file, path, kind)
        file.seek(begin)
        for entry in entries:
            dtype = getattr(torch, DTYPES[entry.dtype][0])
            tensors[entry.name] = torch.empty(entry.shape, dtype=dtype, device="cpu")
            views[entry.name] = _view(tensors[entry.name])
            file.readinto(views[entry.name])
    check_digest(path, header, entries, lambda entry: [views[entry.name]])
    for name, tensor in tensors.items():
        # torch gives no meaning to a bool that is neither 0 nor 1.
        if tensor.dtype == torch.bool and (tensor.view(torch.uint8) > 1).any():
            raise damaged_error(path, kind, f"its tensor {name} is not 0 or 1 everywhere")
        if not torch.isfinite(tensor).all():
            raise damaged_error(path, kind, f"its tensor {name} is not finite")
    return Artifact(path, header, tensors)


def check_input(artifact: Artifact, name: str, other: Artifact) -> None:
    """Check that `artifact` was made from `other`, its input called `name`.

    Raises:
        ArtifactError: it was made from another one; names both.
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
    """Raise `ArtifactError` unless bank and data set are those of `other`, as the digest says."""
    import torch  # noqa: PLC0415

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
        hint="Nothing was written. A lower learning rate may help",
    )


def _view(tensor: "torch.Tensor") -> memoryview:
    """Return the bytes of a contiguous tensor in memory, without a copy."""
    import torch  # noqa: PLC0415

    return tensor.reshape(-1).view(torch.uint8).numpy().data


class Expected(NamedTuple):
    """What a tensor must be: its shape, and any of these types, as torch names them."""

    shape: Sequence[int]
    dtypes: Sequence[str] = ("float32",)


def check_tensors(artifact: Artifact, expected: Mapping[str, Expected]) -> None:
    """Check that an artifact holds the tensors of `expected`, and no others.

    Raises:
        ArtifactError: names the first that is missing, unexpected or of another shape or type.
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
        elif (dtype := _named(tensors[name])) not in expected[name].dtypes:
            wanted = " or ".join(expected[name].dtypes)
            problem = f"its tensor {name} is {dtype}, expected {wanted}"
        else:
            continue
        raise unfit_error(artifact, problem)


def _named(tensor: "torch.Tensor") -> str:
    return str(tensor.dtype).removeprefix("torch.")


def check_values(artifact: Artifact, name: str, low: float, high: float) -> None:
    """Raise `ArtifactError` unless all values of a tensor are in low..high."""
    tensor = artifact.tensors[name]
    least, most = (float(value) for value in tensor.aminmax()) if tensor.numel() else (low, high)
    if least < low or most > high:
        problem = f"its tensor {name} has values in {least:g}..{most:g}, expected {low:g}..{high:g}"
        raise unfit_error(artifact, problem)


def check_count(artifact: Artifact, name: str, high: int) -> int:
    """Return the metric `name`; `ArtifactError` unless it is an integer in 0..high."""
    found = artifact.header.metrics.get(name)
    if type(found) is not int or not 0 <= found <= high:
        shown = "missing" if found is None else found
        raise unfit_error(
            artifact, f"its metric {name} is {shown}, expected an integer in 0..{high}"
        )
    return found


def unfit_error(artifact: Artifact, problem: str) -> ArtifactError:
    """Return the error for content that is not what the artifact's kind and settings ask for."""
    return ArtifactError(
        f"{artifact.path} does not fit its settings: {problem}",
        hint="It was written by another npdraw; make it again with --force",
    )
