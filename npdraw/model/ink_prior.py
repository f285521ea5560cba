"""The prior over drawings whose strokes have ink (docs/model.md, section 5).

A stroke is chosen as ink, then contrast given the ink, then pattern given both. Cells of a later
layer also see what the earlier layers have painted under and around them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from npdraw.model.brush import Painting
from npdraw.model.encoder import MARGIN
from npdraw.model.factors import NUMBERS, Factors, sample_inverse_cdf
from npdraw.model.ink import InkBrush
from npdraw.model.latents import Latents, Relaxed
from npdraw.model.prior import Prior


class InkPrior(Prior):
    """p(z) over strokes with ink, on one or more layers.

    Tables of all layers are stored one below another: the row of ink i of layer l is l * I + i.
    """

    brush: InkBrush

    def _add_embeddings(self) -> None:
        """Create the embeddings of inks, contrasts and pixels, and the glimpses."""
        layers, sizes, width = len(self.layout.grids), self.brush.sizes, self.width
        self.embeddings = nn.ParameterDict(
            {name: torch.randn(layers * sizes[name], width) for name in _CHOICES[:-1]}
        )
        channels = self.brush.channels
        pixels = [channels * grid.part_size**2 for grid in self.layout.grids]
        self.pixel_embeddings = nn.ModuleList(nn.Linear(n, width, bias=False) for n in pixels)
        self.glimpses = nn.ModuleList(
            nn.Conv2d(channels, width, grid.part_size + 2 * MARGIN, grid.stride, MARGIN, bias=False)
            for grid in self.layout.grids[1:]
        )

    def _add_heads(self) -> None:
        """Create the heads of ink, contrast and pattern, each given the choices before it."""
        layers, width = len(self.layout.grids), self.width
        self.heads = nn.ModuleDict(
            {name: nn.Linear(width, layers * self.brush.sizes[name]) for name in _CHOICES}
        )
        self.given = nn.ModuleDict({name: nn.Linear(width, width) for name in _CHOICES[1:]})

    def _rows(self, name: str, layer: int) -> slice:
        """Return the rows of a layer in the tables of a choice."""
        size = self.brush.sizes[name]
        return slice(layer * size, (layer + 1) * size)

    def _per_layer(self, z: Relaxed) -> list[tuple[int, slice, Relaxed]]:
        """Return number, steps and latents of each layer."""
        return [(layer, span, z.steps(span)) for layer, span in enumerate(self.layout.spans)]

    def _drawn(self, z: Relaxed, painting: Painting | None) -> Tensor:
        """Embed ink, contrast and pixels of each cell, equation (5.8): [N, T, width].

        A pattern is embedded through its pixels alone.
        """
        assert painting is not None  # `forward` paints drawings with ink
        drawn = []
        for layer, _, some in self._per_layer(z):
            pixels = painting.contents[layer].flatten(2)
            embedded, tensors = self.pixel_embeddings[layer](pixels), some.tensors()
            for name, table in self.embeddings.items():
                embedded = embedded + tensors[name] @ table[self._rows(name, layer)]
            drawn.append(embedded)
        return torch.cat(drawn, 1)

    def stroke_tables(self) -> tuple[Tensor, ...]:
        """Return nothing: a stroke's pixels are embedded when it is drawn."""
        return ()

    def embed_stroke(self, drawn: Latents, cell: Tensor, _: tuple[Tensor, ...]) -> Tensor:
        """Embed strokes [R], as `_drawn` does: [R, width]."""
        layer, tensors = self.layer_of[cell], drawn.tensors()
        embedded = torch.zeros(len(cell), self.width, device=cell.device)
        for name, table in self.embeddings.items():
            row = layer * self.brush.sizes[name] + tensors[name]
            embedded = embedded + F.embedding(row, table)
        for number, embedding in enumerate(self.pixel_embeddings):
            pixels = self.brush.content(drawn, number).flatten(1)
            embedded = embedded + embedding(pixels) * (layer == number)[:, None]
        return embedded

    def glimpse(self, painting: Painting | None) -> Tensor | None:
        """Return what the cells see of the canvas of earlier layers, 0 in the first layer."""
        if not self.glimpses or painting is None:
            return None
        *earlier, last = painting.canvases
        seen = [last.new_zeros(len(last), self.layout.spans[0].stop, self.width)]
        for layer, canvas in enumerate(earlier, 1):
            seen.append(self._look(canvas[:, :-1], layer))
        return torch.cat(seen, 1)

    def _look(self, painted: Tensor, layer: int) -> Tensor:
        """Return what the cells of a layer see of a canvas image: [N, t, width]."""
        grid = self.layout.grids[layer]
        seen: Tensor = self.glimpses[layer - 1](grid.to_frame(painted))
        return seen.flatten(2).transpose(1, 2)

    def glimpse_of(self, z: Latents, layer: int) -> Tensor:
        """Return what the cells of a later layer see of the earlier ones of `z`: [N, t, width]."""
        canvas = None
        for number, span in enumerate(self.layout.spans[:layer]):
            canvas = self.brush.paint_layer(z[:, span], number, canvas)
        assert canvas is not None  # a later layer has one before it
        return self._look(canvas[:, :-1], layer)

    def _chain(self, features: Tensor, name: str, chosen: Tensor) -> Tensor:
        """Return the features of the next choice, given the embedding of the choice `name`."""
        after = _CHOICES[_CHOICES.index(name) + 1]
        given = features + chosen
        return given + self.given[after](F.silu(given))  # type: ignore[no-any-return]

    def _factors(self, whether: Tensor, features: Tensor, z: Relaxed) -> Factors:
        """Return the factors of all cells, equation (5.9), given ink and contrast of `z`.

        What is listed for the candidates of `z` only.
        """
        factors: dict[str, list[Tensor]] = {name: [] for name in _CHOICES}
        for layer, span, some in self._per_layer(z):
            state, tensors = features[:, span], some.tensors()
            for name in _CHOICES:
                rows = self._rows(name, layer)
                weight, bias = self.heads[name].weight, self.heads[name].bias
                logits = F.linear(state, weight[rows], bias[rows])  # type: ignore[index]
                log_prob = torch.log_softmax(logits.float(), 2)
                if name == "what" and some.candidates is not None:
                    log_prob = log_prob.gather(2, some.candidates)
                factors[name].append(log_prob)
                if name != _CHOICES[-1]:
                    chosen = tensors[name] @ self.embeddings[name][rows]
                    state = self._chain(state, name, chosen)
        ink, contrast, what = (torch.cat(factors[name], 1) for name in _CHOICES)
        nowhere = torch.zeros_like(whether)[..., None]
        return Factors(whether, nowhere, what[:, :, None], ink, contrast, z.candidates)

    def draw_stroke(
        self, features: Tensor, cell: Tensor, uniform: Tensor, temperature: float
    ) -> Latents:
        """Draw ink, contrast and pattern of a stroke for each row, one after the other."""
        layer = self.layer_of[cell]
        rows = torch.arange(len(cell), device=cell.device)
        state, chosen = features, {}
        for name in _CHOICES:
            size = self.brush.sizes[name]
            logits = self.heads[name](state).float().unflatten(1, (-1, size))[rows, layer]
            chosen[name] = sample_inverse_cdf(logits / temperature, uniform[:, NUMBERS[name]])
            if name != _CHOICES[-1]:
                embedded = F.embedding(layer * size + chosen[name], self.embeddings[name])
                state = self._chain(state, name, embedded)
        painted = torch.ones_like(cell, dtype=torch.bool)
        return Latents(painted, torch.zeros_like(cell), **chosen)


_CHOICES = ("ink", "contrast", "what")
"""The choices of a stroke, in the order in which they are made."""
