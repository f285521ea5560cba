"""The Transformer prior over drawings, p(z), as lists of strokes (docs/model.md, sections 1 and 5).

Paper, section 3.2. A drawing is the list of its painted cells. After each stroke the prior decides
*whether* to go on, *where* among the later cells, and *what* part. The first two are held as
hazards: `h_c` is the probability that the next stroke is at cell c, given that it is not before c,
equation (1.3):
`h_c = g w_c / (1 - g + g sum_{c' >= c} w_c')` with `g = p(go on)`, `w_c = p(next cell | go on)`.
Equation (1.4) is the way back. So p(z) factorises cell by cell, equation (1.5),
`p(z) = prod_t p(whether_t | z_<t) * [p(where_t | z_<t) * p(what_t | where_t, z_<t)]^whether_t`,
with `where` the offset within the cell, and the KL, equation (6.9), is analytic in every cell.

`Prior` is what all drawings share. What strokes are made of is up to its subclasses, `PartPrior`
for the parts of a bank and `InkPrior` for strokes with ink.
"""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from npdraw.model.attention import ROWS, Layer, lists_of
from npdraw.model.brush import Brush, Painting
from npdraw.model.factors import Factors
from npdraw.model.latents import Latents, Relaxed
from npdraw.model.layout import neighbours
from npdraw.model.partial_drawings import SampleRequest
from npdraw.model.sampling import Sampler


class Prior(nn.Module, ABC):
    """p(z) over the steps of a layout.

    A causal Transformer reads a start row and the strokes so far. The factors of a cell depend on
    the state after the last stroke before it and on its surroundings: its position and the
    embeddings of its neighbours already drawn (left, above, above left, above right).
    """

    def __init__(
        self,
        brush: Brush,
        *,
        width: int,
        depth: int,
        heads: int,
        head_width: int,
        mlp_width: int,
        dropout: float = 0.0,
        classes: int = 0,
    ) -> None:
        """The brush says what strokes there are; with `classes` this is p(z | label)."""
        super().__init__()
        self.brush, self.layout, self.width = brush, brush.layout, width
        self._add_embeddings()
        self.blank_embedding = nn.Parameter(torch.randn(width))
        self.position = nn.Parameter(torch.randn(self.layout.steps, width))
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
        self._add_heads()
        self.class_embedding = nn.Parameter(torch.randn(classes, width)) if classes else None
        self.source: Tensor
        self.layer_of: Tensor
        self.register_buffer("source", neighbours(self.layout), persistent=False)
        self.register_buffer("layer_of", self.layout.layer_of, persistent=False)

    @abstractmethod
    def _add_embeddings(self) -> None:
        """Create the modules of `_drawn` and `embed_stroke`."""

    @abstractmethod
    def _add_heads(self) -> None:
        """Create the modules of `_factors` and `draw_stroke`."""

    @abstractmethod
    def _drawn(self, z: Relaxed, painting: Painting | None) -> Tensor:
        """Embed what each cell would draw, linear in the soft latents: [N, T, width]."""

    @abstractmethod
    def _factors(self, whether: Tensor, features: Tensor, z: Relaxed) -> Factors:
        """Return the factors of all cells, given `whether` [N, T].

        `features` are v of equation (5.5), [N, T, width]. Factors that depend on others of the same
        cell are those given `z`.
        """

    @abstractmethod
    def draw_stroke(
        self, features: Tensor, cell: Tensor, uniform: Tensor, temperature: float
    ) -> Latents:
        """Draw a stroke [R] for each row, given that it is painted at `cell` [R].

        `features` are v of equation (5.5), [R, width], and `uniform` [R, numbers] in [0, 1).
        """

    @abstractmethod
    def stroke_tables(self) -> tuple[Tensor, ...]:
        """Return what `embed_stroke` needs and is the same for all strokes."""

    @abstractmethod
    def embed_stroke(self, drawn: Latents, cell: Tensor, tables: tuple[Tensor, ...]) -> Tensor:
        """Embed the strokes [R] at `cell` [R], as `_drawn` does: [R, width]."""

    def glimpse(self, painting: Painting | None) -> Tensor | None:
        """Return what the cells see of the canvas of earlier layers, [N, T, width], or None."""
        del painting
        return None

    def glimpse_of(self, z: Latents, layer: int) -> Tensor:
        """Return what the cells of a later layer see of the earlier ones of `z`: [N, t, width].

        Only priors over drawings of several layers have it.
        """
        raise NotImplementedError

    @property
    def transformer(self) -> list[Layer]:
        """The layers of the Transformer."""
        return list(self.layers)  # type: ignore[arg-type]

    def _embed(self, z: Relaxed, painting: Painting | None) -> Tensor:
        """Embed what each cell drew, equation (5.1), linear in the soft latents: [N, T, width]."""
        paint = z.whether[..., None]
        embedded: Tensor = paint * self._drawn(z, painting) + (1 - paint) * self.blank_embedding
        return embedded

    @property
    def classes(self) -> int:
        """Number of classes; 0 for p(z)."""
        return 0 if self.class_embedding is None else len(self.class_embedding)

    def embed_class(self, label: Tensor | None) -> Tensor | None:
        """Embed the class of each drawing, int64 [N] in 0..classes - 1: [N, 1, width].

        Returns None for p(z), which has no classes.

        Raises:
            ValueError: there are labels without classes, or the other way round.
        """
        if (label is None) != (self.class_embedding is None):
            raise ValueError(f"a prior with {self.classes} classes and the labels {label}")
        if label is None or self.class_embedding is None:
            return None
        return F.embedding(label, self.class_embedding)[:, None]

    def surroundings(self, embedded: Tensor) -> Tensor:
        """Embed each cell's position and what is drawn around it, equation (5.2): [N, T, width]."""
        images, steps, width = embedded.shape
        rows = F.pad(embedded, (0, 0, 1, 0)).flatten(0, 1)
        # Rows of all images at once: along the second axis a selection takes five times as long.
        first = torch.arange(images, device=rows.device)[:, None] * (steps + 1)
        around = rows.index_select(0, (first + self.source.flatten()).flatten())
        inputs: Tensor = self.neighbours(around.view(images, steps, 4 * width)) + self.position
        return inputs

    def whether_logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of the hazards, equation (5.4), fp32 [N, t].

        Computed in the dtype of `hidden`, [N, t, 2 * width].
        """
        weight, bias = self.whether_head.weight, self.whether_head.bias
        with torch.autocast(hidden.device.type, enabled=False):
            whether = F.linear(hidden, weight.to(hidden.dtype), bias.to(hidden.dtype))
        return whether.squeeze(2).float()

    def features(self, state: Tensor, surroundings: Tensor, hidden: Tensor) -> Tensor:
        """Return v of equation (5.5), [..., width]."""
        features: Tensor = self.feature_norm(state + surroundings + self.feature(hidden))
        return features

    def forward(
        self, z: Relaxed, painting: Painting | None = None, label: Tensor | None = None
    ) -> Factors:
        """Return p(z_t | z_<t) of every cell in one pass; cell t sees only the cells before it.

        `painting` is that of `z`, if it is known. A prior with classes needs the `label` of each
        drawing, int64 [N] in 0..classes - 1, which is embedded like a position. Equations (5.1) to
        (5.5). A cell whose soft `whether` is above 1/2 is a stroke: its embedding is linear in
        whether and what, and so their gradients reach all later cells. A cell below 1/2 is not a
        stroke: its gradients reach the cells that it surrounds. How crossing 1/2 changes the list
        has no gradient.
        """
        # Embed the cells, and list the strokes of each drawing.
        if painting is None and self.brush.inked:
            painting = self.brush.painting(z)
        embedded = self._embed(z, painting)
        surroundings = self.surroundings(embedded)
        for more in (self.glimpse(painting), self.embed_class(label)):
            if more is not None:
                surroundings = surroundings + more
        painted = z.whether > 0.5
        before = painted.cumsum(1) - painted.long()  # strokes before each cell
        multiple = ROWS if torch.is_autocast_enabled(painted.device.type) else 1
        lists, cells = lists_of(painted, before, multiple, padded=painted.is_cuda)

        # Run the Transformer over the start rows and the strokes, equation (5.3).
        stroke = self.stroke(embedded.flatten(0, 1).index_select(0, cells))
        stroke = stroke + surroundings.flatten(0, 1).index_select(0, cells)
        x = torch.cat([self.start.to(stroke.dtype).expand(len(painted), -1), stroke])
        for layer in self.transformer:
            x = layer(x, lists)

        # Give every cell the state after the last stroke before it.
        push = self.from_state(self.norm(x))
        states = lists.spread(torch.cat([x.to(push.dtype), push], 1))  # [N, L, 3 * width]
        starts = torch.arange(len(before), device=before.device)[:, None] * lists.length
        last = states.flatten(0, 1).index_select(0, (starts + before).flatten())
        last = last.view(*before.shape, 3 * self.width)
        state, push = last.split([self.width, 2 * self.width], 2)
        hidden = F.gelu(push + self.from_cell(surroundings))
        features = self.features(state, surroundings, hidden)
        return self._factors(self.whether_logits(hidden), features, z)

    def log_prob(self, z: Latents, label: Tensor | None = None) -> Tensor:
        """Return log p(z), with classes log p(z | label), of hard drawings in nats, [N], (1.5)."""
        factors: Factors = self(self.brush.one_hot(z), label=label)
        return factors.joint(z)

    def sample(
        self,
        uniform: Tensor,
        *,
        temperature: float = 1.0,
        given: Latents | None = None,
        given_steps: int = 0,
        until: int | None = None,
        label: Tensor | None = None,
        at_once: int = 0,
    ) -> Latents:
        """Sample hard drawings stroke by stroke (equation (5.6); `npdraw.model.sampling`).

        `uniform` [N, T, numbers of the brush] in [0, 1) decides whether, where and what of each
        cell, so that drawing i does not depend on the others. The first `given_steps` cells are
        those of `given` (completion); those from `until` on stay blank. `temperature` divides all
        logits. A prior with classes needs the `label` of each drawing, as in `forward`.

        `at_once` divides N: every matrix product has the rows of that many drawings, because float
        sums depend on the number of rows (0: all N). Finished drawings make way for others, and
        the loop ends with the longest drawing.
        """
        steps = uniform.shape[1]
        cells = torch.arange(steps, device=uniform.device)
        request = SampleRequest(
            uniform,
            temperature,
            given=given,
            clamped=cells < given_steps,
            allowed=cells < (steps if until is None else until),
            label=label,
        )
        return Sampler(self).sample(request, at_once or len(uniform))
