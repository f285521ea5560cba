"""Sampling from the prior, stroke by stroke with a cache."""

import math

import pytest
import torch

from npdraw.model import sampling
from npdraw.model.layout import Layout
from tests.model.tiny_models import all_drawings, brush_for, factors_of, random_drawings

PLAIN = Layout(4, 4, 2, 2)
LARGE = Layout(6, 8, 2, 2, 2)
"""3 x 4 cells, each with 4 placements."""
CROPPED = Layout(5, 6, 4, 4, finer=(3, 2))
"""With ink: 2 x 2, 2 x 2 and 3 x 3 cells; no side divides the canvas."""

large = pytest.mark.parametrize("layout", [LARGE, CROPPED], ids=repr)


@pytest.mark.parametrize("layout", [PLAIN, LARGE, CROPPED], ids=repr)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize(("head_width", "window"), [(4, sampling.WINDOWS), (8, (1, 2))])
def test_cached_sampling_is_sampling_with_the_whole_model_at_every_step(
    layout, temperature, head_width, window, make_prior, same, monkeypatch
):
    monkeypatch.setattr(sampling, "WINDOWS", window)
    prior = make_prior(brush_for(layout, 4), head_width=head_width)
    uniform, z = torch.rand(16, layout.steps, prior.brush.numbers), prior.brush.blank(16)
    # Within a step, choices depend on those before them.
    names = ["whether", "where", *(["ink", "contrast"] if layout.finer else []), "what"]
    for t in range(layout.steps):
        for name in names:
            drawn = factors_of(prior, z).sample(uniform, temperature)
            z.tensors()[name][:, t] = drawn.tensors()[name][:, t]
    assert same(prior.sample(uniform, temperature=temperature), z)
    assert len(z.whether.unique(dim=0)) > 1


@pytest.mark.parametrize(
    "layout", [PLAIN, Layout(2, 4, 2, 2, 2), Layout(2, 4, 4, 4, finer=(2,))], ids=repr
)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_samples_have_the_frequencies_of_their_probabilities(layout, temperature, make_prior):
    draws, brush = 20_000, brush_for(layout)
    prior, z = make_prior(brush), all_drawings(layout.steps, brush.sizes)
    hot = factors_of(prior, z).map(lambda x: x / temperature)
    log_prob = hot.joint(z).double()
    for name, x in hot.tensors().items():  # normalise the factors of painted steps
        if name != "whether":
            total = x.logsumexp(-1)
            if name == "what" and x.shape[2] > 1:
                total = total.gather(2, z.where[..., None])
            log_prob = log_prob - (total.flatten(2).squeeze(2) if name == "what" else total).where(
                z.whether, torch.tensor(0.0)
            ).double().sum(1)
    expected = log_prob.exp()
    assert expected.sum().item() == pytest.approx(1, abs=1e-5)
    drawn = prior.sample(torch.rand(draws, layout.steps, brush.numbers), temperature=temperature)

    def number(x):
        """Drawings as numbers in the order of `all_drawings`."""
        digits, base = torch.zeros_like(x.where), 1
        for name in reversed(brush.sizes):
            digits, base = digits + base * x.tensors()[name], base * brush.sizes[name]
        digits = x.whether * (1 + digits)
        return (digits * (1 + base) ** torch.arange(layout.steps - 1, -1, -1)).sum(1)

    assert torch.equal(number(z), torch.arange(len(z)))
    observed = torch.bincount(number(drawn), minlength=len(z))
    common = expected * draws > 5
    assert common.sum() > 15
    chi_square = ((observed - draws * expected).square() / (draws * expected))[common].sum()
    free = int(common.sum())
    assert chi_square < free + 5 * math.sqrt(2 * free)
    assert abs(observed[common].sum() / draws - expected[common].sum()) < 0.01


@large
def test_cold_samples_take_the_most_probable_value_at_every_step(layout, make_prior):
    prior = make_prior(brush_for(layout, 3))
    z = prior.sample(torch.rand(10, layout.steps, prior.brush.numbers), temperature=1e-6)
    p = factors_of(prior, z)
    assert all(len(x.unique(dim=0)) == 1 for x in z.tensors().values())
    assert torch.equal(z.whether, p.whether > 0)
    for name, x in (("where", p.where), ("ink", p.ink), ("contrast", p.contrast)):
        if x is not None:
            assert torch.equal(z.tensors()[name], x.argmax(2) * z.whether)


@large
def test_an_image_does_not_depend_on_the_others(layout, make_prior, same):
    prior = make_prior(brush_for(layout, 4))
    uniform = torch.rand(9, layout.steps, prior.brush.numbers)
    together = prior.sample(uniform)
    for i in range(9):
        assert same(prior.sample(uniform[i : i + 1]), together[i : i + 1])
    for at_once in (1, 3):
        assert same(prior.sample(uniform, at_once=at_once), together)


@large
def test_finished_drawings_make_way_for_others(layout, make_prior, same, monkeypatch):
    prior = make_prior(brush_for(layout, 4))
    uniform = torch.rand(60, layout.steps, prior.brush.numbers)
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
    left = [int((strokes >= count).sum()) for count in range(layout.steps)]
    assert passes == [6] * sum(-(-number // 6) for number in left)
    assert len(passes) < 0.8 * 10 * (strokes.max() + 1)


@large
@pytest.mark.parametrize("steps", [0, 5, 12])
def test_completion_continues_from_the_given_steps(steps, layout, make_prior, same):
    prior = make_prior(brush_for(layout, 4))
    uniform = torch.rand(6, layout.steps, prior.brush.numbers)
    sampled = prior.sample(uniform)
    # With the start that sampling would have drawn, the rest is what it would have drawn,
    # whatever the numbers and the given latents of the other part.
    other = random_drawings(layout.steps, prior.brush.sizes, 6)
    start = torch.arange(layout.steps) < steps
    given = other.with_cells(start, sampled)
    noise = torch.where(start[:, None], torch.rand_like(uniform), uniform)
    assert same(prior.sample(noise, given=given, given_steps=steps), sampled)
    assert same(prior.sample(noise, given=given, given_steps=steps, at_once=2), sampled)
    # With another start it is kept, and the rest differs.
    completed = prior.sample(uniform, given=other, given_steps=steps)
    assert same(completed[:, :steps], other[:, :steps])
    assert same(completed, sampled) == (steps == 0)


@large
def test_sampling_takes_as_many_passes_as_the_longest_drawing_has_strokes(
    layout, make_prior, monkeypatch
):
    prior = make_prior(brush_for(layout, 3))
    with torch.no_grad():
        prior.whether_head.bias.fill_(-2.0)
    passes = []
    step = prior.layers[0].step
    monkeypatch.setattr(
        prior.layers[0], "step", lambda *arguments: passes.append(1) or step(*arguments)
    )
    z = prior.sample(torch.rand(8, layout.steps, prior.brush.numbers))
    longest = int(z.whether.sum(1).max())
    assert 0 < longest < layout.steps - 1
    assert len(passes) == longest + 1  # one more, in which none goes on
