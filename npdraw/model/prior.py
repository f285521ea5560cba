"""The Transformer prior over drawings, p(z), as lists of strokes (docs/model.md, sections 1 and 5).

Paper, section 3.2. A drawing is the list of its painted cells. After each stroke the prior decides
*whether* to go on, *where* among the later cells, and *what* part. The first two are held as
hazards: `h_c` is the probability that the next stroke is at cell c, given that it is not before c,
equation (1.3):
`h_c = g w_c / (1 - g + g sum_{c' >= c} w_c')` with `g = p(go on)`, `w_c = p(next cell | go on)`.
Equation (1.4) is the way back. So p(z) factorises cell by cell, equation (1.5),
`p(z) = prod_t p(whether_t | z_<t) * [p(where_t | z_<t) * p(what_t | where_t, z_<t)]^whether_t`,
with `where` the offset within the cell, and the KL, equation (6.9), is analytic in every cell.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from npdraw.model.attention import ROWS, Layer, lists_of
from npdraw.model.latents import Factors, Latents, Relaxed, blank
from npdraw.model.layout import Layout, neighbours, reverse_neighbours
from npdraw.model.partial_drawings import Hazards, NextStroke, PartialDrawings, SampleRequest


class Prior(nn.Module):
    """p(z) over the steps of a layout.

    A causal Transformer reads a start row and the strokes so far. The factors of a cell depend on
    the state after the last stroke before it and on its surroundings: its position and the
    embeddings of its neighbours already drawn (left, above, above left, above right). A part is
    embedded through a learned vector and through its pixels, so that similar parts start out
    similar and the surroundings show what the canvas looks like there.
    """

    def __init__(
        self,
        layout: Layout,
        bank: Tensor,
        *,
        width: int,
        depth: int,
        heads: int,
        head_width: int,
        mlp_width: int,
        dropout: float = 0.0,
    ) -> None:
        """`bank` [K, C, P, P] is kept as a constant."""
        super().__init__()
        self.layout = layout
        self.width = width
        parts, steps = len(bank), layout.steps
        self.bank: Tensor
        self.register_buffer("bank", bank.clone(), persistent=False)
        self.part_embedding = nn.Parameter(torch.randn(parts, width))
        self.pixel_embedding = nn.Linear(bank[0].numel(), width, bias=False)
        self.where_embedding = nn.Parameter(torch.zeros(layout.placements, width))
        self.blank_embedding = nn.Parameter(torch.randn(width))
        self.position = nn.Parameter(torch.randn(steps, width))
        self.neighbours = nn.Linear(4 * width, width)
        self.start = nn.Parameter(torch.randn(width))
        self.stroke = nn.Linear(width, width)
        self.layers = nn.ModuleList(
            Layer(width, heads, head_width, mlp_width, dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        # These run on all cells, where the layers run on strokes only. So they are small, and terms
        # that depend on the state alone, or on the cell alone, are computed once.
        self.from_state = nn.Linear(width, 2 * width)
        self.from_cell = nn.Linear(width, 2 * width, bias=False)
        self.feature = nn.Linear(2 * width, width)
        self.feature_norm = nn.LayerNorm(width)
        self.whether_head = nn.Linear(2 * width, 1)
        self.where_head = nn.Linear(width, layout.placements)
        self.what_head = nn.Linear(width, parts)
        self.chosen_where = nn.Parameter(torch.zeros(layout.placements, width))
        self.source: Tensor
        self.register_buffer("source", neighbours(layout), persistent=False)

    def _layers(self) -> list[Layer]:
        return list(self.layers)  # type: ignore[arg-type]

    def _table(self) -> Tensor:
        """Return the embeddings of the parts, E of equation (5.1): [K, width]."""
        table: Tensor = self.part_embedding + self.pixel_embedding(self.bank.flatten(1))
        return table

    def _embed(self, z: Relaxed) -> Tensor:
        """Embed what each cell drew, equation (5.1), linear in the soft latents: [N, T, width]."""
        drawn = z.what @ self._table()
        if self.layout.placements > 1:
            drawn = drawn + z.where @ self.where_embedding
        paint = z.whether[..., None]
        embedded: Tensor = paint * drawn + (1 - paint) * self.blank_embedding
        return embedded

    def _surroundings(self, embedded: Tensor) -> Tensor:
        """Embed each cell's position and what is drawn around it, equation (5.2): [N, T, width]."""
        around = F.pad(embedded, (0, 0, 1, 0)).index_select(1, self.source.flatten())
        inputs: Tensor = self.neighbours(around.view(*embedded.shape[:2], -1)) + self.position
        return inputs

    def _whether(self, hidden: Tensor) -> Tensor:
        """Return the logits of the hazards, equation (5.4), fp32 [N, t].

        Computed in the dtype of `hidden`, [N, t, 2 * width].
        """
        weight, bias = self.whether_head.weight, self.whether_head.bias
        with torch.autocast(hidden.device.type, enabled=False):
            whether = F.linear(hidden, weight.to(hidden.dtype), bias.to(hidden.dtype))
        return whether.squeeze(2).float()

    def _where_and_what(
        self, state: Tensor, surroundings: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return log p(where) and log p(what | where), equation (5.5).

        fp32 [N, t, O] and [N, t, O, K], for t cells of each drawing.
        """
        h = self.feature_norm(state + surroundings + self.feature(hidden))
        where = torch.log_softmax(self.where_head(h).float(), 2)
        what = self.what_head(h[:, :, None] + self.chosen_where)
        return where, torch.log_softmax(what.float(), 3)

    def forward(self, z: Relaxed) -> Factors:
        """Return p(z_t | z_<t) of every cell in one pass; cell t sees only the cells before it.

        Equations (5.1) to (5.5). A cell whose soft `whether` is above 1/2 is a stroke: its
        embedding is linear in whether and what, and so their gradients reach all later cells. A
        cell below 1/2 is not a stroke: its gradients reach the cells that it surrounds. How
        crossing 1/2 changes the list has no gradient.
        """
        # Embed the cells, and list the strokes of each drawing.
        embedded = self._embed(z)
        surroundings = self._surroundings(embedded)
        painted = z.whether > 0.5
        before = painted.cumsum(1) - painted.long()  # strokes before each cell
        multiple = ROWS if torch.is_autocast_enabled(painted.device.type) else 1
        lists, cells = lists_of(painted, before, multiple, padded=painted.is_cuda)

        # Run the Transformer over the start rows and the strokes, equation (5.3).
        stroke = self.stroke(embedded.flatten(0, 1).index_select(0, cells))
        stroke = stroke + surroundings.flatten(0, 1).index_select(0, cells)
        x = torch.cat([self.start.to(stroke.dtype).expand(len(painted), -1), stroke])
        for layer in self._layers():
            x = layer(x, lists)

        # Give every cell the state after the last stroke before it.
        push = self.from_state(self.norm(x))
        states = lists.spread(torch.cat([x.to(push.dtype), push], 1))  # [N, L, 3 * width]
        # A matrix product with one-hot rows: the backward pass of a gather is slower.
        last = before[..., None] == torch.arange(lists.length, device=before.device)
        state, push = (last.to(states.dtype) @ states).split([self.width, 2 * self.width], 2)
        hidden = F.gelu(push + self.from_cell(surroundings))
        return Factors(self._whether(hidden), *self._where_and_what(state, surroundings, hidden))

    def log_prob(self, z: Latents) -> Tensor:
        """Return log p(z) of hard drawings in nats, [N], equation (1.5)."""
        factors: Factors = self(z.one_hot(self.layout.placements, len(self.bank)))
        return factors.joint(z)

    @torch.no_grad()
    def sample(
        self,
        uniform: Tensor,
        *,
        temperature: float = 1.0,
        given: Latents | None = None,
        given_steps: int = 0,
        until: int | None = None,
        at_once: int = 0,
    ) -> Latents:
        """Sample hard drawings stroke by stroke, with a key/value cache (equation (5.6)).

        `uniform` [N, T, 3] in [0, 1) decides whether, where and what of each cell, so that drawing
        i does not depend on the others. The first `given_steps` cells are those of `given`
        (completion); those from `until` on stay blank. `temperature` divides all logits.

        `at_once` divides N: every matrix product has the rows of that many drawings, because float
        sums depend on the number of rows (0: all N). Finished drawings make way for others, and
        the loop ends with the longest drawing.
        """
        images, steps = uniform.shape[:2]
        at_once = at_once or images
        z, cells = blank(images, steps, uniform.device), torch.arange(steps, device=uniform.device)
        request = SampleRequest(
            uniform,
            temperature,
            given=given,
            clamped=cells < given_steps,
            allowed=cells < (steps if until is None else until),
        )
        maps = [layer.attention.maps_for_steps() for layer in self._layers()]
        table, around = self._table(), reverse_neighbours(self.source)
        drawings = self._without_strokes(images)
        for strokes in range(steps):
            for first in range(0, len(drawings), at_once):
                some = drawings.view(slice(first, first + at_once))
                hazards = self._ask(some, strokes, maps)
                stroke = self._choose(some, hazards, request)
                self._commit(some, stroke, z, table, around)
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
        for layer, known, memory in zip(self._layers(), maps, drawings.memories, strict=True):
            state = layer.step(state, known, memory, strokes)
        push = self.from_state(self.norm(state))
        hidden = F.gelu(push[:, None] + drawings.cell_terms[:, strokes:])
        return Hazards(strokes, self._whether(hidden), hidden, state)

    def _choose(
        self, drawings: PartialDrawings, hazards: Hazards, request: SampleRequest
    ) -> NextStroke:
        """Choose the cell of the next stroke, its placement and its part."""
        image, steps = drawings.image, self.layout.steps
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
        where, what = self._where_and_what(
            hazards.state[:, None],
            surroundings[:, None],
            hazards.hidden[row, cell - hazards.first][:, None],
        )
        certain = torch.full((len(cell), 1), torch.inf, device=cell.device)
        factors = Factors(certain, where, what)
        drawn = factors.sample(request.uniform[at][:, None], request.temperature)[:, 0]
        if request.given is not None:
            drawn = drawn.with_cells(request.clamped[cell], request.given[at])
        return NextStroke(exists, cell, surroundings, drawn)

    def _commit(
        self,
        drawings: PartialDrawings,
        stroke: NextStroke,
        z: Latents,
        table: Tensor,
        around: Tensor,
    ) -> None:
        """Write the stroke into `z`, and update what the next hazards depend on.

        `table` holds the embeddings of the parts, `around` the cells that each cell surrounds
        (`reverse_neighbours`).
        """
        cell, at = stroke.cell, (drawings.image, stroke.cell)
        z[at] = z[at].map(lambda old, new: torch.where(stroke.exists, new, old), stroke.drawn)
        drawings.last.copy_(torch.where(stroke.exists, cell, self.layout.steps)[:, None])

        # The row that the Transformer reads next, equation (5.3).
        embedded = F.embedding(stroke.drawn.what, table)
        if self.layout.placements > 1:
            embedded = embedded + F.embedding(stroke.drawn.where, self.where_embedding)
        drawings.next_row.copy_(self.stroke(embedded) + stroke.surroundings)

        # The surroundings of the cells around it, equation (5.2), and their terms in (5.4).
        change = self._change(embedded - self.blank_embedding)  # [R, 4, width]
        change = change * (around >= 0)[cell][..., None]
        places = around.clamp_min(0)[cell][..., None].expand(-1, -1, self.width)
        drawings.surroundings.scatter_add_(1, places, change)
        drawings.cell_terms.scatter_add_(1, places.repeat(1, 1, 2), self.from_cell(change).float())

    def _without_strokes(self, images: int) -> PartialDrawings:
        """Return `images` drawings without strokes."""
        steps, device = self.layout.steps, self.start.device
        blanks = self.blank_embedding.expand(1, steps, -1)
        surroundings = self._surroundings(blanks).float().repeat(images, 1, 1)
        return PartialDrawings(
            torch.arange(images, device=device),
            self.start.detach().repeat(images, 1),
            torch.full((images, 1), -1, device=device),
            surroundings,
            self.from_cell(surroundings).float(),
            [layer.attention.memory(images, steps + 1) for layer in self._layers()],
        )

    def _change(self, embedded: Tensor) -> Tensor:
        """Return how a change of a cell's embedding [N, width] changes the surroundings of others.

        The others are the cells whose left, upper, upper left and upper right neighbour it is,
        equation (5.2): fp32 [N, 4, width].
        """
        weight: Tensor = self.neighbours.weight
        mix = weight.unflatten(1, (4, -1)).transpose(0, 1).flatten(0, 1)
        change: Tensor = F.linear(embedded, mix).float().unflatten(1, (4, self.width))
        return change
