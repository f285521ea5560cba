"""The decoder of plain parts, from canvases to pixel distributions."""

import pytest
import torch
import torch.nn.functional as F

from npdraw.model.decoder import PixelDecoder
from npdraw.model.likelihood import Bernoulli, MixtureOfLogistics


def new(channels, depth, patch, colours=1, kind=Bernoulli):
    """Return a decoder, with weights as at the start of training."""
    return PixelDecoder(kind(), colours, channels, depth, patch)


builds = pytest.mark.parametrize(
    ("channels", "patch"), [((6,), 1), ((4, 6), 1), ((4, 6), 2), ((4, 4, 6), 2), ((6,), 3)]
)


@builds
@pytest.mark.parametrize("size", [(4, 4), (30, 29), (28, 28), (5, 7), (1, 1)])
def test_any_size_is_decoded_as_if_it_were_padded_with_blank_canvas(channels, patch, size, shaken):
    decoder = shaken(new(channels, 1, patch, 3), 0.2)
    canvas = torch.rand(2, 4, *size)
    multiple = patch * 2 ** (len(channels) - 1)
    larger = F.pad(canvas, (0, -size[1] % multiple, 0, -size[0] % multiple))
    with torch.no_grad():
        output, padded = decoder(canvas), decoder(larger)
    assert output.shape == (2, 3, *size)
    assert torch.allclose(output, padded[:, :, : size[0], : size[1]], atol=1e-5)
    assert output.std() > 0.01


@builds
def test_a_spot_moves_its_effect_with_it(channels, patch, shaken):
    decoder = shaken(new(channels, 1, patch), 0.2)
    step = patch * 2 ** (len(channels) - 1)  # the sizes in between are not shifted evenly
    side = 24 * step
    canvas = torch.zeros(3, 2, side, side)
    row, column = side // 2 + 1, side // 2
    canvas[1, 0, row, column] = canvas[2, 0, row - 2 * step, column + step] = 1
    with torch.no_grad():
        blank, spot, moved = decoder(canvas)[:, 0]
    effect = (spot - blank).roll((-2 * step, step), (0, 1))
    assert effect.abs().max() > 0.01
    assert torch.allclose(effect, moved - blank, atol=1e-5)
    assert (spot - blank)[row - 1 : row + 2, column - 1 : column + 2].abs().min() > 0


@pytest.mark.parametrize("patch", [1, 2])
def test_skip_connections_carry_what_halving_loses(patch, shaken):
    decoder = shaken(new((4, 6), 1, patch))
    canvas = torch.rand(1, 2, 16, 16)
    with torch.no_grad():
        decoder.join.weight[:, -2:] = 0  # the canvas itself is not joined,
        decoder.shrink[0].weight.zero_()  # and nothing is left at half size
        changed = decoder(canvas) - decoder(1 - canvas)
    assert changed.abs().mean() > 1e-3


@builds
def test_the_initial_output_is_the_same_at_every_pixel(channels, patch):
    decoder = new(channels, 2, patch)
    with torch.no_grad():
        output = decoder(torch.rand(3, 2, 9, 10))
    assert torch.equal(output, decoder.head.bias.expand_as(output))
    assert output.abs().max() < 0.5


def test_the_likelihood_gives_the_probability_and_the_mean_of_an_image(shaken):
    for kind in (Bernoulli, MixtureOfLogistics):
        decoder, canvas = shaken(new((4,), 1, 2, kind=kind)), torch.rand(2, 2, 6, 6)
        images = canvas[:, :1].round()
        with torch.no_grad():
            log_p, mean = decoder.log_prob(canvas, images), decoder.mean(canvas)
            assert torch.equal(log_p, kind().log_prob(decoder(canvas), images))
            assert torch.equal(mean, kind().mean(decoder(canvas)))


@builds
def test_all_parameters_have_a_gradient(channels, patch, shaken):
    decoder = shaken(new(channels, 1, patch))
    decoder(torch.rand(2, 2, 9, 10)).square().sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@builds
def test_an_image_does_not_depend_on_the_others(channels, patch, shaken):
    decoder = shaken(new(channels, 1, patch), 0.2)
    canvas = torch.rand(4, 2, 9, 10)
    with torch.no_grad():
        together = decoder(canvas)
        for i in range(4):
            assert torch.allclose(decoder(canvas[i : i + 1])[0], together[i], atol=1e-5)


@builds
def test_outputs_in_half_precision_are_nearly_the_same(channels, patch, shaken):
    decoder, canvas = shaken(new(channels, 1, patch)), torch.rand(2, 2, 8, 8)
    with torch.no_grad():
        exact = decoder(canvas)
        with torch.autocast("cpu", torch.bfloat16):
            rough = decoder(canvas)
    assert rough.dtype == torch.bfloat16  # the likelihood converts it
    assert (rough.float() - exact).abs().mean() < 0.05 * exact.abs().mean() + 0.05
