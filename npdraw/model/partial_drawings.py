"""The state of `Prior.sample`: the request, drawings with some strokes, and what comes next."""

from dataclasses import dataclass

from torch import Tensor

from npdraw.model.latents import Latents


@dataclass(frozen=True)
class SampleRequest:
    """How N drawings are sampled."""

    uniform: Tensor
    """[N, T, 3] in [0, 1): decides whether, where and what of each cell."""
    temperature: float
    """Divides all logits."""
    given: Latents | None
    """[N, T]: the strokes of clamped cells, if any are clamped."""
    clamped: Tensor
    """bool [T]: cells that are copied from `given`."""
    allowed: Tensor
    """bool [T]: cells that may be painted."""
    label: Tensor | None
    """int64 [N]: the class of each drawing, None for p(z)."""


@dataclass
class PartialDrawings:
    """Drawings that all have the same number of strokes; one row for each."""

    image: Tensor
    """Number of the drawing among the N asked for, int64 [R]."""
    next_row: Tensor
    """r_i of equation (5.3), which the Transformer reads next: the last stroke, or the start.
    [R, width]."""
    last: Tensor
    """Cell of the last stroke, -1 before the first, T if the drawing is finished: int64 [R, 1]."""
    seen: Tensor
    """The last layer whose cells know what the layers before it have painted, int64 [R]."""
    surroundings: Tensor
    """s_t of equation (5.2) for all cells, fp32 [R, T, width]."""
    cell_terms: Tensor
    """B s_t of equation (5.4) for all cells, fp32 [R, T, 2 * width]."""
    memories: list[Tensor]
    """Keys and values of each layer, see `Attention.memory`."""

    def __len__(self) -> int:
        return len(self.image)

    def view(self, rows: slice) -> "PartialDrawings":
        """Return some of the drawings, in the same memory."""
        return self._take(rows, [memory[:, rows] for memory in self.memories])

    def without_finished(self, rows_read: int, multiple: int) -> "PartialDrawings":
        """Return the unfinished drawings, and as many finished ones as make a `multiple`.

        The Transformer has read `rows_read` rows of each. Empty if all are finished.
        """
        unfinished = (self.last < self.surroundings.shape[1]).squeeze(1)
        needed = -(-int(unfinished.sum()) // multiple) * multiple
        if needed == len(self):
            return self
        rows = unfinished.int().argsort(descending=True, stable=True)[:needed]
        memories = []
        for memory in self.memories:
            kept = memory.new_empty(len(memory), needed, *memory.shape[2:])
            kept[:, :, :, :rows_read] = memory[:, rows, :, :rows_read]
            memories.append(kept)
        return self._take(rows, memories)

    def _take(self, rows: slice | Tensor, memories: list[Tensor]) -> "PartialDrawings":
        return PartialDrawings(
            self.image[rows],
            self.next_row[rows],
            self.last[rows],
            self.seen[rows],
            self.surroundings[rows],
            self.cell_terms[rows],
            memories,
        )


@dataclass(frozen=True)
class Place:
    """Where the next stroke of each of R drawings is, or the end of the drawing."""

    exists: Tensor
    """bool [R]; False: the drawing is finished, and its other entries have no meaning."""
    cell: Tensor
    """int64 [R]."""
    hidden: Tensor
    """u_t of equation (5.4) at the cell, [R, 2 * width]."""


@dataclass(frozen=True)
class NextStroke:
    """The next stroke of each of R drawings, or the end of the drawing; see `Place`."""

    exists: Tensor
    cell: Tensor
    surroundings: Tensor
    """s of equation (5.2) at the cell, fp32 [R, width]."""
    drawn: Latents
    """Whether, where and what of the cell, [R]."""
