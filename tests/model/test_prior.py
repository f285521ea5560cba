"""The prior: probabilities and gradients."""

import pytest
import torch

from npdraw.model import prior as module
from npdraw.model.attention import lists_of
from npdraw.model.brush import PartBrush
from npdraw.model.encoder import MARGIN
from npdraw.model.latents import Relaxed, blank, concatenate
from npdraw.model.layout import Layout
from npdraw.model.part_prior import PartPrior
from tests.model.tiny_models import PARTS, all_drawings, brush_for, factors_of, random_drawings

PLAIN = Layout(4, 4, 2, 2)
JITTERED = Layout(4, 2, 2, 2, 2)
LARGE = Layout(6, 8, 2, 2, 2)
"""3 x 4 cells, each with 4 placements."""
INKED = Layout(4, 4, 4, 4, finer=(2,))
"""One coarse cell and four fine ones."""
CROPPED = Layout(5, 6, 4, 4, finer=(3, 2))
"""2 x 2, 2 x 2 and 3 x 3 cells; no side divides the canvas."""

COLOURS = {"inks": 2, "strengths": 2}


def some(brush, images, painted=0.6):
    """Return random drawings with a brush."""
    return random_drawings(brush.layout.steps, brush.sizes, images, painted)


def changed(z, t, field, sizes):
    """Return the drawings with another `field` at step t, which paints."""
    other = z.clone()
    if field == "whether":
        other.whether[:, t] = False
    else:
        index = other.tensors()[field]
        index[:, t] = (index[:, t] + 1) % sizes[field]
    return other


@pytest.mark.parametrize("layout", [PLAIN, JITTERED, INKED], ids=repr)
def test_all_drawings_together_have_probability_one(layout, make_prior):
    brush = brush_for(layout)
    prior, z = make_prior(brush), all_drawings(layout.steps, brush.sizes)
    choices = 8 if layout.finer else layout.placements * PARTS
    assert len(z) == (1 + choices) ** layout.steps
    with torch.no_grad():
        log_prob = prior.log_prob(z).double()
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert log_prob.std() > 0.3  # far from uniform


@pytest.mark.parametrize(
    ("layout", "field"),
    [
        *((LARGE, name) for name in ("whether", "where", "what")),
        *((CROPPED, name) for name in ("whether", "ink", "contrast", "what")),
    ],
    ids=repr,
)
def test_no_step_changes_the_factors_up_to_itself(layout, field, make_prior):
    # Within a step, contrast depends on ink, and what on both.
    dependent = {"ink": ["contrast", "what"], "contrast": ["what"]}.get(field, [])
    brush = brush_for(layout, 3)
    prior, z = make_prior(brush), some(brush, 4)
    for t in range(layout.steps):
        z.whether[:, t] = True
        before = factors_of(prior, z).tensors()
        after = factors_of(prior, changed(z, t, field, brush.sizes)).tensors()
        for name, a in before.items():
            if name == "where" and layout.placements == 1:
                continue
            b = after[name]
            assert torch.allclose(a[:, :t], b[:, :t], atol=1e-6)
            itself = (a[:, t] - b[:, t]).abs().amax()
            assert itself > 1e-4 if name in dependent else itself < 1e-6
            if t + 1 < layout.steps:
                assert (a[:, t + 1] - b[:, t + 1]).abs().amax() > 1e-4  # the next step sees it


@pytest.mark.parametrize("layout", [PLAIN, LARGE, CROPPED], ids=repr)
def test_log_prob_does_not_depend_on_choices_of_steps_that_do_not_paint(layout, make_prior, meddle):
    brush = brush_for(layout, 4)
    prior, z = make_prior(brush), some(brush, 8, 0.3)
    other = meddle(z, layout.placements, 4, **COLOURS)
    for name, x in z.tensors().items():
        assert torch.equal(x, other.tensors()[name]) == (
            name == "whether" or brush.sizes[name] == 1
        )
    with torch.no_grad():
        assert torch.equal(prior.log_prob(z), prior.log_prob(other))


def test_probabilities_of_what_depend_on_where(make_prior):
    brush = brush_for(JITTERED)
    p = factors_of(make_prior(brush), some(brush, 2))
    assert p.what.shape[2] == 4
    assert (p.what[:, :, 0] - p.what[:, :, 1]).abs().min() > 1e-3


def test_equal_parts_have_equal_initial_embeddings():
    # Through its pixels: of three parts, equal ones are embedded equally but for what is learned.
    bank = torch.rand(3, 1, 2, 2)
    bank[1] = bank[0]
    prior = PartPrior(PartBrush(PLAIN, bank), width=8, depth=1, heads=2, head_width=4, mlp_width=8)
    with torch.no_grad():
        prior.part_embedding.zero_()
        z = blank(3, 4)
        z.whether[:, 0], z.what[:, 0] = True, torch.arange(3)
        p = factors_of(prior, z)
    assert torch.equal(p.whether[0], p.whether[1])
    assert not torch.equal(p.whether[0], p.whether[2])


@pytest.mark.parametrize("layout", [LARGE, CROPPED], ids=repr)
def test_padded_lists_give_the_same_factors(layout, make_prior, monkeypatch):
    brush = brush_for(layout, 3)
    prior, z = make_prior(brush), concatenate([some(brush, 4, p) for p in (0.0, 0.3, 1.0)])
    ragged = factors_of(prior, z)
    monkeypatch.setattr(module, "lists_of", lambda *a, padded: lists_of(*a, padded=not padded))
    padded = factors_of(prior, z)
    for name, x in ragged.tensors().items():
        assert torch.allclose(x, padded.tensors()[name], atol=1e-6)


@pytest.mark.parametrize("layout", [LARGE, CROPPED], ids=repr)
@pytest.mark.parametrize("head_width", [4, 8])
def test_all_parameters_have_a_gradient(head_width, layout, make_prior):
    brush = brush_for(layout)
    prior = make_prior(brush, head_width=head_width)
    prior.log_prob(some(brush, 16)).sum().backward()
    for name, parameter in prior.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("layout", [PLAIN, INKED], ids=repr)
def test_dropout_is_active_in_training_only(layout, make_prior):
    brush = brush_for(layout)
    prior, z = make_prior(brush, dropout=0.5), some(brush, 4)
    with torch.no_grad():
        assert torch.equal(prior.log_prob(z), prior.log_prob(z))
        prior.train()
        assert not torch.equal(prior.log_prob(z), prior.log_prob(z))


def alone(z, upto):
    """The drawings with nothing painted from cell `upto` on."""
    return z.only(torch.arange(z.whether.shape[1]) < upto)


@pytest.mark.parametrize("layout", [PLAIN, LARGE, CROPPED], ids=repr)
def test_a_drawing_is_as_probable_cell_by_cell_as_stroke_by_stroke(layout, make_prior):
    brush = brush_for(layout, 3)
    prior, z = make_prior(brush), some(brush, 12, 0.4)
    with torch.no_grad():
        expected = prior.log_prob(z).double()
    for i in range(len(z)):
        one, total, last = z[i : i + 1], 0.0, -1
        cells = one.whether[0].nonzero().squeeze(1).tolist()
        for cell in [*cells, None]:
            p = factors_of(prior, alone(one, last + 1))  # the strokes so far, and nothing after
            hazard = torch.sigmoid(p.whether[0, last + 1 :].double())
            survival = torch.cat([torch.ones(1), torch.cumprod(1 - hazard, 0)])
            go_on = 1 - survival[-1]
            if cell is None:
                total += float(torch.log(survival[-1]))
                continue
            where = hazard * survival[:-1] / go_on  # w_c, over the later cells
            assert where.sum().item() == pytest.approx(1)
            later = torch.flip(torch.cumsum(torch.flip(where, [0]), 0), [0])
            assert torch.allclose(go_on * where / (survival[-1] + go_on * later), hazard)
            total += float(torch.log(go_on) + torch.log(where[cell - last - 1]))
            # The stroke itself, given its choices before and the strokes before it.
            nats = factors_of(prior, alone(one, cell + 1)).log_prob(one)
            total += sum(float(x[0, cell]) for name, x in nats.items() if name != "whether")
            last = cell
        assert total == pytest.approx(expected[i].item(), abs=1e-4)


@pytest.mark.parametrize("layout", [LARGE, CROPPED], ids=repr)
def test_a_drawing_does_not_depend_on_the_length_of_the_others(layout, make_prior):
    brush = brush_for(layout, 3)
    prior, z = make_prior(brush), concatenate([some(brush, 4, p) for p in (0.0, 0.2, 1.0)])
    with torch.no_grad():
        together = prior.log_prob(z)
        for i in range(len(z)):
            assert torch.allclose(prior.log_prob(z[i : i + 1]), together[i], atol=1e-4)


def sees(layout, later, t):
    """Does a cell of a later layer see what step t paints, in its window or the margin?"""
    if layout.layer_of[later] <= layout.layer_of[t]:
        return False
    for axis, length in enumerate((layout.height, layout.width)):
        first, mine = (int(layout.positions[step, 0, axis]) for step in (t, later))
        start, end = max(first, 0), min(first + int(layout.sides[t]), length)
        if end <= mine - MARGIN or start >= mine + int(layout.sides[later]) + MARGIN:
            return False
    return True


@pytest.mark.parametrize("layout", [LARGE, CROPPED, Layout(16, 8, 8, 8, finer=(2,))], ids=repr)
def test_gradients_of_a_stroke_reach_all_later_cells_and_of_a_blank_cell_those_around_it(
    layout, make_prior
):
    prior = make_prior(brush_for(layout, 3))
    t, steps, seen = 5 if layout is LARGE else 0, layout.steps, []
    for paint in (0.9, 0.1):
        soft = prior.brush.one_hot(blank(1, steps, inked=prior.brush.inked)).tensors()
        whether = soft.pop("whether").clone()
        whether[0, t] = paint
        whether.requires_grad_()
        p = prior(Relaxed(whether, **soft))
        for later in range(t + 1, steps):
            (gradient,) = torch.autograd.grad(p.whether[0, later], whether, retain_graph=True)
            beside = t + 1 in prior.source[later]
            seen.append(sees(layout, later, t))
            assert (gradient[0, t] != 0) == (paint > 0.5 or beside or seen[-1])
    assert any(seen) == bool(layout.finer)
    assert not all(seen)
