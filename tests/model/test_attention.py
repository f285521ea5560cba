"""Attention over lists, against a slow loop."""

from collections.abc import Callable

import pytest
import torch

from npdraw.model.attention import ROWS, Attention, Lists, lists_of
from npdraw.model.latents import Latents
from npdraw.model.layout import Layout

LENGTHS = [7, 1, 4, 0, 6]


def lists_of_lengths() -> Lists:
    """Return lists of these lengths in a table of eight columns, with rows in random order."""
    slots = [8 * image + place for image, length in enumerate(LENGTHS) for place in range(length)]
    order = torch.randperm(len(slots))
    return Lists(len(LENGTHS), 8, torch.tensor(slots)[order])


def test_rows_go_to_their_slots_and_come_back() -> None:
    lists = lists_of_lengths()
    rows = torch.randn(sum(LENGTHS), 3)
    table = lists.spread(rows)
    assert table.shape == (5, 8, 3)
    assert torch.equal(lists.collect(table), rows)
    for image, length in enumerate(LENGTHS):
        assert (table[image, length:] == 0).all()
        for place in range(length):
            row = (lists.slots == 8 * image + place).nonzero().item()
            assert torch.equal(table[image, place], rows[int(row)])


@pytest.mark.parametrize("head_width", [4, 8, 12])
def test_attention_is_that_of_keys_queries_and_values_head_by_head(
    head_width: int, shaken: object
) -> None:
    attention = shaken(Attention(8, 3, head_width))  # type: ignore[operator]
    assert attention.shared == (head_width >= 8)  # the two routes
    lists = lists_of_lengths()
    rows = torch.randn(sum(LENGTHS), 8)
    with torch.no_grad():
        x = lists.spread(rows)
        packed = attention.inward(x).unflatten(2, (3, 3, head_width))  # question, head
        found = torch.zeros(5, 8, 3, head_width)
        for t in range(8):
            for head in range(3):
                query, keys, values = packed[:, :, :, head].unbind(2)
                scores = torch.einsum("nc,nsc->ns", query[:, t], keys[:, : t + 1])
                weights = torch.softmax(scores / head_width**0.5, 1)
                found[:, t, head] = torch.einsum("ns,nsc->nc", weights, values[:, : t + 1])
        expected = attention.outward(found.flatten(2))
        assert torch.allclose(attention(rows, lists), lists.collect(expected), atol=1e-5)
        maps, memory = attention.maps_for_steps(), attention.memory(5, 8)
        steps = torch.stack([attention.step(x[:, t], maps, memory, t) for t in range(8)], 1)
        assert torch.allclose(lists.collect(steps), lists.collect(expected), atol=1e-5)
    assert expected.std() > 0.1


@pytest.mark.parametrize(("chance", "images"), [(0.0, 3), (0.4, 40), (0.9, 9), (1.0, 7)])
def test_rows_of_lists_come_in_multiples_while_there_are_blank_cells(
    chance: float, images: int, drawings: Callable[..., Latents]
) -> None:
    painted = drawings(Layout(6, 8, 2, 2, 2), 3, images, chance).whether
    before = painted.cumsum(1) - painted.long()
    lists, cells = lists_of(painted, before, ROWS, padded=False)
    strokes, longest = int(painted.sum()), int(painted.sum(1).max()) + 1
    rows = -(-(images + strokes) // ROWS) * ROWS
    assert lists.length == longest
    assert len(lists.slots) == min(rows, images * longest)
    assert len(lists.slots.unique()) == len(lists.slots) == images + len(cells)
    assert torch.equal(painted.flatten()[cells], torch.arange(len(cells)) < strokes)
