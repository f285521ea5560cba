"""The encoder: a soft parse at the start, then a distribution of every step."""

import pytest
import torch

from npdraw.model.brush import PartBrush
from npdraw.model.encoder import MARGIN, PartEncoder
from npdraw.model.layout import Layout
from npdraw.model.parsing import match_gains, parse

PARTS = 5
LAYOUTS = [Layout(9, 9, 3, 3), Layout(8, 8, 3, 3), Layout(8, 8, 3, 4, 2), Layout(7, 9, 4, 2)]

layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=repr)


def make_bank(layout):
    return torch.rand(PARTS, 1, layout.part_size, layout.part_size).round()


def new_encoder(bank, layout, channels=6, depth=2, gain=1.0):
    return PartEncoder(PartBrush(layout, bank), channels, depth, gain)


def binary_images(layout, images):
    return torch.rand(images, 1, layout.height, layout.width).round()


@pytest.mark.parametrize("gain", [1.0, 7.5])
@layouts
def test_at_the_start_q_is_the_soft_parse(layout, gain):
    bank = make_bank(layout)
    encoder = new_encoder(bank, layout, gain=gain)
    images = binary_images(layout, 4)
    gains = gain * match_gains(images, bank, layout)  # [N, T, O, K]
    bias = encoder.heads.bias  # the same for every image and step
    where, what = bias[1 : 1 + layout.placements], bias[1 + layout.placements :]
    with torch.no_grad():
        q = encoder(images)
    assert torch.allclose(q.whether, bias[0] + gains.amax((2, 3)), atol=1e-4)
    expected = (where + gains.amax(3)).log_softmax(2)
    assert torch.allclose(q.where, expected, atol=1e-4)
    expected = (what + gains.amax(2)).log_softmax(2)
    assert torch.allclose(q.what, expected[:, :, None], atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS[:3], ids=repr)
def test_at_the_start_the_most_probable_drawing_is_that_of_the_parser(layout):
    bank = make_bank(layout)
    encoder = new_encoder(bank, layout, 32)
    images = binary_images(layout, 100)
    z = parse(images, bank, layout, threshold=0.0)
    gains = match_gains(images, bank, layout)
    with torch.no_grad():
        q = encoder(images)
    assert torch.equal(q.whether > 0.5, z.whether & (gains.amax((2, 3)) > 0.6))
    for log_prob, scores, chosen in (
        (q.where, gains.amax(3), z.where),
        (q.what.squeeze(2), gains.amax(2), z.what),
    ):
        if scores.shape[2] == 1:
            continue
        first, second = scores.topk(2, dim=2).values.unbind(2)
        clear = z.whether & (first - second > 0.5)
        assert clear.sum() > 100
        assert torch.equal(log_prob.argmax(2)[clear], chosen[clear])


@layouts
def test_the_three_answers_are_distributions(layout, shaken):
    encoder = shaken(new_encoder(make_bank(layout), layout))
    with torch.no_grad():
        q = encoder(binary_images(layout, 4), make_bank(layout))
    assert q.what.shape[2] == 1  # what does not depend on where
    for log_prob in (q.where, q.what):
        assert torch.allclose(log_prob.exp().sum(-1), torch.ones(()), atol=1e-5)


@layouts
def test_a_step_sees_its_own_window_and_a_margin(layout, shaken):
    encoder = shaken(new_encoder(make_bank(layout), layout, depth=0))
    images = torch.rand(1, 1, layout.height, layout.width).requires_grad_()
    q = encoder(images)
    for t in range(layout.steps):
        total = q.whether[0, t] + q.what[0, t, 0, 0]
        (gradient,) = torch.autograd.grad(total, images, retain_graph=True)
        top, left = layout.positions[t, 0].tolist()
        reach = layout.window + MARGIN
        seen = torch.zeros(layout.height, layout.width, dtype=torch.bool)
        seen[
            max(top - MARGIN, 0) : max(top + reach, 0), max(left - MARGIN, 0) : max(left + reach, 0)
        ] = True
        assert torch.equal(gradient[0, 0] != 0, seen)


@pytest.mark.parametrize("layout", [LAYOUTS[2]], ids=repr)
def test_all_parameters_have_a_gradient(layout, shaken):
    encoder = shaken(new_encoder(make_bank(layout), layout))
    q = encoder(binary_images(layout, 8))
    uniform = torch.rand(8, layout.steps, 1 + layout.placements + PARTS)
    z = q.relax(uniform, 0.6)
    loss = z.whether.sum() + z.where.square().sum() + z.what.square().sum()
    loss.backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert (encoder.gain_scale.grad != 0).all()


@layouts
def test_an_image_does_not_depend_on_the_others(layout, shaken):
    encoder = shaken(new_encoder(make_bank(layout), layout))
    images = binary_images(layout, 5)
    with torch.no_grad():
        together = encoder(images)
        for i in range(5):
            alone = encoder(images[i : i + 1])
            for name in ("whether", "where", "what"):
                a, b = getattr(alone, name)[0], getattr(together, name)[i]
                assert torch.allclose(a, b, atol=1e-5)
