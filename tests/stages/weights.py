"""Read and compare the weights of artifacts."""

from pathlib import Path

import torch

from npdraw.artifacts import read_artifact
from npdraw.header import read_header


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of an artifact of any kind."""
    return read_artifact(path, kind=read_header(path).kind).tensors


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Return whether two artifacts hold the same tensors, bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
