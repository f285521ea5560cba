"""The Transformer prior over drawings, p(z), as lists of strokes (docs/model.md, sections 1 and 5).

Paper, section 3.2. A drawing is the list of its painted cells. After each stroke the prior asks
*whether* to go on, *where* among the later cells, and *what* part. The answers to the first two are
held as hazards: `h_c`, the probability that the next stroke is at cell c, given that it is not
before c. They are the same distributions as `g = p(go on)` and `w_c = p(next cell | go on)`:
`h_c = g w_c / (1 - g + g sum_{c' >= c} w_c')`, and back: `g w_c = h_c prod_{c' < c} (1 - h_c')` and
`1 - g = prod (1 - h_c')` over the cells c' after the last stroke. So the factors stand cell by
cell,
`p(z) = prod_t p(whether_t | z_<t) * [p(where_t | z_<t) * p(what_t | where_t, z_<t)]^whether_t`,
with `where` the placement within the cell, and the analytic KL of section 6 holds cell by cell.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from npdraw.model.attention import Layer, Lists
from npdraw.model.latents import Factors, Latents, Relaxed, blank
from npdraw.model.layout import Layout, neighbours, reverse_neighbours

ROWS = 64
"""In bf16 on a CPU, rows of strokes are padded to a multiple of this: oneDNN compiles a kernel for
each number of rows there, and a long training would never stop compiling new ones (LOG.md,
2026-11-26)."""


@dataclass
class Unfinished:
    """Drawings in the making, all with the same number of strokes; one row for each."""

    image: Tensor
    """Which image it is, int64 [N]."""
    x: Tensor
    """What the next pass of the Transformer reads, the last stroke or the start: [N, width]."""
    last: Tensor
    """Cell of the last stroke, -1 before the first, T if it is done: int64 [N, 1]."""
    surroundings: Tensor
    """Of all cells, fp32 [N, T, width]."""
    pull: Tensor
    """What they add to the question of each cell, fp32 [N, T, 2 * width]."""
    memories: list[Tensor]
    """Keys and values of each layer, see `Attention.memory`."""

    def part(self, rows: slice) -> "Unfinished":
        """Return some of them; what is written there is written here."""
        return self._take(rows, [memory[:, rows] for memory in self.memories])

    def only(self, rows: Tensor, count: int) -> "Unfinished":
        """Return a copy of some of them, which have read `count` rows."""
        memories = []
        for memory in self.memories:
            kept = memory.new_empty(len(memory), len(rows), *memory.shape[2:])
            kept[:, :, :, :count] = memory[:, rows, :, :count]
            memories.append(kept)
        return self._take(rows, memories)

    def _take(self, rows: slice | Tensor, memories: list[Tensor]) -> "Unfinished":
        around, pull = self.surroundings[rows], self.pull[rows]
        return Unfinished(self.image[rows], self.x[rows], self.last[rows], around, pull, memories)


class Prior(nn.Module):
    """p(z) over the steps of a layout.

    A causal Transformer reads a start and the strokes so far. A cell then asks with the state after
    the last stroke before it and with its surroundings: its position and the embeddings of its
    neighbours that are already drawn (left, above, and the two beside that). A part is embedded
    through a learned vector and through its pixels, so that similar parts start out similar and
    the surroundings are a glimpse of the canvas so far.
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
        # All cells pass these, but only strokes the layers: so they are few, and what depends on
        # the state alone or on the cell alone is computed once for each.
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

    def _table(self) -> Tensor:
        """Embeddings of the parts, [K, width]."""
        table: Tensor = self.part_embedding + self.pixel_embedding(self.bank.flatten(1))
        return table

    def _embed(self, z: Relaxed) -> Tensor:
        """Embed what each cell drew, linear in the soft latents: [N, T, width]."""
        drawn = z.what @ self._table()
        if self.layout.placements > 1:
            drawn = drawn + z.where @ self.where_embedding
        paint = z.whether[..., None]
        embedded: Tensor = paint * drawn + (1 - paint) * self.blank_embedding
        return embedded

    def _surroundings(self, embedded: Tensor) -> Tensor:
        """Where each cell is and what is drawn around it, from the embeddings: [N, T, width]."""
        around = F.pad(embedded, (0, 0, 1, 0)).index_select(1, self.source.flatten())
        inputs: Tensor = self.neighbours(around.view(*embedded.shape[:2], -1)) + self.position
        return inputs

    def _whether(self, hidden: Tensor) -> Tensor:
        """Logits of the hazards of cells, fp32 [N, t]; in the type that `hidden` has."""
        weight, bias = self.whether_head.weight, self.whether_head.bias
        with torch.autocast(hidden.device.type, enabled=False):
            whether = F.linear(hidden, weight.to(hidden.dtype), bias.to(hidden.dtype))
        return whether.squeeze(2).float()

    def _where_and_what(
        self, state: Tensor, surroundings: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Log probabilities of where and what at cells, fp32 [N, t, O] and [N, t, O, K]."""
        h = self.feature_norm(state + surroundings + self.feature(hidden))
        where = torch.log_softmax(self.where_head(h).float(), 2)
        what = self.what_head(h[:, :, None] + self.chosen_where)
        return where, torch.log_softmax(what.float(), 3)

    def forward(self, z: Relaxed) -> Factors:
        """Return p(z_t | z_<t) of every cell in one pass; cell t sees only the cells before it.

        A cell of soft `whether` above 1/2 is a stroke. Its embedding is linear in whether and what,
        and so their gradients reach all later cells. A cell below 1/2 is no stroke; its gradients
        reach the cells that it surrounds. How crossing 1/2 changes the list has no gradient.
        """
        embedded = self._embed(z)
        surroundings = self._surroundings(embedded)
        painted = z.whether > 0.5
        before = painted.cumsum(1) - painted.long()  # strokes before each cell
        multiple = ROWS if torch.is_autocast_enabled(painted.device.type) else 1
        lists, cells = lists_of(painted, before, multiple, padded=painted.is_cuda)
        stroke = self.stroke(embedded.flatten(0, 1).index_select(0, cells))
        stroke = stroke + surroundings.flatten(0, 1).index_select(0, cells)
        x = torch.cat([self.start.to(stroke.dtype).expand(len(painted), -1), stroke])
        for layer in self.layers:
            x = layer(x, lists)
        push = self.from_state(self.norm(x))
        states = lists.spread(torch.cat([x.to(push.dtype), push], 1))  # [N, L, 3 * width]
        # A product with one-hot rows, because the backward pass of a gather is slower.
        last = before[..., None] == torch.arange(lists.length, device=before.device)
        state, push = (last.to(states.dtype) @ states).split([self.width, 2 * self.width], 2)
        hidden = F.gelu(push + self.from_cell(surroundings))
        return Factors(self._whether(hidden), *self._where_and_what(state, surroundings, hidden))

    def log_prob(self, z: Latents) -> Tensor:
        """Return log p(z) of hard drawings in nats, [N]."""
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
        """Draw hard drawings stroke by stroke, with a key/value cache.

        `uniform` [N, T, 3] in [0, 1) decides whether, where and what of each cell by itself, so
        that image i does not depend on the others. The first `given_steps` cells are those of
        `given` (completion), those from `until` on stay blank; `temperature` divides all logits.
        `at_once` divides N: every product has the rows of so many drawings, because float sums
        depend on their number (0: of all). Drawings that are done give way to others, and with the
        longest it ends.
        """
        images, steps, device = len(uniform), self.layout.steps, uniform.device
        at_once = at_once or images
        z, cells = blank(images, steps, device), torch.arange(steps, device=device)
        clamped, fixed = cells < given_steps, z if given is None else given
        ahead = cells < (steps if until is None else until)
        layers: list[Layer] = list(self.layers)  # type: ignore[arg-type]
        maps = [layer.attention.maps_for_steps() for layer in layers]
        table, beside = self._table(), reverse_neighbours(self.source)

        def draw(now: Unfinished, count: int) -> None:
            x = now.x
            for layer, known, memory in zip(layers, maps, now.memories, strict=True):
                x = layer.step(x, known, memory, count)
            hidden = F.gelu(self.from_state(self.norm(x))[:, None] + now.pull[:, count:])
            chance = torch.sigmoid(self._whether(hidden) / temperature)
            hit = uniform[now.image, :, 0] < F.pad(chance, (count, 0))
            hit = torch.where(clamped, fixed.whether[now.image], hit) & ahead & (cells > now.last)
            goes_on = hit.any(1)
            # An image that is done goes along with any cell, and leaves no trace.
            cell = torch.where(goes_on, hit.long().argmax(1), steps - 1)
            row, at = torch.arange(len(cell), device=device), (now.image, cell)
            around = now.surroundings[row, cell]
            where, what = self._where_and_what(
                x[:, None], around[:, None], hidden[row, cell - count][:, None]
            )
            sure = torch.full((len(cell), 1), torch.inf, device=device)  # it is a stroke
            drawn = Factors(sure, where, what).sample(uniform[at][:, None], temperature)
            where = torch.where(clamped[cell], fixed.where[at], drawn.where[:, 0])
            what = torch.where(clamped[cell], fixed.what[at], drawn.what[:, 0])
            z.whether[at] |= goes_on
            z.where[at] = torch.where(goes_on, where, z.where[at])
            z.what[at] = torch.where(goes_on, what, z.what[at])
            now.last.copy_(torch.where(goes_on, cell, steps)[:, None])
            embedded = F.embedding(what, table)
            if self.layout.placements > 1:
                embedded = embedded + F.embedding(where, self.where_embedding)
            now.x.copy_(self.stroke(embedded) + around)
            change = self._change(embedded - self.blank_embedding)  # [N, 4, width]
            change = change * (beside >= 0)[cell][..., None]
            places = beside.clamp_min(0)[cell][..., None].expand(-1, -1, self.width)
            now.surroundings.scatter_add_(1, places, change)
            now.pull.scatter_add_(1, places.repeat(1, 1, 2), self.from_cell(change).float())

        rows = self._unfinished(images)
        for count in range(steps):  # stroke number `count` is at cell `count` or later
            for first in range(0, len(rows.image), at_once):
                draw(rows.part(slice(first, first + at_once)), count)
            going = (rows.last < steps).squeeze(1)
            needed = -(-int(going.sum()) // at_once) * at_once
            if needed == 0:
                break
            if needed < len(going):
                first_going = going.int().argsort(descending=True, stable=True)
                rows = rows.only(first_going[:needed], count + 1)
        return z

    def _unfinished(self, images: int) -> "Unfinished":
        """Return `images` drawings without a stroke."""
        # From a stroke to the next all cells are blank, so every later cell can ask as if it were
        # the next one; a stroke changes the surroundings of the cells beside it.
        steps, device = self.layout.steps, self.start.device
        blanks = self.blank_embedding.expand(1, steps, -1)
        surroundings = self._surroundings(blanks).float().repeat(images, 1, 1)
        return Unfinished(
            torch.arange(images, device=device),
            self.start.detach().repeat(images, 1),
            torch.full((images, 1), -1, device=device),
            surroundings,
            self.from_cell(surroundings).float(),
            [layer.attention.memory(images, steps + 1) for layer in self.layers],  # type: ignore[union-attr,operator]
        )

    def _change(self, embedded: Tensor) -> Tensor:
        """Return what a change of a cell's embedding [N, width] changes in surroundings.

        In those where it is the left, upper, upper left, upper right neighbour: fp32 [N, 4, width].
        """
        weight: Tensor = self.neighbours.weight
        mix = weight.unflatten(1, (4, -1)).transpose(0, 1).flatten(0, 1)
        change: Tensor = F.linear(embedded, mix).float().unflatten(1, (4, self.width))
        return change


def lists_of(
    painted: Tensor, before: Tensor, multiple: int = 1, *, padded: bool
) -> tuple[Lists, Tensor]:
    """Return the lists of a start and the strokes, and the cells of the rows after the starts.

    `painted` bool [N, T], `before` the number of strokes before each cell. Cells are numbered
    through all images, int64 [M - N]. Blank cells may follow the strokes of a list, where no stroke
    looks: as many as make the rows a `multiple`, if there are so many, or, if `padded`, all of
    them, so that no shape depends on the data and a GPU waits for nothing.
    """
    images, steps = painted.shape
    cells = torch.arange(steps, device=painted.device)
    count = painted.sum(1, keepdim=True)
    place = 1 + torch.where(painted, before, count + cells - before)
    if padded:
        length, chosen = steps + 1, torch.arange(painted.numel(), device=painted.device)
    else:
        length = int(count.max()) + 1
        spare = (~painted & (place < length)).flatten().nonzero().squeeze(1)
        strokes = painted.flatten().nonzero().squeeze(1)
        chosen = torch.cat([strokes, spare[: -(images + len(strokes)) % multiple]])
    first = torch.arange(images, device=painted.device) * length
    rows = (first[:, None] + place).flatten().index_select(0, chosen)
    return Lists(images, length, torch.cat([first, rows])), chosen
