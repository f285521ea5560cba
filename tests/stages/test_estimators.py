"""Two estimators of the likelihood, on the counter-example of docs/model.md, section 7.

z in {0, 1}, p(z = 1) = e, q = (1/2, 1/2), p(x | 1) = 1, p(x | 0) = 0: then log p(x) = log e.
"""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from npdraw.model.factors import Factors
from npdraw.model.importance import log_mean_exp
from npdraw.model.terms import ImportanceSample
from npdraw.runtime.settings import Runtime
from npdraw.stages import eval_nll as stage
from npdraw.stages.eval_nll import eval_nll


class Coin(torch.nn.Module):
    """One step, one placement, one part: z is whether it paints, and x shows that it did."""

    layout = SimpleNamespace(steps=1)
    brush = SimpleNamespace(numbers=3)

    def __init__(self, e):
        super().__init__()
        self.e = e

    def in_unit(self, values):
        return values.float()

    def factors(self, images, paint):
        logit = math.log(paint / (1 - paint))
        return Factors(
            torch.full((images, 1), logit), torch.zeros(images, 1, 1), torch.zeros(images, 1, 1, 1)
        )

    def encode(self, images):
        return self.factors(len(images), 0.5)

    def importance_sample(self, images, q, uniform, label=None):
        assert label is None
        p, z = self.factors(len(images), self.e), q.sample(uniform)
        rate = q.joint(z) - p.joint(z)
        never = torch.full((len(images),), math.inf)
        distortion = torch.where(z.whether[:, 0], torch.zeros(()), never)
        return ImportanceSample(z, distortion, rate, q.kl(p).sum(1), torch.zeros(len(images)))


@pytest.fixture(autouse=True)
def one_thread(seeded):
    """Use one thread: scalars gain nothing from more, and lose much on busy cores."""
    torch.set_num_threads(1)


@pytest.fixture
def nll(monkeypatch):
    """Return a function that runs the stage itself on the counter-example."""

    def run(e, estimator, samples, images=16):
        header = SimpleNamespace(digest="coin", dataset={})
        parse = SimpleNamespace(image_size=1, channels=1, binarize=True)
        read = (Coin(e), SimpleNamespace(parse=parse), SimpleNamespace(header=header))
        ones = torch.ones(images, 1, 1, 1, dtype=torch.uint8)
        monkeypatch.setattr(stage, "read_model", lambda path: read)
        monkeypatch.setattr(stage, "find_source", lambda *_: None)
        monkeypatch.setattr(stage, "check_images", lambda *_: None)
        monkeypatch.setattr(stage, "reading_for", lambda *_: None)
        monkeypatch.setattr(stage, "load_test_images", lambda *_, **__: (ones, list(range(images))))
        silent = SimpleNamespace(
            start=lambda *_, **__: None, update=lambda *_, **__: None, finish=lambda: None
        )
        return eval_nll(
            Path("coin"),
            source=None,
            root=Path(),
            samples=samples,
            images=None,
            estimator=estimator,
            seed=0,
            batch_size=images,
            out=None,
            runtime=Runtime(device="cpu", precision="fp32"),
            progress=silent,
        )

    return run


@pytest.mark.parametrize("e", [0.5, 0.1, 0.001])
def test_ours_tends_to_the_likelihood_and_the_published_one_does_not(e):
    samples, images = 10_000, 8
    coin, x = Coin(e), torch.ones(samples * images, 1, 1, 1)
    w = coin.importance_sample(x, coin.encode(x), torch.rand(len(x), 1, 3))
    ours = w.log_weight.double().view(samples, images)
    published = (-w.distortion - w.analytic_rate).double().view(samples, images)
    for column in log_mean_exp(ours):
        assert column.item() == pytest.approx(math.log(e), abs=0.05)
    wrong = 0.5 * math.log(e * (1 - e))
    for column in log_mean_exp(published):
        assert column.item() == pytest.approx(wrong, abs=0.05)
    assert e == 0.5 or wrong > math.log(e) + 0.5  # better than the truth, so not a bound


def test_the_stage_computes_both_under_their_names(nll):
    e = 0.01
    ours, published = (nll(e, name, 500) for name in ("importance", "published"))
    assert ours["nll"] == pytest.approx(-math.log(e), abs=0.1)
    assert published["nll"] == pytest.approx(-0.5 * math.log(e * (1 - e)), abs=0.1)
    assert ours["estimator"] == "importance"
    assert "not a bound" in published["estimator"]


def test_with_one_sample_ours_is_infinite_half_the_time(nll):
    coin, x = Coin(0.1), torch.ones(2000, 1, 1, 1)
    w = coin.importance_sample(x, coin.encode(x), torch.rand(2000, 1, 3))
    estimate = -log_mean_exp(w.log_weight[None])
    assert estimate.isinf().float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert nll(0.1, "importance", 1)["nll"] == math.inf


def test_log_mean_exp_is_correct_and_does_not_overflow():
    log_weights = torch.randn(7, 5, dtype=torch.float64)
    expected = log_weights.exp().mean(0).log()
    assert torch.allclose(log_mean_exp(log_weights), expected)
    assert torch.allclose(log_mean_exp(log_weights - 5000), expected - 5000)
    assert torch.equal(log_mean_exp(log_weights[:1]), log_weights[0])
    nothing = torch.full((3, 2), -math.inf)
    assert (log_mean_exp(nothing) == -math.inf).all()
