"""Bounds on the likelihood from both sides, against the likelihood itself by enumeration."""

import json
import math
import sys

import pytest
import torch

from benchmarks.studies import both_sides
from benchmarks.studies.both_sides import bounds, log_weight
from npdraw.runtime.noise import generator
from tests.model.tiny_models import all_drawings, setups

IMAGES = 60


def evidence(model, images):
    """Return log p(x) of images, [N] in double, from every drawing."""
    z = all_drawings(model.layout.steps, model.brush.sizes)
    log_p, canvas = model.prior.log_prob(z).double(), model.paint(z)
    rows = [
        model.decoder.log_prob(canvas, image.expand(len(z), -1, -1, -1)).double()
        for image in images
    ]
    return torch.logsumexp(torch.stack(rows) + log_p, 1)


@setups
@torch.no_grad()
def test_the_likelihood_lies_between_the_bounds(layout, kind, patch, make_model):
    torch.manual_seed(0)
    model = make_model(layout, kind, patch)
    numbers = (model.layout.steps, model.brush.numbers)
    z = model.prior.sample(torch.rand(IMAGES, *numbers))
    images = model.decode(model.paint(z), generator("pixels", 0, 0, torch.device("cpu")))
    true = -evidence(model, images)
    gaps = []
    for samples in (2, 30):
        above, below = bounds(model, z, images, torch.rand(IMAGES, samples, *numbers))
        for gap in (above - true, true - below):
            assert gap.mean() > -3 * gap.std() / math.sqrt(IMAGES)
        gaps.append(float((above - below).mean()))
    assert 0 <= gaps[1] < gaps[0] / 1.5


@setups
@torch.no_grad()
def test_a_given_drawing_has_the_weight_of_its_densities(layout, kind, patch, enumerated):
    every = enumerated(layout, kind, patch)
    images = every.image.expand(len(every.z), -1, -1, -1)
    expected = every.log_likelihood + every.log_p - every.log_q
    found = log_weight(every.model, every.z, images)
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-3)


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["both_sides", *arguments])
    both_sides.main()
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("name", "unit"), [("glyphs", "nats"), ("cifar10", "bits/dim")])
def test_a_shipped_model_has_both_bounds(name, unit, monkeypatch, capsys):
    result = run(monkeypatch, capsys, name, "--images", "3", "--samples", "2")
    assert result["unit"] == unit
    assert result["below"] < result["above"]
    assert result["gap"] == pytest.approx(result["above"] - result["below"])


def test_a_missing_model_is_an_error(monkeypatch, capsys):
    with pytest.raises(SystemExit, match="no file"):
        run(monkeypatch, capsys, "none.safetensors")
