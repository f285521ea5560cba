"""Pixels in slices: each pixel once, and nothing seen before it is decoded."""

import math
from itertools import product

import pytest
import torch

from npdraw.model import likelihood
from npdraw.model.decoder import SliceDecoder
from npdraw.model.slices import COARSEST, SLICES

SIDE = 2 * COARSEST


@pytest.fixture
def make_decoder(shaken):
    """Return a function that makes a decoder whose weights are all random."""

    def make(colours=1, channels=(4, 6), patch=2, scale=0.2):
        return shaken(SliceDecoder(colours, channels, 1, patch, 0.01), scale)

    return make


def test_slices_share_out_all_pixels_and_see_only_what_came_before():
    order = torch.full((1, 1, SIDE, SIDE), len(SLICES))
    for k, piece in enumerate(SLICES):
        assert all(int(seen.max()) < k for seen in piece.before(order))
        assert int(piece.of(order).min()) == len(SLICES)
        piece.of(order).fill_(k)
    assert int(order.max()) == len(SLICES) - 1
    counts = order.flatten().bincount()
    assert counts.tolist() == 4 * [SIDE**2 // 16] + 3 * [SIDE**2 // 4]


@pytest.mark.parametrize(("levels", "height", "width"), [(2, 3, 3), (4, 2, 2), (4, 1, 4)])
def test_all_images_together_have_probability_one(levels, height, width, make_decoder, monkeypatch):
    monkeypatch.setattr(likelihood, "LEVELS", levels)
    values = [value / (levels - 1) for value in range(levels)]
    images = torch.tensor(list(product(values, repeat=height * width)))
    images = images.view(-1, 1, height, width)
    decoder, canvas = make_decoder(scale=0.5), torch.rand(1, 2, height, width)
    with torch.no_grad():
        log_p = decoder.log_prob(canvas.expand(len(images), -1, -1, -1), images)
    assert log_p.std() > 0.1
    assert log_p.double().exp().sum().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("levels", "height", "width"), [(2, 3, 3), (4, 2, 2)])
def test_images_are_drawn_as_often_as_they_are_likely(
    levels, height, width, make_decoder, monkeypatch
):
    monkeypatch.setattr(likelihood, "LEVELS", levels)
    count = 10_000
    decoder, canvas = make_decoder(scale=0.5), torch.rand(1, 2, height, width)
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        drawn = decoder.sample(canvas.expand(count, -1, -1, -1), noise)
        images, counts = drawn.unique(dim=0, return_counts=True)
        chances = decoder.log_prob(canvas.expand(len(images), -1, -1, -1), images).double().exp()
    assert len(images) > 10
    found = counts / count
    # What few samples miss by chance: the mean absolute deviation of a frequency.
    expected = float((2 / math.pi * chances / count).sqrt().sum()) + 1 - float(chances.sum())
    assert float((found - chances).abs().sum()) < 1.5 * expected


@pytest.mark.parametrize(("patch", "size"), [(2, (8, 8)), (2, (5, 7)), (4, (16, 12)), (4, (1, 9))])
@pytest.mark.parametrize("colours", [1, 3])
def test_each_slice_is_expected_given_what_was_expected_before(patch, size, colours, make_decoder):
    decoder, canvas = make_decoder(colours, patch=patch), torch.rand(2, colours + 1, *size)
    with torch.no_grad():
        mean = decoder.mean(canvas)
        assert mean.shape == (2, colours, *size)
        padded = decoder.padded(canvas)
        start = padded[:, :-1]
        differences = decoder.padded(mean) - start
        seen = torch.zeros_like(mean)
        pieces = decoder.slices._each(
            decoder(padded), start, lambda piece: piece.before(differences), size
        )
        for piece, output in pieces:
            known = piece.of(start)[:, :, : output.shape[2], : output.shape[3]]
            piece.of(seen).copy_(decoder.slices.likelihood.mean(output, known))
    assert torch.allclose(seen, mean, atol=1e-5)
    assert (mean - canvas[:, :-1]).abs().mean() > 1e-3


@pytest.mark.parametrize("patch", [2, 4])
def test_a_flat_canvas_is_decoded_flat_before_training(patch):
    decoder = SliceDecoder(3, (4, 6), 1, patch, 0.001)
    canvas = torch.tensor([0.3, 0.6, 0.5, 1.0]).view(1, 4, 1, 1).expand(1, 4, 9, 10)
    with torch.no_grad():
        mean = decoder.mean(canvas)
    assert torch.allclose(mean, canvas[:, :3], atol=2e-3)
    assert torch.allclose(mean, mean[:, :, :1, :1].expand_as(mean), atol=1e-6)


def test_an_image_does_not_depend_on_the_others(make_decoder):
    # In double: sums in fp32 depend on the number of rows, and each slice multiplies the error.
    decoder = make_decoder().double()
    canvas, images = torch.rand(4, 2, 6, 6).double(), torch.rand(4, 1, 6, 6).double()
    with torch.no_grad():
        log_p, mean = decoder.log_prob(canvas, images), decoder.mean(canvas)
        for i in range(4):
            rows = slice(i, i + 1)
            one = decoder.log_prob(canvas[rows], images[rows])
            assert torch.allclose(one, log_p[rows], rtol=1e-5)
            assert torch.allclose(decoder.mean(canvas[rows]), mean[rows], atol=1e-5)


@pytest.mark.parametrize("patch", [2, 4])
def test_all_parameters_have_a_gradient(patch, make_decoder):
    decoder = make_decoder(3, patch=patch)
    decoder.log_prob(torch.rand(2, 4, 9, 10), torch.rand(2, 3, 9, 10)).sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_what_known_pixels_say_about_their_neighbours_is_learned():
    # All pixels of an image miss the canvas by the same amount, one of 103: log 103 is 4.6 nats.
    decoder, canvas = SliceDecoder(1, (8, 8), 1, 2, 0.01), torch.full((32, 2, 8, 8), 0.5)
    optimizer, nats = torch.optim.Adam(decoder.parameters(), 0.002), []
    for _ in range(100):
        missed = torch.randint(-51, 52, (32, 1, 1, 1)).expand(-1, -1, 8, 8)
        loss = -decoder.log_prob(canvas, (127 + missed) / 255).mean() / 64
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        nats.append(loss.item())
    assert sum(nats[-20:]) / 20 < 3.2
