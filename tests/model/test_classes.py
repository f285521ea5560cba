"""p(z | label): a prior with classes against one prior for each class, and against enumeration."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from npdraw.model.completion import PARTICLES, complete
from npdraw.model.importance import class_bounds, importance_figures
from npdraw.model.layout import Layout
from npdraw.model.prior import Prior
from tests.model.tiny_models import SETUPS, all_drawings, brush_for, random_drawings

PLAIN, INKED = Layout(4, 4, 2, 2), Layout(4, 4, 4, 4, finer=(2,))
CLASSES = 3

layouts = pytest.mark.parametrize("layout", [PLAIN, INKED], ids=["parts", "ink"])


@pytest.fixture
def make_pair(
    make_prior: Callable[..., Prior],
) -> Callable[[Layout, int], tuple[Prior, Prior]]:
    """Return a function that makes a prior with classes, and the prior of one of them alone.

    A class shifts what every cell knows, as another position does.
    """

    def make(layout: Layout, label: int) -> tuple[Prior, Prior]:
        brush = brush_for(layout)
        with_classes, alone = make_prior(brush, classes=CLASSES), make_prior(brush)
        with torch.no_grad():
            with_classes.whether_head.bias += 1  # drawings of no strokes are all alike
        weights = dict(with_classes.state_dict())
        weights["position"] = weights["position"] + weights.pop("class_embedding")[label]
        alone.load_state_dict(weights)
        return with_classes, alone

    return make


@layouts
def test_the_drawings_of_each_class_together_have_probability_one(
    layout: Layout, make_prior: Callable[..., Prior]
) -> None:
    brush = brush_for(layout)
    prior, z = make_prior(brush, classes=CLASSES), all_drawings(layout.steps, brush.sizes)
    with torch.no_grad():
        found = [prior.log_prob(z, torch.full((len(z),), y)).double() for y in range(CLASSES)]
    for log_prob in found:
        assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert (found[0] - found[1]).abs().max() > 0.3


@layouts
@pytest.mark.parametrize("label", range(CLASSES))
def test_probabilities_are_those_of_the_class_alone(
    layout: Layout, label: int, make_pair: Any
) -> None:
    with_classes, alone = make_pair(layout, label)
    z = random_drawings(layout.steps, with_classes.brush.sizes, 9)
    mixed = torch.arange(9) % CLASSES  # a row does not depend on the labels of others
    with torch.no_grad():
        assert torch.allclose(
            with_classes.log_prob(z, mixed)[mixed == label],
            alone.log_prob(z)[mixed == label],
            atol=1e-4,
        )


@layouts
def test_samples_are_those_of_the_class_alone(
    layout: Layout, make_pair: Any, same: Callable[..., bool]
) -> None:
    label, drawn = 1, 12
    with_classes, alone = make_pair(layout, label)
    uniform, mixed = (
        torch.rand(drawn, layout.steps, alone.brush.numbers),
        torch.arange(drawn) % CLASSES,
    )
    rows = (mixed == label).nonzero().flatten()
    z = with_classes.sample(uniform, label=mixed)
    assert same(z[rows], alone.sample(uniform)[rows])
    assert not same(z, alone.sample(uniform))


@layouts
def test_completions_are_those_of_the_class_alone(
    layout: Layout, make_pair: Any, same: Callable[..., bool]
) -> None:
    with_classes, alone = make_pair(layout, 2)
    fixed = torch.zeros(layout.steps, dtype=torch.bool)
    fixed[-1] = True  # free cells before it: particles are needed
    given = random_drawings(layout.steps, alone.brush.sizes, 1)
    uniform = torch.rand(8, PARTICLES + 1, layout.steps, alone.brush.numbers)
    expected = complete(alone, given, fixed, uniform)
    assert same(complete(with_classes, given, fixed, uniform, label=torch.tensor([2])), expected)
    assert not same(
        complete(with_classes, given, fixed, uniform, label=torch.tensor([0])), expected
    )


def test_labels_are_neither_forgotten_nor_given_in_vain(make_prior: Callable[..., Prior]) -> None:
    brush = brush_for(PLAIN)
    z, label = random_drawings(PLAIN.steps, brush.sizes, 2), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="a prior with 3 classes and the labels None"):
        make_prior(brush, classes=CLASSES).log_prob(z)
    with pytest.raises(ValueError, match="a prior with 0 classes and the labels tensor"):
        make_prior(brush).log_prob(z, label)


@pytest.mark.parametrize(("layout", "kind", "patch"), [SETUPS[0], SETUPS[3]], ids=["parts", "ink"])
def test_the_bound_of_each_class_weights_drawings_by_its_prior(
    layout: Layout,
    kind: str,
    patch: int,
    enumerated: Any,
    make_prior: Callable[..., Prior],
    pin: Any,
) -> None:
    every = enumerated(layout, kind, patch)
    model, z = every.model, every.z
    model.class_prior = make_prior(model.brush, classes=CLASSES)
    assert model.classes == CLASSES
    images = every.image.expand(len(z), -1, -1, -1)
    with torch.no_grad():
        q, _, _ = model.posterior(images, lambda _, layer, __: z[:, layout.spans[layer]])
        noise = pin(q, z)[:, None]  # one sample per image: the drawings in their order
        bounds = class_bounds(model, images, noise)
        for y in range(CLASSES):
            label = torch.full((len(z),), y)
            log_p = model.class_prior.log_prob(z, label).double()
            expected = every.log_likelihood + log_p - every.log_q
            assert torch.allclose(bounds[:, y], expected, atol=1e-3)
            figures = importance_figures(model, images, noise, "importance", label=label)
            assert torch.allclose(figures[:, 0], -expected, atol=1e-3)
    # All drawings, weighted by q: the exact likelihood of each class.
    evidence = (every.log_q[:, None] + bounds).logsumexp(0)
    for y in range(CLASSES):
        log_p = model.class_prior.log_prob(z, torch.full((len(z),), y)).double()
        exact = torch.logsumexp(log_p + every.log_likelihood, 0)
        assert evidence[y].item() == pytest.approx(exact.item(), abs=1e-3)
