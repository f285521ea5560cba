"""The prior: probabilities, gradients, sampling and completion."""

import math

import pytest
import torch

from npdraw.model import prior as module
from npdraw.model.attention import lists_of
from npdraw.model.latents import Factors, Latents, Relaxed, blank, concatenate
from npdraw.model.layout import Layout
from npdraw.model.prior import Prior

PLAIN = Layout(4, 4, 2, 2)
JITTERED = Layout(4, 2, 2, 2, 2)
LARGE = Layout(6, 8, 2, 2, 2)
"""3 x 4 cells, each with 4 placements."""
PARTS = 2


@pytest.fixture
def make_prior(shaken):
    def make(layout, parts=PARTS, **changes):
        bank = torch.rand(parts, 1, layout.part_size, layout.part_size)
        sizes = {"width": 8, "depth": 2, "heads": 2, "head_width": 4, "mlp_width": 16}
        return shaken(Prior(layout, bank, **sizes | changes))

    return make


def factors_of(prior, z):
    with torch.no_grad():
        return prior(z.one_hot(prior.layout.placements, len(prior.bank)))


def changed(z, t, field, placements, parts):
    """Return the drawings with another `field` at step t, which paints."""
    other = z.clone()
    if field == "whether":
        other.whether[:, t] = False
    else:
        index, size = getattr(other, field), placements if field == "where" else parts
        index[:, t] = (index[:, t] + 1) % size
    return other


@pytest.mark.parametrize("layout", [PLAIN, JITTERED], ids=repr)
def test_all_drawings_together_have_probability_one(layout, make_prior, every_drawing):
    prior = make_prior(layout)
    z = every_drawing(layout, PARTS)
    assert len(z) == (1 + layout.placements * PARTS) ** layout.steps
    with torch.no_grad():
        log_prob = prior.log_prob(z).double()
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert log_prob.std() > 0.3  # far from uniform


@pytest.mark.parametrize("field", ["whether", "where", "what"])
def test_no_step_changes_the_factors_up_to_itself(field, make_prior, drawings):
    prior = make_prior(LARGE, parts=3)
    z = drawings(LARGE, 3, 4)
    for t in range(LARGE.steps):
        z.whether[:, t] = True
        before = factors_of(prior, z)
        after = factors_of(prior, changed(z, t, field, 4, 3))
        for name in ("whether", "where", "what"):
            a, b = getattr(before, name), getattr(after, name)
            assert torch.allclose(a[:, : t + 1], b[:, : t + 1], atol=1e-6)
            if t + 1 < LARGE.steps:
                assert (a[:, t + 1] - b[:, t + 1]).abs().amax() > 1e-4  # the next step sees it


@pytest.mark.parametrize("layout", [PLAIN, LARGE], ids=repr)
def test_log_prob_does_not_depend_on_where_and_what_of_steps_that_do_not_paint(
    layout, make_prior, drawings, meddle
):
    prior = make_prior(layout, parts=4)
    z = drawings(layout, 4, 8, 0.3)
    other = meddle(z, layout.placements, 4)
    assert not torch.equal(other.what, z.what)
    with torch.no_grad():
        assert torch.equal(prior.log_prob(z), prior.log_prob(other))


@pytest.mark.parametrize("layout", [PLAIN, LARGE], ids=repr)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("head_width", [4, 8])
def test_cached_sampling_is_sampling_with_the_whole_model_at_every_step(
    layout, temperature, head_width, make_prior, same
):
    prior = make_prior(layout, parts=4, head_width=head_width)
    uniform = torch.rand(16, layout.steps, 3)
    z = blank(16, layout.steps)
    for t in range(layout.steps):
        z[:, t] = factors_of(prior, z).sample(uniform, temperature)[:, t]
    assert same(prior.sample(uniform, temperature=temperature), z)
    assert len(z.whether.unique(dim=0)) > 1


@pytest.mark.parametrize("layout", [PLAIN, Layout(2, 4, 2, 2, 2)], ids=repr)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_samples_have_the_frequencies_of_their_probabilities(
    layout, temperature, make_prior, every_drawing
):
    draws = 20_000
    prior = make_prior(layout)
    z = every_drawing(layout, PARTS)
    p = factors_of(prior, z)
    tempered = Factors(
        p.whether / temperature,
        (p.where / temperature).log_softmax(2),
        (p.what / temperature).log_softmax(3),
    )
    expected = torch.stack(tempered.log_prob(z)).sum((0, 2)).double().exp()
    drawn = prior.sample(torch.rand(draws, layout.steps, 3), temperature=temperature)

    def number(x):
        """Drawings as numbers in the order of `every_drawing`."""
        digits = x.whether * (1 + x.where * PARTS + x.what)
        base = 1 + layout.placements * PARTS
        return (digits * base ** torch.arange(layout.steps - 1, -1, -1)).sum(1)

    assert torch.equal(number(z), torch.arange(len(z)))
    observed = torch.bincount(number(drawn), minlength=len(z))
    common = expected * draws > 5
    assert common.sum() > 15
    chi_square = ((observed - draws * expected).square() / (draws * expected))[common].sum()
    free = int(common.sum())
    assert chi_square < free + 5 * math.sqrt(2 * free)
    assert abs(observed[common].sum() / draws - expected[common].sum()) < 0.01


def test_cold_samples_take_the_most_probable_value_at_every_step(make_prior):
    prior = make_prior(LARGE, parts=3)
    z = prior.sample(torch.rand(10, LARGE.steps, 3), temperature=1e-6)
    assert len(z.whether.unique(dim=0)) == 1
    assert torch.equal(z.whether, factors_of(prior, z).whether > 0)


def test_an_image_does_not_depend_on_the_others(make_prior, same):
    prior = make_prior(LARGE, parts=4)
    uniform = torch.rand(9, LARGE.steps, 3)
    together = prior.sample(uniform)
    for i in range(9):
        assert same(prior.sample(uniform[i : i + 1]), together[i : i + 1])
    for at_once in (1, 3):
        assert same(prior.sample(uniform, at_once=at_once), together)


def test_finished_drawings_make_way_for_others(make_prior, same, monkeypatch):
    prior = make_prior(LARGE, parts=4)
    uniform = torch.rand(60, LARGE.steps, 3)
    z = prior.sample(uniform)
    passes = []
    step = prior.layers[0].step

    def counted(x, *rest):
        passes.append(len(x))
        return step(x, *rest)

    monkeypatch.setattr(prior.layers[0], "step", counted)
    assert same(prior.sample(uniform, at_once=6), z)
    strokes = z.whether.sum(1)
    # After `count` strokes only those with as many are left, in as few groups as hold them.
    left = [int((strokes >= count).sum()) for count in range(LARGE.steps)]
    assert passes == [6] * sum(-(-number // 6) for number in left)
    assert len(passes) < 0.8 * 10 * (strokes.max() + 1)


@pytest.mark.parametrize("steps", [0, 5, 12])
def test_completion_continues_from_the_given_steps(steps, make_prior, drawings, same):
    prior = make_prior(LARGE, parts=4)
    uniform = torch.rand(6, LARGE.steps, 3)
    sampled = prior.sample(uniform)
    # With the start that sampling would have drawn, the rest is what it would have drawn,
    # whatever the numbers and the given latents of the other part.
    other = drawings(LARGE, 4, 6)
    start = torch.arange(LARGE.steps) < steps
    given = other.with_cells(start, sampled)
    noise = torch.where(start[:, None], torch.rand_like(uniform), uniform)
    assert same(prior.sample(noise, given=given, given_steps=steps), sampled)
    assert same(prior.sample(noise, given=given, given_steps=steps, at_once=2), sampled)
    # With another start it is kept, and the rest differs.
    completed = prior.sample(uniform, given=other, given_steps=steps)
    assert same(completed[:, :steps], other[:, :steps])
    assert same(completed, sampled) == (steps == 0)


def test_probabilities_of_what_depend_on_where(make_prior, drawings):
    p = factors_of(make_prior(JITTERED), drawings(JITTERED, PARTS, 2))
    assert p.what.shape[2] == 4
    assert (p.what[:, :, 0] - p.what[:, :, 1]).abs().min() > 1e-3


def test_equal_parts_have_equal_initial_embeddings():
    # Through its pixels: of three parts, equal ones are embedded equally but for what is learned.
    bank = torch.rand(3, 1, 2, 2)
    bank[1] = bank[0]
    prior = Prior(PLAIN, bank, width=8, depth=1, heads=2, head_width=4, mlp_width=8)
    with torch.no_grad():
        prior.part_embedding.zero_()
        z = blank(3, 4)
        z.whether[:, 0], z.what[:, 0] = True, torch.arange(3)
        p = factors_of(prior, z)
    assert torch.equal(p.whether[0], p.whether[1])
    assert not torch.equal(p.whether[0], p.whether[2])


def test_padded_lists_give_the_same_factors(make_prior, drawings, monkeypatch):
    prior = make_prior(LARGE, parts=3)
    z = concatenate([drawings(LARGE, 3, 4, p) for p in (0.0, 0.3, 1.0)])
    ragged = factors_of(prior, z)
    monkeypatch.setattr(module, "lists_of", lambda *a, padded: lists_of(*a, padded=not padded))
    padded = factors_of(prior, z)
    for name in ("whether", "where", "what"):
        assert torch.allclose(getattr(ragged, name), getattr(padded, name), atol=1e-6)


@pytest.mark.parametrize("head_width", [4, 8])
def test_all_parameters_have_a_gradient(head_width, make_prior, drawings):
    prior = make_prior(LARGE, head_width=head_width)
    prior.log_prob(drawings(LARGE, PARTS, 16)).sum().backward()
    for name, parameter in prior.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_dropout_is_active_in_training_only(make_prior, drawings):
    prior = make_prior(PLAIN, dropout=0.5)
    z = drawings(PLAIN, PARTS, 4)
    with torch.no_grad():
        assert torch.equal(prior.log_prob(z), prior.log_prob(z))
        prior.train()
        assert not torch.equal(prior.log_prob(z), prior.log_prob(z))


def alone(z, upto):
    """The drawings with nothing painted from cell `upto` on."""
    return z.only(torch.arange(z.whether.shape[1]) < upto)


@pytest.mark.parametrize("layout", [PLAIN, LARGE], ids=repr)
def test_a_drawing_is_as_probable_cell_by_cell_as_stroke_by_stroke(layout, make_prior, drawings):
    prior = make_prior(layout, parts=3)
    z = drawings(layout, 3, 12, 0.4)
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
            _, offset, what = p.log_prob(Latents(one.whether, one.where, one.what))
            total += float(offset[0, cell] + what[0, cell])
            last = cell
        assert total == pytest.approx(expected[i].item(), abs=1e-4)


def test_a_drawing_does_not_depend_on_the_length_of_the_others(make_prior, drawings):
    prior = make_prior(LARGE, parts=3)
    z = concatenate([drawings(LARGE, 3, 4, p) for p in (0.0, 0.2, 1.0)])
    with torch.no_grad():
        together = prior.log_prob(z)
        for i in range(len(z)):
            assert torch.allclose(prior.log_prob(z[i : i + 1]), together[i], atol=1e-4)


def test_gradients_of_a_stroke_reach_all_later_cells_and_of_a_blank_cell_its_neighbours(make_prior):
    prior = make_prior(LARGE, parts=3)
    t, steps = 5, LARGE.steps
    for paint in (0.9, 0.1):
        soft = blank(1, steps).one_hot(4, 3)
        whether = soft.whether.clone()
        whether[0, t] = paint
        whether.requires_grad_()
        p = prior(Relaxed(whether, soft.where, soft.what))
        for later in range(t + 1, steps):
            (gradient,) = torch.autograd.grad(p.whether[0, later], whether, retain_graph=True)
            beside = t + 1 in prior.source[later]
            assert (gradient[0, t] != 0) == (paint > 0.5 or beside)


def test_sampling_takes_as_many_passes_as_the_longest_drawing_has_strokes(make_prior, monkeypatch):
    prior = make_prior(LARGE, parts=3)
    with torch.no_grad():
        prior.whether_head.bias.fill_(-2.0)
    passes = []
    step = prior.layers[0].step
    monkeypatch.setattr(
        prior.layers[0], "step", lambda *arguments: passes.append(1) or step(*arguments)
    )
    z = prior.sample(torch.rand(8, LARGE.steps, 3))
    longest = int(z.whether.sum(1).max())
    assert 0 < longest < LARGE.steps - 1
    assert len(passes) == longest + 1  # one more, in which none goes on
