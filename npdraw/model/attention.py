"""A causal Transformer over lists of different lengths, without padding where it would cost time.

docs/model.md, section 5; paper, section 3.2. Only attention needs a padded table. Everything that
works row by row runs on the existing rows alone.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 64
"""In bf16 on a CPU, rows of strokes come in multiples of this number: oneDNN builds a kernel for
each number of rows, and a long training would never stop building new ones (LOG.md)."""


@dataclass(frozen=True)
class Lists:
    """Where the rows [M, C] of N lists are placed in a table [N, L, C]."""

    images: int
    """N."""
    length: int
    """L, at least that of the longest list."""
    slots: Tensor
    """int64 [M], all different: the position of each row in the flattened table."""

    def spread(self, rows: Tensor) -> Tensor:
        """Place the rows [M, C] in a table, with zeros elsewhere: [N, L, C]."""
        table = rows.new_zeros(self.images * self.length, rows.shape[1])
        return table.index_copy(0, self.slots, rows).view(self.images, self.length, -1)

    def collect(self, table: Tensor) -> Tensor:
        """Take the rows back out of a table [N, L, C]: [M, C]."""
        return table.flatten(0, 1).index_select(0, self.slots)


def lists_of(
    painted: Tensor, before: Tensor, multiple: int = 1, *, padded: bool
) -> tuple[Lists, Tensor]:
    """Return one list per image, a start row and its strokes, and the cells of the stroke rows.

    `painted` bool [N, T], `before` the number of strokes before each cell. The rows are the N
    starts, then one row for each returned cell, int64 [M - N], counted through all images.

    Blank cells may follow the strokes of a list, where no stroke attends to them: enough to make
    the number of rows a `multiple`, if that many exist, or, if `padded`, all of them. Then no shape
    depends on the data, and the CPU never waits for a GPU.
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


class Attention(nn.Module):
    """Causal multi-head self-attention, over whole lists or one row of each list at a time.

    Two matrix products and a softmax in fp32. For tens of steps this is faster on a CPU than
    `scaled_dot_product_attention`, whose backward pass in bf16 is many times slower (LOG.md,
    2026-11-22).

    Where a head is at least as wide as the model (the paper has 16 heads of 64 channels on a width
    of 64), the weight matrices are multiplied first: with keys `K x` and values `V x`, the scores
    are `q^T K x = (K^T q)^T x` and the output is `O V (sum of weighted x)`. All heads then share
    one memory, x itself, which saves half of the multiplications. Key biases shift all scores of a
    query equally and cancel in the softmax.
    """

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, head_width**-0.5
        self.shared = head_width >= width
        self.inward = nn.Linear(width, 3 * heads * head_width)
        self.outward = nn.Linear(heads * head_width, width)

    def maps(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return weight and bias of the input map (queries, keys, values) and of the output map."""
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

    def forward(self, x: Tensor, lists: Lists) -> Tensor:
        """Let each row [M, width] attend to the rows of its list up to itself: [M, width]."""
        inward, shift, outward, final = self.maps()
        packed = lists.spread(F.linear(x, inward, shift))
        later = torch.ones(lists.length, lists.length, dtype=torch.bool, device=x.device).triu(1)
        if self.shared:  # one memory; its queries are all heads of row 0, then of row 1, ...
            query = packed.view(lists.images, 1, -1, x.shape[1])
            key = value = lists.spread(x.to(packed.dtype))[:, None]
            later = later.repeat_interleave(self.heads, 0)
        else:  # a memory for each head
            query, key, value = packed.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = (query * self.scale) @ key.transpose(2, 3)  # [N, memories, queries, L]
        weights = torch.softmax(scores.masked_fill(later, float("-inf")), 3, dtype=torch.float32)
        mixed = weights.to(value.dtype) @ value
        mixed = mixed if self.shared else mixed.transpose(1, 2)
        return F.linear(lists.collect(mixed.reshape(*packed.shape[:2], -1)), outward, final)

    def maps_for_steps(self) -> tuple[Tensor, ...]:
        """Return the maps that `step` uses, in the dtype of large matrix products."""
        device = self.inward.weight.device.type
        low = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        with torch.autocast(device, enabled=False):
            return tuple(each.to(low or each.dtype) for each in self.maps())

    def memory(self, images: int, steps: int) -> Tensor:
        """Allocate the keys and values of all steps: [2 or 1, N, memories, L, channels]."""
        channels = self.inward.in_features if self.shared else self.outward.in_features
        groups = 1 if self.shared else self.heads
        size = (2 - self.shared, images, groups, steps, channels // groups)
        return torch.empty(size, device=self.inward.weight.device)

    def step(self, x: Tensor, maps: tuple[Tensor, ...], memory: Tensor, step: int) -> Tensor:
        """Compute `forward` for row `step` of every list alone, x [N, width].

        `memory` holds the earlier rows, and this row is written to it. All but the maps runs in
        fp32: for one row of a few hundred images, casts would cost more than bf16 saves.
        """
        inward, shift, outward, final = maps
        with torch.autocast(x.device.type, enabled=False):
            packed = F.linear(x.to(inward.dtype), inward, shift).float()
            if self.shared:
                query = packed.unflatten(1, (1, self.heads, -1))
                memory[0, :, 0, step] = x
            else:
                packed = packed.unflatten(1, (3, self.heads, -1)).transpose(0, 1)
                query, memory[:, :, :, step] = packed[0, :, :, None], packed[1:]
            seen = memory[:, :, :, : step + 1]
            scores = (query * self.scale) @ seen[0].transpose(2, 3)
            # Over fewer than 16 numbers, a softmax along the first axis is 10 times as fast.
            first = scores.flatten(0, 2).T.contiguous()
            weights = torch.softmax(first, 0).T.contiguous().view(scores.shape)
            mixed = weights @ seen[-1]  # [N, memories, heads a memory, channels]
            return F.linear(mixed.flatten(1).to(outward.dtype), outward, final)


class Layer(nn.Module):
    """A pre-norm Transformer layer: attention and MLP, each with a residual connection."""

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

    def forward(self, x: Tensor, lists: Lists) -> Tensor:
        """Map rows [M, width] to [M, width], causally within each list."""
        x = x + self.dropout(self.attention(self.attention_norm(x), lists))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))  # type: ignore[no-any-return]

    def step(self, x: Tensor, maps: tuple[Tensor, ...], memory: Tensor, step: int) -> Tensor:
        """Compute `forward` for one row of every list, [N, width]; see `Attention.step`."""
        x = x + self.attention.step(self.attention_norm(x), maps, memory, step)
        return x + self.mlp(self.mlp_norm(x))  # type: ignore[no-any-return]
