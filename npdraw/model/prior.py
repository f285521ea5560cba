"""The Transformer prior over drawings, p(z) (model.md section 5; paper section 3.2).

`p(z) = prod_t p(whether_t | z_<t) * [p(where_t | z_<t) * p(what_t | where_t, z_<t)]^whether_t`.
"""

import torch
from torch import Tensor, nn

from npdraw.model.latents import Factors, Latents, Relaxed
from npdraw.model.layout import Layout


class Attention(nn.Module):
    """Causal multi-head self-attention over steps, in one pass or one step at a time.

    Two matrix products and a softmax in fp32. For tens of steps this is faster on CPU than
    `scaled_dot_product_attention`, whose backward pass in bf16 is many times slower (LOG.md).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inward = nn.Linear(width, 3 * width)
        self.outward = nn.Linear(width, width)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N, T, width] -> query, key, value [N, heads, T, width / heads]."""
        packed = self.inward(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return packed[0], packed[1], packed[2]

    def _mix(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        scores = (query @ key.transpose(2, 3)).float() * query.shape[3] ** -0.5
        if mask is not None:
            scores = scores + mask
        mixed = torch.softmax(scores, 3).to(value.dtype) @ value
        output: Tensor = self.outward(mixed.transpose(1, 2).flatten(2))
        return output

    def forward(self, x: Tensor) -> Tensor:
        """Return what each step gathers from the steps up to itself, [N, T, width]."""
        later = torch.full((x.shape[1], x.shape[1]), float("-inf"), device=x.device).triu(1)
        return self._mix(*self._split(x), later)

    def step(self, x: Tensor, cache: Tensor, step: int) -> Tensor:
        """The same for step `step` alone, x [N, 1, width].

        `cache` [2, N, heads, T, width / heads] holds keys and values of the steps before and takes
        those of this one.
        """
        query, key, value = self._split(x)
        cache[0, :, :, step], cache[1, :, :, step] = key[:, :, 0], value[:, :, 0]
        seen = cache[:, :, :, : step + 1].to(query.dtype)
        return self._mix(query, seen[0], seen[1], None)


class Layer(nn.Module):
    """Attention and MLP, each on normalised input and added to it."""

    def __init__(self, width: int, heads: int, mlp_width: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_width), nn.GELU(), nn.Linear(mlp_width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, width] -> [N, T, width], causal."""
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))  # type: ignore[no-any-return]

    def step(self, x: Tensor, cache: Tensor, step: int) -> Tensor:
        """The same for one step, [N, 1, width]; see `Attention.step`."""
        x = x + self.attention.step(self.attention_norm(x), cache, step)
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
        mlp_width: int,
        dropout: float = 0.0,
    ) -> None:
        """`bank` [K, C, P, P] is kept as a constant."""
        super().__init__()
        self.layout = layout
        self.width, self.depth, self.heads = width, depth, heads
        parts, steps = len(bank), layout.steps
        self.bank: Tensor
        self.register_buffer("bank", bank.clone(), persistent=False)
        self.part_embedding = nn.Parameter(torch.randn(parts, width))
        self.pixel_embedding = nn.Linear(bank[0].numel(), width, bias=False)
        self.where_embedding = nn.Parameter(torch.zeros(layout.placements, width))
        self.blank_embedding = nn.Parameter(torch.randn(width))
        self.position = nn.Parameter(torch.randn(steps, width))
        self.neighbours = nn.Linear(4 * width, width)
        self.layers = nn.ModuleList(Layer(width, heads, mlp_width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.whether_head = nn.Linear(width, 1)
        self.where_head = nn.Linear(width, layout.placements)
        self.what_head = nn.Linear(width, parts)
        self.chosen_where = nn.Parameter(torch.zeros(layout.placements, width))
        source, known = _neighbours(layout)
        self.source: Tensor
        self.known: Tensor
        self.register_buffer("source", source, persistent=False)
        self.register_buffer("known", known, persistent=False)

    def _embed(self, z: Relaxed) -> Tensor:
        """Embed what each step drew, linear in the soft latents: [N, T, width]."""
        table = self.part_embedding + self.pixel_embedding(self.bank.flatten(1))
        drawn = z.what @ table
        if self.layout.placements > 1:
            drawn = drawn + z.where @ self.where_embedding
        paint = z.whether[..., None]
        embedded: Tensor = paint * drawn + (1 - paint) * self.blank_embedding
        return embedded

    def _input(self, embedded: Tensor, steps: slice) -> Tensor:
        """Input of the given steps, from the embeddings [N, T, width] of all steps so far."""
        source, known = self.source[steps], self.known[steps]  # [t, 4]
        around = embedded[:, source] * known[..., None]  # [N, t, 4, width]
        return self.neighbours(around.flatten(2)) + self.position[steps]  # type: ignore[no-any-return]

    def _factors(self, h: Tensor) -> Factors:
        """Distributions of whether, where and what from the features [N, t, width], in fp32."""
        h = self.norm(h)
        whether = self.whether_head(h).squeeze(2).float()
        where = torch.log_softmax(self.where_head(h).float(), 2)
        what = self.what_head(h[:, :, None] + self.chosen_where)  # [N, t, O, K]
        return Factors(whether, where, torch.log_softmax(what.float(), 3))

    def forward(self, z: Relaxed) -> Factors:
        """Return p(z_t | z_<t) of every step in one pass; step t sees only the steps before it."""
        h = self._input(self._embed(z), slice(None))
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
        z = Latents(
            torch.zeros(images, steps, dtype=torch.bool, device=device),
            torch.zeros(images, steps, dtype=torch.int64, device=device),
            torch.zeros(images, steps, dtype=torch.int64, device=device),
        )
        embedded = torch.zeros(images, steps, self.width, device=device)
        size = (self.depth, 2, images, self.heads, steps, self.width // self.heads)
        cache = torch.zeros(size, device=device)
        for t in range(steps):
            now = slice(t, t + 1)
            h = self._input(embedded, now)
            for layer, memory in zip(self.layers, cache, strict=True):
                h = layer.step(h, memory, t)  # type: ignore[operator]
            drawn = self._factors(h).sample(uniform[:, now], temperature)
            if given is not None and t < given_steps:
                drawn = Latents(given.whether[:, now], given.where[:, now], given.what[:, now])
            z.whether[:, t], z.where[:, t] = drawn.whether[:, 0], drawn.where[:, 0]
            z.what[:, t] = drawn.what[:, 0]
            soft = drawn.one_hot(self.layout.placements, len(self.bank))
            embedded[:, t] = self._embed(soft)[:, 0]
        return z


def _neighbours(layout: Layout) -> tuple[Tensor, Tensor]:
    """Steps left, above, above left and above right of each step, and whether they exist.

    int64 and float [T, 4]; an entry that does not exist points to step 0 and is masked. A step of
    the first column has the last of the row above as its left: the step drawn just before.
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
    return source.clamp_min(0) * exists, exists.float()
