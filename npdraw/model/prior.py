"""The Transformer prior over drawings, p(z) (model.md section 5; paper section 3.2).

`p(z) = prod_t p(whether_t | z_<t) * [p(where_t | z_<t) * p(what_t | where_t, z_<t)]^whether_t`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from npdraw.model.latents import Factors, Latents, Relaxed, blank
from npdraw.model.layout import Layout


class Attention(nn.Module):
    """Causal multi-head self-attention over steps, in one pass or one step at a time.

    Two matrix products and a softmax in fp32. For tens of steps this is faster on CPU than
    `scaled_dot_product_attention`, whose backward pass in bf16 is many times slower (LOG.md).

    Where a head is as wide as the model or wider (the paper's 16 heads of 64 channels on a width of
    64), the products of the matrices are formed first: with keys `K x` and values `V x`, scores are
    `q^T K x = (K^T q)^T x` and the output is `O V (sum of weighted x)`. So all heads share one
    memory, x itself, and half of the multiplications are saved. Biases of keys shift all scores
    of a query alike and drop out.
    """

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, head_width**-0.5
        self.shared = head_width >= width
        self.inward = nn.Linear(width, 3 * heads * head_width)
        self.outward = nn.Linear(heads * head_width, width)

    def maps(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return weight and bias of the map to queries (and keys, values), and of the map out."""
        weight, bias = self.inward.weight, self.inward.bias
        outward, final = self.outward.weight, self.outward.bias
        if not self.shared:
            return weight, bias, outward, final
        query, key, value = weight.unflatten(0, (3, self.heads, -1))  # [heads, head_width, width]
        shift, _, constant = bias.unflatten(0, (3, self.heads, -1))
        out = outward.unflatten(1, (self.heads, -1)).transpose(0, 1)  # [heads, width, head_width]
        return (
            (key.transpose(1, 2) @ query).flatten(0, 1),
            (key.transpose(1, 2) @ shift[..., None]).flatten(),
            (out @ value).transpose(0, 1).flatten(1),
            outward @ constant.flatten() + final,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return what each step gathers from the steps up to itself, [N, T, width]."""
        inward, shift, outward, final = self.maps()
        packed = F.linear(x, inward, shift)
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        if self.shared:  # one memory; its queries are the heads of step 0, of step 1, ...
            query = packed.view(len(x), 1, -1, x.shape[2])
            key = value = x.to(packed.dtype)[:, None]
            later = later.repeat_interleave(self.heads, 0)
        else:  # a memory for each head
            query, key, value = packed.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = (query * self.scale) @ key.transpose(2, 3)  # [N, memories, queries, T]
        weights = torch.softmax(scores.masked_fill(later, float("-inf")), 3, dtype=torch.float32)
        mixed = weights.to(value.dtype) @ value
        mixed = mixed if self.shared else mixed.transpose(1, 2)
        return F.linear(mixed.reshape(*x.shape[:2], -1), outward, final)

    def start(self, images: int, steps: int) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return what `step` needs: the maps, and room for the keys and values of all steps."""
        device = self.inward.weight.device
        channels = self.inward.in_features if self.shared else self.outward.in_features
        groups = 1 if self.shared else self.heads
        size = (2 - self.shared, images, groups, steps, channels // groups)
        with torch.autocast(device.type, enabled=False):
            return self.maps(), torch.empty(size, device=device)

    def step(self, x: Tensor, maps: tuple[Tensor, ...], memory: Tensor, step: int) -> Tensor:
        """The same for step `step` alone, x [N, width].

        `memory` [2 or 1, N, memories, T, channels] holds the steps before and takes this one. In
        fp32: for one step of some hundred images casts would cost more than bf16 saves.
        """
        inward, shift, outward, final = maps
        with torch.autocast(x.device.type, enabled=False):
            packed = F.linear(x, inward, shift)
            if self.shared:
                query = packed.unflatten(1, (1, self.heads, -1))
                memory[0, :, 0, step] = x
            else:
                packed = packed.unflatten(1, (3, self.heads, -1)).transpose(0, 1)
                query, memory[:, :, :, step] = packed[0, :, :, None], packed[1:]
            seen = memory[:, :, :, : step + 1]
            scores = (query * self.scale) @ seen[0].transpose(2, 3)
            mixed = torch.softmax(scores, 3) @ seen[-1]  # [N, memories, heads a memory, channels]
            return F.linear(mixed.flatten(1), outward, final)


class Layer(nn.Module):
    """Attention and MLP, each on normalised input and added to it."""

    def __init__(
        self, width: int, heads: int, head_width: int, mlp_width: int, dropout: float
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, head_width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_width), nn.GELU(), nn.Linear(mlp_width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, width] -> [N, T, width], causal."""
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))  # type: ignore[no-any-return]

    def start(self, images: int, steps: int) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return what `step` needs; see `Attention.start`."""
        return self.attention.start(images, steps)

    def step(self, x: Tensor, maps: tuple[Tensor, ...], memory: Tensor, step: int) -> Tensor:
        """The same for one step, [N, width]; see `Attention.step`."""
        x = x + self.attention.step(self.attention_norm(x), maps, memory, step)
        return x + self.mlp(self.mlp_norm(x))  # type: ignore[no-any-return]


class Prior(nn.Module):
    """p(z) over the steps of a layout.

    The input of a step is its position and the embeddings of its neighbours that are already
    drawn: left, above, and the two beside that. A part is embedded through a learned vector and
    through its pixels, so that similar parts start out similar and the neighbourhood is a glimpse
    of the canvas so far.
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
        self.layers = nn.ModuleList(
            Layer(width, heads, head_width, mlp_width, dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.whether_head = nn.Linear(width, 1)
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
        """Embed what each step drew, linear in the soft latents: [N, T, width]."""
        drawn = z.what @ self._table()
        if self.layout.placements > 1:
            drawn = drawn + z.where @ self.where_embedding
        paint = z.whether[..., None]
        embedded: Tensor = paint * drawn + (1 - paint) * self.blank_embedding
        return embedded

    def _embed_hard(self, z: Latents, table: Tensor) -> Tensor:
        """The same of hard drawings: a lookup in the `_table`."""
        drawn = F.embedding(z.what, table)
        if self.layout.placements > 1:
            drawn = drawn + F.embedding(z.where, self.where_embedding)
        return torch.where(z.whether[..., None], drawn, self.blank_embedding)

    def _input(self, embedded: Tensor) -> Tensor:
        """Input of every step from the embeddings of the steps before it, [N, T, width]."""
        around = F.pad(embedded, (0, 0, 1, 0)).index_select(1, self.source.flatten())
        inputs: Tensor = self.neighbours(around.view(*embedded.shape[:2], -1)) + self.position
        return inputs

    def _factors(self, h: Tensor) -> Factors:
        """Distributions of whether, where and what from the features [N, t, width], in fp32."""
        h = self.norm(h)
        whether = self.whether_head(h).squeeze(2).float()
        where = torch.log_softmax(self.where_head(h).float(), 2)
        what = self.what_head(h[:, :, None] + self.chosen_where)  # [N, t, O, K]
        return Factors(whether, where, torch.log_softmax(what.float(), 3))

    def forward(self, z: Relaxed) -> Factors:
        """Return p(z_t | z_<t) of every step in one pass; step t sees only the steps before it."""
        h = self._input(self._embed(z))
        for layer in self.layers:
            h = layer(h)
        return self._factors(h)

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
        """Draw hard drawings step by step, with a key/value cache.

        `uniform` [N, T, 3] in [0, 1) decides whether, where and what of each image by itself, so
        that image i does not depend on the others. The first `given_steps` steps are those of
        `given` (completion); `temperature` divides all logits.
        """
        images, steps, device = len(uniform), self.layout.steps, uniform.device
        z = blank(images, steps, device)
        table = self._table()
        embedded = torch.zeros(images, steps + 1, self.width, device=device)  # nothing, then steps
        state = [(layer, *layer.start(images, steps)) for layer in self.layers]  # type: ignore[operator]
        for t in range(steps):
            now = slice(t, t + 1)
            around = embedded.index_select(1, self.source[t]).flatten(1)
            h = self.neighbours(around) + self.position[t]
            for layer, maps, memory in state:
                h = layer.step(h, maps, memory, t)
            if given is not None and t < given_steps:
                drawn = Latents(given.whether[:, now], given.where[:, now], given.what[:, now])
            else:
                drawn = self._factors(h[:, None]).sample(uniform[:, now], temperature)
            z.whether[:, now], z.where[:, now], z.what[:, now] = (
                drawn.whether,
                drawn.where,
                drawn.what,
            )
            embedded[:, t + 1] = self._embed_hard(drawn, table)[:, 0]
        return z


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
