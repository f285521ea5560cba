"""Random numbers depend on their purpose, seed and index, and on nothing else."""

import itertools

import numpy as np
import pytest
import torch

from npdraw.runtime.noise import batch_indices, generator, uniform

CPU = torch.device("cpu")


def test_the_numbers_of_an_image_do_not_depend_on_the_list() -> None:
    every = uniform("eval", 3, range(6), (4, 3))
    for images in ([5], [2, 0], [5, 4, 3, 2, 1, 0], [1, 1, 1], [0, 10_000]):
        numbers = uniform("eval", 3, images, (4, 3))
        assert numbers.shape == (len(images), 4, 3)
        for row, image in zip(numbers, images, strict=True):
            if image < 6:
                assert torch.equal(row, every[image])


def test_more_numbers_continue_the_stream() -> None:
    # So that the first samples of an estimate do not depend on how many follow.
    few, many = uniform("eval", 0, [7], (2, 4, 3)), uniform("eval", 0, [7], (5, 4, 3))
    assert torch.equal(few, many[:, :2])


def test_each_purpose_seed_and_image_has_its_own_stream() -> None:
    keys = itertools.product(("eval", "sample", "validate"), (0, 1, 2), (0, 1, 2))
    streams = [uniform(purpose, seed, [image], (50,))[0] for purpose, seed, image in keys]
    for a, b in itertools.combinations(streams, 2):
        assert not (a == b).any()
        assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 0.6


def test_numbers_are_uniform_in_0_to_1() -> None:
    numbers = uniform("eval", 0, range(200), (500,))
    assert numbers.dtype == torch.float32
    assert 0 <= float(numbers.min()) < 1e-3
    assert 0.999 < float(numbers.max()) < 1
    counts = torch.histc(numbers, 10, 0, 1)
    assert float((counts - 10_000).abs().max()) < 5 * 10_000**0.5
    # The streams of the images are independent, not shifted copies of one another.
    assert float(numbers.mean(0).std()) == pytest.approx((1 / 12 / 200) ** 0.5, rel=0.15)


def test_a_generator_depends_on_purpose_seed_and_step() -> None:
    def draw(purpose: str, seed: int, step: int) -> torch.Tensor:
        return torch.rand(5, generator=generator(purpose, seed, step, CPU))

    torch.rand(3)  # the global generator has no effect
    assert torch.equal(draw("train", 1, 2), draw("train", 1, 2))
    keys = [("train", 1, 2), ("bank", 1, 2), ("train", 2, 1), ("train", 1, 3), ("train", 0, 2)]
    for a, b in itertools.combinations(keys, 2):
        assert not (draw(*a) == draw(*b)).any()


@pytest.mark.parametrize(
    ("size", "images"), [(4, 12), (4, 10), (3, 7), (7, 3), (25, 10), (1, 1), (5, 1), (6, 6)]
)
def test_epochs_are_permutations_without_a_gap(size: int, images: int) -> None:
    epochs = 6
    steps = -(-epochs * images // size)
    batches = [batch_indices(9, step, size, images) for step in range(steps)]
    assert all(b.shape == (size,) and b.dtype == torch.int64 for b in batches)
    stream = torch.cat(batches)[: epochs * images].view(epochs, images)
    for epoch in stream:
        assert sorted(epoch.tolist()) == list(range(images))
    if images >= 6:
        assert len({tuple(epoch.tolist()) for epoch in stream}) == epochs


def test_a_batch_depends_only_on_seed_and_step() -> None:
    alone = batch_indices(1, 1000, 8, 37)
    assert torch.equal(alone, batch_indices(1, 1000, 8, 37))
    assert not torch.equal(alone, batch_indices(2, 1000, 8, 37))
    assert not torch.equal(alone, batch_indices(1, 1001, 8, 37))


def test_every_image_is_equally_often_first() -> None:
    firsts = np.bincount([int(batch_indices(seed, 0, 1, 4)[0]) for seed in range(800)], minlength=4)
    assert abs(firsts - 200).max() < 5 * 200**0.5
