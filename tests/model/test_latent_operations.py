"""Operations on whole drawings: index, assign, map, repeat, combine and compare."""

from dataclasses import replace

import pytest
import torch

from npdraw.model.latents import Latents, blank, concatenate
from npdraw.model.layout import Layout
from tests.model.tiny_models import factors


def test_concatenation_undoes_slicing(drawings, same):
    z = drawings(Layout(4, 4, 2, 2, 2), 3, 6)
    assert same(concatenate([z[:2], z[torch.tensor([2])], z[3:]]), z)
    assert len(z[1:4]) == 3


LAYOUT = Layout(4, 4, 2, 2, 2)
"""Four cells, each with four placements."""


def test_indexing_and_assignment_reach_all_three_tensors(drawings, same):
    z, other = drawings(LAYOUT, 3, 6), drawings(LAYOUT, 3, 6)
    mixed = z.clone()
    mixed[1:3, 2:] = other[1:3, 2:]
    mixed[torch.tensor([5]), :] = other[5:]
    for n in range(6):
        for t in range(4):
            source = other if (n in (1, 2) and t >= 2) or n == 5 else z
            assert same(mixed[n : n + 1, t : t + 1], source[n : n + 1, t : t + 1])
    assert not same(mixed, z) and same(z[:, 0], z.map(lambda x: x[:, 0]))  # z itself has not moved


def test_repeated_drawings_and_distributions_come_whole_list_after_list(drawings, same):
    z, p = drawings(LAYOUT, 3, 6), factors(6, 4, 4, 3, chained=True)
    assert same(z.repeat(3), concatenate([z, z, z]))
    assert torch.equal(p.repeat(3).joint(z.repeat(3)), p.joint(z).repeat(3))


def test_the_joint_probability_is_the_product_over_stretches_of_steps(drawings):
    z, p = drawings(LAYOUT, 3, 6), factors(6, 4, 4, 3, chained=True)
    stretches = [(slice(None), slice(0, 1)), (slice(None), slice(1, 4))]
    total = sum(p[stretch].joint(z[stretch]) for stretch in stretches)
    assert torch.allclose(total, p.joint(z), atol=1e-5)


def test_cells_of_another_drawing_replace_these_alone(drawings, same):
    a, b = drawings(LAYOUT, 3, 6), drawings(LAYOUT, 3, 6)
    for cells in (torch.rand(4) < 0.5, torch.rand(6, 4) < 0.5):
        mixed = a.with_cells(cells, b)
        assert not (mixed.differs(b) & cells).any() and not (mixed.differs(a) & ~cells).any()
        assert same(mixed, b.with_cells(~cells, a))
        assert same(a.with_cells(cells, blank(6, 4)), a.only(~cells))
    one = a[:1].with_cells(torch.eye(4).bool(), b[:1])  # a row of cells makes a drawing
    assert same(one, a[:1].repeat(4).with_cells(torch.eye(4).bool(), b[:1].repeat(4)))
    assert same(a[:1].only(torch.eye(4).bool()), a[:1].repeat(4).only(torch.eye(4).bool()))


def test_drawings_differ_where_they_paint_something_else(drawings, meddle):
    z = drawings(LAYOUT, 3, 6)
    assert not z.differs(meddle(z, 4, 3)).any()  # what is stored at blank steps does not count
    for name, size in (("where", 4), ("what", 3)):
        other = replace(z, **{name: (getattr(z, name) + 1) % size})
        assert torch.equal(z.differs(other), z.whether)
    for n, t in (~z.whether).nonzero().tolist():
        other = z.clone()
        other.put_stroke(n, t, where=0, what=0)
        assert z.differs(other).nonzero().tolist() == [[n, t]]


def test_a_stroke_is_painted_in_place_at_one_step():
    z = blank(2, 3)
    z.put_stroke(1, 2, where=3, what=7)
    assert z.whether.nonzero().tolist() == [[1, 2]]
    assert (z.where[1, 2], z.what[1, 2]) == (3, 7) and z.where.sum() == 3 and z.what.sum() == 7


def test_blank_drawings_paint_nothing():
    z = blank(2, 3)
    assert not z.whether.any() and not z.where.any() and not z.what.any()
    assert z.whether.shape == (2, 3)


def test_canonical_drawings_hold_nothing_where_nothing_is_painted(drawings, meddle, same):
    z = drawings(Layout(4, 4, 2, 2, 2), 3, 6)
    assert same(meddle(z, 4, 3).canonical(), z)


def test_drawings_of_other_shapes_or_types_are_refused():
    bits, numbers = torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"one shape, got \[\(2, 3\), \(2, 3\), \(1, 3\)\]"):
        Latents(bits, numbers, numbers[:1])
    with pytest.raises(ValueError, match=r"whether must be bool, got torch\.int64"):
        Latents(numbers, numbers, numbers)
