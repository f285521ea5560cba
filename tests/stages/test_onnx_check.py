"""When outputs of an ONNX file agree with the model: equal up to rounding, and to ties."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from npdraw.errors import ArtifactError
from npdraw.inputs.models import read_model
from npdraw.model.factors import Factors
from npdraw.model.portable import ImageToDrawing
from npdraw.stages.onnx_check import compare
from tests.drawings.inked import COARSE, STEPS, write_ink_model

IMAGE, STEP, FINE = 1, 2, COARSE + 5
"""Where something is changed: an image, a step of its first layer, one of its second layer."""


@dataclass
class Posterior:
    """What an encoder of drawings in two layers returns, for changes."""

    network: ImageToDrawing
    q: Factors

    def compare(self, change: Callable[[dict[str, Tensor]], object]) -> tuple[float, int]:
        """Compare it with itself after a `change` of the outputs."""
        z = self.q.likeliest()
        outputs = (*z.tensors().values(), *self.network.probabilities(self.q))
        found = dict(zip(self.network.outputs, map(torch.clone, outputs), strict=True))
        change(found)
        return compare(self.network, self.q, z, list(found.values()))


@pytest.fixture
def posterior(tmp_path: Path) -> Posterior:
    """All steps paint; the values of each choice differ by at least 0.1 nats."""
    write_ink_model(tmp_path / "model")
    network = ImageToDrawing(read_model(tmp_path / "model")[0])
    sizes = network.model.brush.sizes

    def apart(size: int) -> Tensor:
        order = torch.rand(3, STEPS, size).argsort(2)
        return torch.log_softmax(0.1 * order, 2)

    listed = torch.rand(3, STEPS, sizes["what"]).argsort(2)[..., :4]
    return Posterior(
        network,
        Factors(
            torch.ones(3, STEPS),
            torch.zeros(3, STEPS, 1),
            apart(4)[:, :, None],
            apart(sizes["ink"]),
            apart(sizes["contrast"]),
            listed,
        ),
    )


def another(found: dict[str, Tensor], name: str, step: int = STEP) -> None:
    """Choose the other value of two, or one that is not the likeliest."""
    found[name][IMAGE, step] = (
        ~found[name][IMAGE, step] if name == "whether" else found[name][IMAGE, step] ^ 1
    )


def test_equal_outputs_agree(posterior: Posterior) -> None:
    assert posterior.compare(lambda found: None) == (0.0, 0)


@pytest.mark.parametrize("name", ["whether", "what", "ink", "contrast"])
@pytest.mark.parametrize("step", [STEP, FINE])
def test_another_choice_is_an_error(name: str, step: int, posterior: Posterior) -> None:
    with pytest.raises(ArtifactError, match=rf"at step {step} it chooses another {name}\n"):
        posterior.compare(lambda found: another(found, name, step))


@pytest.mark.parametrize("name", ["what", "ink", "contrast"])
def test_either_of_two_equal_values_may_be_chosen(name: str, posterior: Posterior) -> None:
    log_prob = getattr(posterior.q, name)
    values = log_prob[IMAGE, STEP].flatten()
    best, second = values.topk(2).indices
    for lead, ties in ((0.9e-4, 1), (3e-4, None)):
        values[second] = values[best] - lead

        def choose(found: dict[str, Tensor], second: Tensor = second) -> None:
            listed = posterior.q.candidates
            assert listed is not None
            value = listed[IMAGE, STEP, second] if name == "what" else second
            found[name][IMAGE, STEP] = value

        if ties:
            assert posterior.compare(choose) == (0.0, ties)
        else:
            with pytest.raises(ArtifactError, match=f"another {name}"):
                posterior.compare(choose)


def test_a_step_may_paint_or_not_if_that_is_a_tie(posterior: Posterior) -> None:
    posterior.q.whether[IMAGE, STEP] = 5e-5

    def blank(found: dict[str, Tensor]) -> None:
        for name in ("whether", "where", "what", "ink", "contrast"):
            found[name][IMAGE, STEP] = 0

    assert posterior.compare(blank) == (0.0, 1)


def test_layers_after_a_tie_are_not_compared_but_other_images_are(posterior: Posterior) -> None:
    posterior.q.whether[IMAGE, STEP] = 5e-5

    def change(found: dict[str, Tensor]) -> None:
        another(found, "whether")
        another(found, "ink", FINE)
        found["p_ink"][IMAGE, FINE] = 0

    assert posterior.compare(change) == (0.0, 1)
    with pytest.raises(ArtifactError, match=f"at step {STEP + 1} it chooses another ink"):
        posterior.compare(lambda found: (change(found), another(found, "ink", STEP + 1)))

    def others(found: dict[str, Tensor]) -> None:
        change(found)
        found["p_ink"][0, FINE] += 0.01

    with pytest.raises(ArtifactError, match=rf"at step {FINE} probabilities differ by 0\.01"):
        posterior.compare(others)


@pytest.mark.parametrize("name", ["p_whether", "p_what", "p_ink", "p_contrast"])
def test_probabilities_differ_by_rounding_only(name: str, posterior: Posterior) -> None:
    def change(by: float) -> Callable[[dict[str, Tensor]], object]:
        return lambda found: found[name][IMAGE, STEP].add_(by)

    difference, ties = posterior.compare(change(5e-5))
    assert difference == pytest.approx(5e-5, rel=0.01)
    assert ties == 0
    with pytest.raises(ArtifactError, match=r"probabilities differ by 0\.001"):
        posterior.compare(change(1e-3))
    with pytest.raises(ArtifactError, match="probabilities differ by nan"):
        posterior.compare(change(float("nan")))


def test_wide_logits_are_rounded_more(posterior: Posterior) -> None:
    """Logits of 10,000 nats differ by 0.001 between two orders of a sum."""
    ink = posterior.q.ink
    assert ink is not None

    def change(found: dict[str, Tensor]) -> None:
        found["p_ink"][IMAGE, STEP] += 1e-3

    with pytest.raises(ArtifactError):
        posterior.compare(change)
    ink[IMAGE, STEP, ink[IMAGE, STEP].argmin()] = -10_000
    assert posterior.compare(change)[0] == pytest.approx(1e-3, rel=0.01)


def test_the_last_candidate_may_be_another(posterior: Posterior) -> None:
    """If two parts fit equally well, rounding decides which is listed."""
    listed = posterior.q.candidates
    assert listed is not None
    inside = listed[IMAGE, STEP].tolist()
    outside = next(part for part in range(6) if part not in inside)
    least = inside[int(posterior.q.what[IMAGE, STEP, 0].argmin())]

    def swap(found: dict[str, Tensor]) -> None:
        row = found["p_what"][IMAGE, STEP]
        row[outside], row[least] = row[least].item(), 0

    difference, ties = posterior.compare(swap)
    assert difference < 1e-6
    assert ties == 1

    def and_more(found: dict[str, Tensor]) -> None:
        swap(found)
        kept = found["p_what"][IMAGE, STEP]
        kept[inside[0]], kept[inside[1]] = kept[inside[1]].item(), kept[inside[0]].item()

    with pytest.raises(ArtifactError, match="probabilities differ"):
        posterior.compare(and_more)


def test_outputs_of_another_shape_are_an_error(posterior: Posterior) -> None:
    def shorten(found: dict[str, Tensor]) -> None:
        found["p_ink"] = found["p_ink"][..., :-1]

    with pytest.raises(ArtifactError, match="its outputs have another shape"):
        posterior.compare(shorten)
