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
from npdraw.model.partial_drawings import NextStroke, PartialDrawings, Place, SampleRequest

if TYPE_CHECKING:
    from npdraw.model.prior import Prior

WINDOWS = 8, 32
"""Cells that are asked at first, and at a time after that, whether they are the next stroke. In
drawings of hundreds of strokes it is nearly always one of the next few."""

ENTERING = 8
"""Drawings that are shown the canvas at a time when they come to a new layer. They seldom come
together; always as many, since float sums depend on the number of rows."""


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
        drawings = self._without_strokes(images, request.label)
        for strokes in range(steps):
            for first in range(0, len(drawings), at_once):
                some = drawings.view(slice(first, first + at_once))
                state = self._read(some, strokes, maps)
                place = self._find(some, state, request, z)
                stroke = self._choose(some, state, place, request)
                self._commit(some, stroke, z, tables, around)
            drawings = drawings.without_finished(strokes + 1, at_once)
            if not len(drawings):
                break
        return z

    def _read(
        self, drawings: PartialDrawings, strokes: int, maps: list[tuple[Tensor, ...]]
    ) -> Tensor:
        """Read the last of `strokes` strokes: y of equation (5.3), [R, width]."""
        state = drawings.next_row
        for layer, known, memory in zip(
            self.prior.transformer, maps, drawings.memories, strict=True
        ):
            state = layer.step(state, known, memory, strokes)
        return state

    def _find(
        self, drawings: PartialDrawings, state: Tensor, request: SampleRequest, z: Latents
    ) -> Place:
        """Find the cell of the next stroke: the first whose number is below its hazard, (5.6).

        All cells between two strokes are blank, so that each later cell can be asked as if it were
        the next stroke. Some cells are asked at a time (`WINDOWS`), all of one layer.
        """
        steps, device = self.prior.layout.steps, state.device
        ends = torch.tensor([span.stop for span in self.prior.layout.spans], device=device)
        push = self.prior.from_state(self.prior.norm(state))
        rows, window = torch.arange(len(push), device=device), WINDOWS[0]
        first = drawings.last.squeeze(1) + 1
        exists = torch.zeros_like(first, dtype=torch.bool)
        # A finished drawing goes along with any cell; `_commit` leaves no trace of it.
        cell, chosen = torch.full_like(first, steps - 1), torch.zeros_like(push)
        while bool((~exists & (first < steps)).any()):
            layer = self.prior.layer_of[first.clamp_max(steps - 1)]
            self._enter(drawings, layer, z)
            cells = first[:, None] + torch.arange(window, device=device)
            inside, at = cells < ends[layer][:, None], cells.clamp_max(steps - 1)
            known = drawings.cell_terms.flatten(0, 1).index_select(
                0, (rows[:, None] * steps + at).flatten()
            )
            hidden = F.gelu(push[:, None] + known.view(*at.shape, -1))
            hazard = torch.sigmoid(self.prior.whether_logits(hidden) / request.temperature)
            painted = request.uniform[drawings.image[:, None], at, 0] < hazard
            if request.given is not None:
                given = request.given.whether[drawings.image[:, None], at]
                painted = torch.where(request.clamped[at], given, painted)
            painted = painted & request.allowed[at] & inside
            found, which = painted.any(1) & ~exists, painted.long().argmax(1)
            cell = torch.where(found, first + which, cell)
            chosen = torch.where(found[:, None], hidden[rows, which], chosen)
            exists = exists | found
            first = torch.where(exists, first, torch.minimum(first + window, ends[layer]))
            window = WINDOWS[1]
        return Place(exists, cell, chosen)

    def _enter(self, drawings: PartialDrawings, layer: Tensor, z: Latents) -> None:
        """Let drawings that come to a new layer see what the layers before it have painted.

        `layer` [R] is where each drawing is now; `z` are the drawings so far.
        """
        for number, span in enumerate(self.prior.layout.spans[1:], 1):
            new = ((layer == number) & (drawings.seen < number)).nonzero().squeeze(1)
            for start in range(0, len(new), ENTERING):
                rows = new[start : start + ENTERING]
                padded = F.pad(rows, (0, ENTERING - len(rows)), value=int(rows[0]))
                glimpse = self.prior.glimpse_of(z[drawings.image[padded]], number).float()
                terms = self.prior.from_cell(glimpse).float()
                drawings.surroundings[rows, span] += glimpse[: len(rows)]
                drawings.cell_terms[rows, span] += terms[: len(rows)]
                drawings.seen[rows] = number

    def _choose(
        self, drawings: PartialDrawings, state: Tensor, place: Place, request: SampleRequest
    ) -> NextStroke:
        """Choose what is painted at the place of the next stroke, equation (5.5)."""
        cell, at = place.cell, (drawings.image, place.cell)
        surroundings = drawings.surroundings[torch.arange(len(cell), device=cell.device), cell]
        features = self.prior.features(state, surroundings, place.hidden)
        drawn = self.prior.draw_stroke(features, cell, request.uniform[at], request.temperature)
        if request.given is not None:
            drawn = drawn.with_cells(request.clamped[cell], request.given[at])
        return NextStroke(place.exists, cell, surroundings, drawn)

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

    def _without_strokes(self, images: int, label: Tensor | None) -> PartialDrawings:
        """Return `images` drawings without strokes, of the classes `label`."""
        steps, device = self.prior.layout.steps, self.prior.start.device
        surroundings = self.prior.surroundings(self.prior.blank_embedding.expand(1, steps, -1))
        surroundings = surroundings.float().repeat(images, 1, 1)
        classes = self.prior.embed_class(label)
        if classes is not None:
            surroundings += classes
        return PartialDrawings(
            torch.arange(images, device=device),
            self.prior.start.detach().repeat(images, 1),
            torch.full((images, 1), -1, device=device),
            torch.zeros(images, dtype=torch.int64, device=device),
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
