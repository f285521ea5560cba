"""What a prior learns from: drawings, with labels if it has classes."""

from dataclasses import dataclass

from torch import Tensor

from npdraw.model.latents import Latents


@dataclass(frozen=True)
class Examples:
    """Drawings, and the class of each for a prior with classes."""

    z: Latents
    """[N, T]."""
    label: Tensor | None = None
    """int64 [N], or None for p(z)."""

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, index: slice | Tensor) -> "Examples":
        return Examples(self.z[index], None if self.label is None else self.label[index])

    def split(self, first: int) -> tuple["Examples", "Examples"]:
        """Return the `first` ones, and the others."""
        return self[:first], self[first:]

    def tensors(self) -> tuple[Tensor, ...]:
        """Return the tensors of the drawings, then the labels if there are any."""
        labels = () if self.label is None else (self.label,)
        return (*self.z.tensors().values(), *labels)
