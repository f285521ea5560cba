"""The decoder without a drawing: probabilities that add up to 1, and samples that follow them."""

from itertools import product

import pytest
import torch
from torch import nn

from benchmarks.rivals.empty_canvas import EmptyCanvas


def test_probabilities_of_all_images_add_up_to_1_and_samples_follow_them() -> None:
    torch.manual_seed(0)
    model = EmptyCanvas((1, 2, 2), levels=2, channels=(4, 8), depth=1, patch=1).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    noise, count = torch.Generator().manual_seed(0), 20_000
    images = torch.tensor(list(product((0.0, 1.0), repeat=4))).view(16, 1, 2, 2)
    with torch.no_grad():
        chances = model.log_weight(images, noise).double().exp()
        assert torch.equal(model.loss(images, noise, 0.5), -model.log_weight(images, noise))
    assert float(chances.sum()) == pytest.approx(1, abs=1e-5)
    drawn = model.sample(count, noise).flatten(1) @ torch.tensor([8.0, 4, 2, 1])
    found = torch.bincount(drawn.long(), minlength=16) / count
    assert ((found - chances).abs() < 4.5 * (chances * (1 - chances) / count).sqrt()).all()
