"""The prior over drawings whose strokes are parts of a bank (docs/model.md, section 5)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from npdraw.model.brush import Painting, PartBrush
from npdraw.model.factors import Factors
from npdraw.model.latents import Latents, Relaxed
from npdraw.model.prior import Prior


class PartPrior(Prior):
    """p(z) over parts. What depends on where.

    A part is embedded through a learned vector and through its pixels, so that similar parts start
    out similar and the surroundings show what the canvas looks like there.
    """

    brush: PartBrush

    def _add_embeddings(self) -> None:
        """Create the embeddings of parts and placements."""
        bank = self.brush.bank
        self.part_embedding = nn.Parameter(torch.randn(len(bank), self.width))
        self.pixel_embedding = nn.Linear(bank[0].numel(), self.width, bias=False)
        self.where_embedding = nn.Parameter(torch.zeros(self.layout.placements, self.width))

    def _add_heads(self) -> None:
        """Create the heads of where and what."""
        placements = self.layout.placements
        self.where_head = nn.Linear(self.width, placements)
        self.what_head = nn.Linear(self.width, len(self.brush.bank))
        self.chosen_where = nn.Parameter(torch.zeros(placements, self.width))

    def stroke_tables(self) -> tuple[Tensor, ...]:
        """Return the embeddings of the parts, E of equation (5.1): [K, width]."""
        table = self.part_embedding + self.pixel_embedding(self.brush.bank.flatten(1))
        return (table,)

    def _drawn(self, z: Relaxed, _: Painting | None) -> Tensor:
        """Embed the part of each cell, equation (5.1): [N, T, width]."""
        drawn: Tensor = z.what @ self.stroke_tables()[0]
        if self.layout.placements > 1:
            drawn = drawn + z.where @ self.where_embedding
        return drawn

    def embed_stroke(self, drawn: Latents, _: Tensor, tables: tuple[Tensor, ...]) -> Tensor:
        """Embed the parts of strokes [R]: [R, width]."""
        embedded = F.embedding(drawn.what, tables[0])
        if self.layout.placements > 1:
            embedded = embedded + F.embedding(drawn.where, self.where_embedding)
        return embedded

    def _factors(self, whether: Tensor, features: Tensor, _: Relaxed) -> Factors:
        """Return the factors of all cells, equation (5.5)."""
        return Factors(whether, *self._where_and_what(features))

    def _where_and_what(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(where) and log p(what | where): fp32 [N, t, O] and [N, t, O, K]."""
        where = torch.log_softmax(self.where_head(features).float(), 2)
        what = self.what_head(features[:, :, None] + self.chosen_where)
        return where, torch.log_softmax(what.float(), 3)

    def draw_stroke(
        self, features: Tensor, cell: Tensor, uniform: Tensor, temperature: float
    ) -> Latents:
        """Draw placement and part of a stroke for each row."""
        certain = torch.full((len(cell), 1), torch.inf, device=cell.device)
        factors = Factors(certain, *self._where_and_what(features[:, None]))
        return factors.sample(uniform[:, None], temperature)[:, 0]
