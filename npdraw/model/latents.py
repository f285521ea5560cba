"""Latents of a drawing, z_t = (whether_t, where_t, what_t), hard and soft.

docs/model.md, section 1; paper, section 3.1. Letters: N images, T steps, O placements, K parts, I
inks, S contrasts.

A step belongs to one cell of the grid. *Whether* says if the cell is painted, and so holds the
place of a stroke: the prior's distribution over the next cell is stored as hazards of *whether*,
equations (1.3) and (1.4). *Where* is only the offset within the cell, one of its O placements. With
O = 1 (`jitter = 1`, as in every preset) it is always 0 and costs no nats. *What* is the part. In
drawings with ink it is a part's pattern, and ink and contrast say in what colour and how strongly.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

Index = Tensor | slice | tuple[Tensor | slice | int, ...]
"""What selects rows [N], or rows and steps [N, T], of a tensor."""


@dataclass(frozen=True)
class Latents:
    """Hard drawings. A step that does not paint has 0 in all but `whether` by convention.

    The tensors are indexed, assigned and mapped together: `z[rows]`, `z[:, steps] = other`,
    `z.map(function)`.
    """

    whether: Tensor
    """bool [N, T]: does the step paint?"""
    where: Tensor
    """int64 [N, T] in 0..O-1: which of the step's placements."""
    what: Tensor
    """int64 [N, T] in 0..K-1: which part of the bank."""
    ink: Tensor | None = None
    """int64 [N, T] in 0..I-1: which ink of the step's layer; None in drawings of plain parts."""
    contrast: Tensor | None = None
    """int64 [N, T] in 0..S-1: which contrast of the step's layer; None as `ink`."""

    def __post_init__(self) -> None:
        """Raise `ValueError` if the tensors differ in shape, or `whether` is not bool."""
        shapes = [tuple(x.shape) for x in self.tensors().values()]
        if any(shape != shapes[0] for shape in shapes):  # an exported N cannot be hashed
            raise ValueError(f"the tensors of a drawing must have one shape, got {shapes}")
        if self.whether.dtype != torch.bool:
            raise ValueError(f"whether must be bool, got {self.whether.dtype}")
        if (self.ink is None) != (self.contrast is None):
            raise ValueError("ink and contrast go together")

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by name, without ink and contrast for plain parts."""
        named = {"whether": self.whether, "where": self.where, "what": self.what}
        if self.ink is not None and self.contrast is not None:
            named |= {"ink": self.ink, "contrast": self.contrast}
        return named

    def __len__(self) -> int:
        return self.whether.shape[0]

    def __getitem__(self, index: Index) -> Self:
        return self.map(lambda x: x[index])

    def __setitem__(self, index: Index, other: "Latents") -> None:
        """Write `other` into the tensors of these drawings."""
        values = other.tensors()
        for name, tensor in self.tensors().items():
            tensor[index] = values[name]

    def map(self, function: Callable[..., Tensor], *others: "Latents") -> Self:
        """Apply `function` to each of the tensors, together with those of `others`."""
        rest = [z.tensors() for z in others]
        mapped = {n: function(x, *(z[n] for z in rest)) for n, x in self.tensors().items()}
        return replace(self, **mapped)

    def to(self, device: torch.device) -> Self:
        """Return the same drawings on `device`."""
        return self.map(lambda x: x.to(device))

    def clone(self) -> Self:
        """Return a copy that shares no memory with these drawings."""
        return self.map(torch.clone)

    def repeat(self, times: int) -> Self:
        """Return all drawings `times` times over, [times * N, T]."""
        return self.map(lambda x: x.repeat(times, 1))

    def canonical(self) -> Self:
        """Return the drawings with 0 at steps that do not paint."""
        return self.map(lambda x: x * self.whether)

    def only(self, cells: Tensor) -> Self:
        """Return the drawings with their strokes at `cells`, bool [T] or [N, T], and no others.

        One drawing [1, T] is repeated for the rows of `cells`.
        """
        kept = self.whether & cells
        return self.map(lambda x: x * kept)

    def with_cells(self, cells: Tensor, other: "Latents") -> Self:
        """Return the drawings with `cells`, bool [T] or [N, T], taken from `other`.

        One drawing [1, T], in self or in `other`, is repeated for the rows of `cells`.
        """
        return self.map(lambda mine, theirs: torch.where(cells, theirs, mine), other).canonical()

    def differs(self, other: "Latents") -> Tensor:
        """Return at which steps the drawings differ, bool [N, T].

        What is stored at steps that do not paint does not count.
        """
        a, b = self.canonical().tensors(), other.canonical().tensors()
        return torch.stack([a[name] != b[name] for name in a]).any(0)

    def put_stroke(self, image: int, step: int, **stroke: int) -> None:
        """Paint `step` of one drawing, in place; `stroke` has where, what, and ink and contrast."""
        self.whether[image, step] = True
        tensors = self.tensors()
        for name, value in stroke.items():
            tensors[name][image, step] = value

    def stroke(self, image: int, step: int) -> dict[str, int]:
        """Return where, what, and ink and contrast, of one step, as `put_stroke` takes them."""
        tensors = self.tensors()
        return {name: int(tensors[name][image, step]) for name in tensors if name != "whether"}

    def one_hot(self, **sizes: int) -> "Relaxed":
        """Return the corner of the relaxed latents that these drawings are.

        `sizes` are those of the choices: where=O, what=K, and with ink, ink=I and contrast=S.
        """
        tensors = self.tensors()
        choices = {name: one_hot(tensors[name], size) for name, size in sizes.items()}
        return Relaxed(self.whether.float(), **choices)


def one_hot(index: Tensor, size: int) -> Tensor:
    """Return float [..., size] with a 1 at each `index` [...].

    `F.one_hot` reads the indices to check them, which makes the CPU wait for the GPU.
    """
    zeros = torch.zeros(*index.shape, size, device=index.device)
    return zeros.scatter_(-1, index[..., None], 1.0)


def blank(
    images: int, steps: int, device: torch.device | None = None, *, inked: bool = False
) -> Latents:
    """Return `images` drawings of `steps` steps that paint nothing."""
    zeros = torch.zeros(images, steps, dtype=torch.int64, device=device)
    more = [zeros.clone() for _ in range(1 + 2 * inked)]
    return Latents(zeros.bool(), zeros, *more)


def concatenate(drawings: list[Latents]) -> Latents:
    """Join drawings along N."""
    first, *rest = drawings
    return first.map(lambda *tensors: torch.cat(tensors), *rest)


def join_steps(layers: list[Latents]) -> Latents:
    """Join the layers of drawings along T."""
    first, *rest = layers
    return first.map(lambda *tensors: torch.cat(tensors, 1), *rest) if rest else first


@dataclass(frozen=True)
class Relaxed:
    """Soft drawings, differentiable; one-hot values are hard drawings."""

    whether: Tensor
    """float [N, T] in [0, 1]."""
    where: Tensor
    """float [N, T, O], sums to 1 over O."""
    what: Tensor
    """float [N, T, K], sums to 1 over K."""
    ink: Tensor | None = None
    """float [N, T, I], sums to 1 over I; None in drawings of plain parts."""
    contrast: Tensor | None = None
    """float [N, T, S], sums to 1 over S; None as `ink`."""
    candidates: Tensor | None = None
    """int64 [N, T, M]: the parts that `what`, [N, T, M], weighs; None: all K, in their order."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by name, without those that are None."""
        named = {
            "whether": self.whether,
            "where": self.where,
            "what": self.what,
            "ink": self.ink,
            "contrast": self.contrast,
            "candidates": self.candidates,
        }
        return {name: x for name, x in named.items() if x is not None}

    def steps(self, span: slice) -> "Relaxed":
        """Return some of the steps."""
        return Relaxed(**{name: x[:, span] for name, x in self.tensors().items()})


def join_soft_steps(layers: list[Relaxed]) -> Relaxed:
    """Join the layers of soft drawings along T."""
    if len(layers) == 1:
        return layers[0]
    tensors = [z.tensors() for z in layers]
    return Relaxed(**{name: torch.cat([t[name] for t in tensors], 1) for name in tensors[0]})
