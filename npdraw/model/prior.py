"""The Transformer prior over drawings, p(z), as lists of strokes (model.md sections 1 and 5).

Paper section 3.2. A drawing is the list of its painted cells. After each stroke the prior asks
*whether* to go on, *where* among the later cells, and *what* part. The answers to the first two are
held as hazards: `h_c`, the probability that the next stroke is at cell c, given that it is not
before c. They are the same distributions as `g = p(go on)` and `w_c = p(next cell | go on)`:
`h_c = g w_c / (1 - g + g sum_{c' >= c} w_c')`, and back: `g w_c = h_c prod_{c' < c} (1 - h_c')` and
`1 - g = prod (1 - h_c')` over the cells c' after the last stroke. So the factors stand cell by
cell,
`p(z) = prod_t p(whether_t | z_<t) * [p(where_t | z_<t) * p(what_t | where_t, z_<t)]^whether_t`,
with `where` the placement within the cell, and the analytic KL of section 6 holds cell by cell.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from npdraw.model.attention import Layer, Lists
from npdraw.model.latents import Factors, Latents, Relaxed, blank
from npdraw.model.layout import Layout


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
        lists, cells = lists_of(painted, before, padded=painted.is_cuda)
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
        factors = self(z.one_hot(self.layout.placements, len(self.bank)))
        return torch.stack(factors.log_prob(z)).sum((0, 2))

    @torch.no_grad()
    def sample(
        self,
        uniform: Tensor,
        *,
        temperature: float = 1.0,
        given: Latents | None = None,
        given_steps: int = 0,
    ) -> Latents:
        """Draw hard drawings stroke by stroke, with a key/value cache.

        `uniform` [N, T, 3] in [0, 1) decides whether, where and what of each cell by itself, so
        that image i does not depend on the others. The first `given_steps` cells are those of
        `given` (completion); `temperature` divides all logits. Ends with the longest drawing.
        """
        images, steps, device = len(uniform), self.layout.steps, uniform.device
        z, row = blank(images, steps, device), torch.arange(images, device=device)
        clamped = torch.arange(steps, device=device) < (0 if given is None else given_steps)
        fixed = z if given is None else given
        layers = [(layer, *layer.start(images, steps + 1)) for layer in self.layers]  # type: ignore[operator]
        # From a stroke to the next all cells are blank, so every later cell can ask as if it were
        # the next one; a stroke changes the surroundings of the cells beside it.
        surroundings = self._surroundings(self.blank_embedding.expand(1, steps, -1))
        surroundings = surroundings.float().repeat(images, 1, 1)
        pull = self.from_cell(surroundings).float()  # [N, T, 2 * width]
        table, beside = self._table(), surrounded(self.source)
        last = torch.full((images, 1), -1, device=device)
        x = self.start.detach().expand(images, -1)
        for count in range(steps):  # stroke number `count` is at cell `count` or later
            for layer, maps, memory in layers:
                x = layer.step(x, maps, memory, count)
            hidden = F.gelu(self.from_state(self.norm(x))[:, None] + pull[:, count:])
            chance = torch.sigmoid(self._whether(hidden) / temperature)
            hit = torch.where(clamped, fixed.whether, uniform[:, :, 0] < F.pad(chance, (count, 0)))
            hit &= torch.arange(steps, device=device) > last
            goes_on = hit.any(1)
            if not goes_on.any():
                break
            # An image that is done goes along with any cell, and leaves no trace.
            cell = torch.where(goes_on, hit.long().argmax(1), steps - 1)
            around = surroundings[row, cell]
            where, what = self._where_and_what(
                x[:, None], around[:, None], hidden[row, cell - count][:, None]
            )
            sure = torch.full((images, 1), torch.inf, device=device)  # it is a stroke
            drawn = Factors(sure, where, what).sample(uniform[row, cell][:, None], temperature)
            where = torch.where(clamped[cell], fixed.where[row, cell], drawn.where[:, 0])
            what = torch.where(clamped[cell], fixed.what[row, cell], drawn.what[:, 0])
            z.whether[row, cell] |= goes_on
            z.where[row, cell] = torch.where(goes_on, where, z.where[row, cell])
            z.what[row, cell] = torch.where(goes_on, what, z.what[row, cell])
            last = torch.where(goes_on, cell, steps)[:, None]
            embedded = F.embedding(what, table)
            if self.layout.placements > 1:
                embedded = embedded + F.embedding(where, self.where_embedding)
            x = self.stroke(embedded) + around
            change = self._change(embedded - self.blank_embedding)  # [N, 4, width]
            change = change * (beside >= 0)[cell][..., None]
            places = beside.clamp_min(0)[cell][..., None].expand(-1, -1, self.width)
            surroundings.scatter_add_(1, places, change)
            pull.scatter_add_(1, places.repeat(1, 1, 2), self.from_cell(change).float())
        return z

    def _change(self, embedded: Tensor) -> Tensor:
        """Return what a change of a cell's embedding [N, width] changes in surroundings.

        In those where it is the left, upper, upper left, upper right neighbour: fp32 [N, 4, width].
        """
        weight: Tensor = self.neighbours.weight
        mix = weight.unflatten(1, (4, -1)).transpose(0, 1).flatten(0, 1)
        change: Tensor = F.linear(embedded, mix).float().unflatten(1, (4, self.width))
        return change


def lists_of(painted: Tensor, before: Tensor, *, padded: bool) -> tuple[Lists, Tensor]:
    """Return the lists of a start and the strokes, and the cells of the rows after the starts.

    `painted` bool [N, T], `before` the number of strokes before each cell. Cells are numbered
    through all images, int64 [M - N]. `padded`: blank cells follow the strokes of each list, where
    no stroke looks, so that no shape depends on the data and a GPU waits for nothing.
    """
    images, steps = painted.shape
    cells = torch.arange(steps, device=painted.device)
    count = painted.sum(1, keepdim=True)
    place = 1 + torch.where(painted, before, count + cells - before)
    if padded:
        length, chosen = steps + 1, torch.arange(painted.numel(), device=painted.device)
    else:
        length = int(count.max()) + 1
        chosen = painted.flatten().nonzero().squeeze(1)
    first = torch.arange(images, device=painted.device) * length
    rows = (first[:, None] + place).flatten().index_select(0, chosen)
    return Lists(images, length, torch.cat([first, rows])), chosen


def neighbours(layout: Layout) -> Tensor:
    """Steps left, above, above left and above right of each step, counted from 1: int64 [T, 4].

    0 stands for a neighbour that does not exist. A step of the first column has the last of the
    row above as its left: the step drawn just before.
    """
    step = torch.arange(layout.steps)
    column = step % layout.columns
    source = torch.stack(
        [step - 1, step - layout.columns, step - layout.columns - 1, step - layout.columns + 1], 1
    )
    exists = source >= 0
    exists[:, 2] &= column > 0
    exists[:, 3] &= column < layout.columns - 1
    exists[:, 3] &= source[:, 3] < step  # a grid of one column has no cell above right
    return (source + 1) * exists


def surrounded(source: Tensor) -> Tensor:
    """The steps that have each step as their left, ... neighbour; -1 for none: int64 [T, 4].

    The reverse of `neighbours`.
    """
    steps = torch.arange(1, len(source) + 1, device=source.device)
    found = source == steps[:, None, None]  # [T, T, 4]: of a step, at a step, as which neighbour
    return torch.where(found.any(1), found.long().argmax(1), -1)
