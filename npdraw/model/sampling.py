"""Sampling drawings from a prior stroke by stroke (docs/model.md, section 5).

A key/value cache holds what the Transformer has read.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from npdraw.model.latents import Latents
from npdraw.model.layout import reverse_neighbours
from npdraw.model.partial_drawings import Hazards, NextStroke, PartialDrawings, SampleRequest

if TYPE_CHECKING:
    from npdraw.model.prior import Prior


@dataclass(frozen=True)
class Sampler:
    """Draws from a prior; `Prior.sample` says what."""

    prior: "Prior"

    @torch.no_grad()
    def sample(self, request: SampleRequest, at_once: int) -> Latents:
        """Return the drawings of a request; `at_once` divides their number."""
        images, steps = request.uniform.shape[:2]
        z = self.prior.brush.blank(images)
        maps = [layer.attention.maps_for_steps() for layer in self.prior.transformer]
        tables, around = self.prior.stroke_tables(), reverse_neighbours(self.prior.source)
        drawings = self._without_strokes(images)
        for strokes in range(steps):
            for first in range(0, len(drawings), at_once):
                some = drawings.view(slice(first, first + at_once))
                hazards = self._ask(some, strokes, maps)
                stroke = self._choose(some, hazards, request)
                self._commit(some, stroke, z, tables, around)
            drawings = drawings.without_finished(strokes + 1, at_once)
            if not len(drawings):
                break
        return z

    def _ask(
        self, drawings: PartialDrawings, strokes: int, maps: list[tuple[Tensor, ...]]
    ) -> Hazards:
        """Read the last stroke and compute the hazards of all later cells, equation (5.4).

        All cells between two strokes are blank, so every later cell can be asked as if it were the
        next stroke. The drawings have `strokes` strokes, so the next is at cell `strokes` or later.
        """
        state = drawings.next_row
        for layer, known, memory in zip(
            self.prior.transformer, maps, drawings.memories, strict=True
        ):
            state = layer.step(state, known, memory, strokes)
        push = self.prior.from_state(self.prior.norm(state))
        hidden = F.gelu(push[:, None] + drawings.cell_terms[:, strokes:])
        return Hazards(strokes, self.prior.whether_logits(hidden), hidden, state)

    def _choose(
        self, drawings: PartialDrawings, hazards: Hazards, request: SampleRequest
    ) -> NextStroke:
        """Choose the cell of the next stroke, its placement and its part."""
        image, steps = drawings.image, self.prior.layout.steps
        cells = torch.arange(steps, device=image.device)

        # Which cell: the first whose uniform number is below its hazard, equation (5.6).
        hazard = F.pad(torch.sigmoid(hazards.logits / request.temperature), (hazards.first, 0))
        painted = request.uniform[image, :, 0] < hazard
        if request.given is not None:
            painted = torch.where(request.clamped, request.given.whether[image], painted)
        painted = painted & request.allowed & (cells > drawings.last)
        exists = painted.any(1)
        # A finished drawing goes along with any cell; `_commit` leaves no trace of it.
        cell = torch.where(exists, painted.long().argmax(1), steps - 1)

        # Where in the cell and what, given that it is painted, equation (5.5).
        row, at = torch.arange(len(cell), device=cell.device), (image, cell)
        surroundings = drawings.surroundings[row, cell]
        hidden = hazards.hidden[row, cell - hazards.first]
        features = self.prior.features(hazards.state, surroundings, hidden)
        drawn = self.prior.draw_stroke(features, cell, request.uniform[at], request.temperature)
        if request.given is not None:
            drawn = drawn.with_cells(request.clamped[cell], request.given[at])
        return NextStroke(exists, cell, surroundings, drawn)

    def _commit(
        self,
        drawings: PartialDrawings,
        stroke: NextStroke,
        z: Latents,
        tables: tuple[Tensor, ...],
        around: Tensor,
    ) -> None:
        """Write the stroke into `z`, and update what the next hazards depend on.

        `tables` are those of `embed_stroke`, `around` the cells that each cell surrounds
        (`reverse_neighbours`).
        """
        cell, at = stroke.cell, (drawings.image, stroke.cell)
        z[at] = z[at].map(lambda old, new: torch.where(stroke.exists, new, old), stroke.drawn)
        drawings.last.copy_(torch.where(stroke.exists, cell, self.prior.layout.steps)[:, None])

        # The row that the Transformer reads next, equation (5.3).
        embedded = self.prior.embed_stroke(stroke.drawn, cell, tables)
        drawings.next_row.copy_(self.prior.stroke(embedded) + stroke.surroundings)

        # The surroundings of the cells around it, equation (5.2), and their terms in (5.4).
        change = self._change(embedded - self.prior.blank_embedding)  # [R, 4, width]
        change = change * (around >= 0)[cell][..., None]
        places = around.clamp_min(0)[cell][..., None].expand(-1, -1, self.prior.width)
        drawings.surroundings.scatter_add_(1, places, change)
        drawings.cell_terms.scatter_add_(
            1, places.repeat(1, 1, 2), self.prior.from_cell(change).float()
        )

        # What the cells of later layers see of the canvas.
        seen = self.prior.glimpse_change(stroke.drawn, cell)
        if seen is not None:
            first = self.prior.layout.steps - seen.shape[1]
            drawings.surroundings[:, first:] += seen
            drawings.cell_terms[:, first:] += self.prior.from_cell(seen).float()

    def _without_strokes(self, images: int) -> PartialDrawings:
        """Return `images` drawings without strokes."""
        steps, device = self.prior.layout.steps, self.prior.start.device
        surroundings = self.prior.surroundings(self.prior.blank_embedding.expand(1, steps, -1))
        glimpse = self.prior.glimpse(self.prior.brush.one_hot(self.prior.brush.blank(1)))
        if glimpse is not None:
            surroundings = surroundings + glimpse
        surroundings = surroundings.float().repeat(images, 1, 1)
        return PartialDrawings(
            torch.arange(images, device=device),
            self.prior.start.detach().repeat(images, 1),
            torch.full((images, 1), -1, device=device),
            surroundings,
            self.prior.from_cell(surroundings).float(),
            [layer.attention.memory(images, steps + 1) for layer in self.prior.transformer],
        )

    def _change(self, embedded: Tensor) -> Tensor:
        """Return how a change of a cell's embedding [N, width] changes the surroundings of others.

        The others are the cells whose left, upper, upper left and upper right neighbour it is,
        equation (5.2): fp32 [N, 4, width].
        """
        weight: Tensor = self.prior.neighbours.weight
        mix = weight.unflatten(1, (4, -1)).transpose(0, 1).flatten(0, 1)
        change: Tensor = F.linear(embedded, mix).float().unflatten(1, (4, self.prior.width))
        return change
