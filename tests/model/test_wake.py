"""The wake phase: a hard sample chosen by its weight, and what it teaches."""

import pytest
import torch
from torch import nn

from npdraw.model.layout import Layout
from npdraw.model.terms import WakeConfig
from tests.model.tiny_models import images_for, setups

two = pytest.mark.parametrize(
    ("layout", "kind"),
    [(Layout(4, 4, 2, 2), "max"), (Layout(4, 4, 4, 4, finer=(2,)), "ink")],
    ids=["parts", "ink"],
)


@pytest.mark.parametrize("price", [0.0, 0.7])
@setups
def test_a_sample_is_chosen_by_its_weight(layout, kind, patch, price, make_model):
    model = make_model(layout, kind, patch)
    images, uniform = images_for(model, 12), torch.rand(12, 4, layout.steps, model.brush.numbers)
    with torch.no_grad():
        wake = model.wake(images, uniform, WakeConfig(price))
        q = model.encode(images)
        drawn = [model.importance_sample(images, q, uniform[:, s]) for s in range(3)]
        weights = torch.stack([w.log_weight for w in drawn], 1).double().exp()
        assert torch.allclose(wake.nll.double(), -weights.mean(1).log(), atol=1e-5, rtol=1e-6)
        errors = torch.stack([w.canvas_error for w in drawn], 1) * images[0].numel()
        weights = weights * (-price * errors).exp()
        for image, row in enumerate(weights / weights.sum(1, keepdim=True)):
            passed = float(uniform[image, 3, 0, 0])
            w = drawn[0 if passed < row[0] else 1 if passed < row[0] + row[1] else 2]
            log_p = model.prior.log_prob(w.z)[image]
            assert torch.allclose(wake.joint[image], log_p - w.distortion[image], atol=1e-5)
            assert torch.allclose(wake.proposal[image], log_p + w.rate[image], atol=1e-5)


@setups
def test_chosen_samples_follow_the_posterior(layout, kind, patch, enumerated):
    """On average over many trials; averages under the proposal itself differ."""
    e, trials, samples = enumerated(layout, kind, patch), 400, 400
    log_joint = e.log_p + e.log_likelihood
    posterior = (log_joint - e.log_evidence).exp()
    with torch.no_grad():
        images = e.image.expand(trials, -1, -1, -1)
        uniform = torch.rand(trials, samples + 1, layout.steps, e.model.brush.numbers)
        wake = e.model.wake(images, uniform, WakeConfig(0.0))
    for found, values in ((wake.joint, log_joint), (wake.proposal, e.log_q)):
        mean = float(posterior @ values)
        error = float((posterior @ (values - mean).square() / trials).sqrt())
        assert abs(float(found.double().mean()) - mean) < 4 * error
        assert abs(float(e.q @ values) - mean) > 8 * error


@two
def test_losses_have_dropout_but_weights_do_not(layout, kind, make_model):
    model = make_model(layout, kind, 2)
    images, uniform = images_for(model, 5), torch.rand(5, 3, layout.steps, model.brush.numbers)
    for module in model.prior.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
    model.eval()
    plain = model.wake(images, uniform, WakeConfig(0.0))
    model.train()
    dropping = model.wake(images, uniform, WakeConfig(0.0))
    assert torch.equal(dropping.nll, plain.nll)
    assert torch.equal(dropping.proposal, plain.proposal)
    assert not torch.allclose(dropping.joint, plain.joint, atol=1e-3)
    assert model.prior.training


@two
@pytest.mark.parametrize("low", [False, True])
def test_the_joint_trains_the_model_and_the_proposal_the_encoder(low, layout, kind, make_model):
    """In bf16 too, where casts made without gradients may be kept for later (torch #112583)."""
    model = make_model(layout, kind, 2)
    images, uniform = images_for(model, 5), torch.rand(5, 3, layout.steps, model.brush.numbers)
    for term, learns in (("joint", ("prior", "decoder")), ("proposal", ("encoder",))):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            terms = model.wake(images, uniform, WakeConfig(0.0))
        getattr(terms, term).sum().backward()
        taught = {
            name.partition(".")[0]
            for name, parameter in model.named_parameters()
            if parameter.grad is not None and parameter.grad.any()
        }
        assert taught == set(learns)
