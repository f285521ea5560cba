"""VQ-VAE: a bound that holds by enumeration, samples, and a codebook that follows its vectors."""

from itertools import product

import pytest
import torch
from torch import nn

from benchmarks.rivals.rival import bound
from benchmarks.rivals.vqvae import VQVAE, Codebook, CodePrior


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny() -> VQVAE:
    torch.manual_seed(0)
    sizes = {"codes": 3, "width": 4, "depth": 1, "prior_width": 8, "prior_depth": 1}
    model = VQVAE((1, 2, 4), levels=2, reduce=2, **sizes)  # two cells
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model.eval()


@torch.no_grad()
def test_the_bound_is_below_the_probability_of_every_image() -> None:
    model = tiny()
    images = torch.tensor(list(product((0.0, 1.0), repeat=8))).view(-1, 1, 2, 4)
    every = torch.tensor(list(product(range(3), repeat=2)))  # codes
    log_prior = model.prior.log_prob(every).double()
    assert float(log_prior.exp().sum()) == pytest.approx(1, abs=1e-5)
    parameters = model.decode(model.codebook.vectors[every.flatten()])
    likelihood = torch.stack(
        [
            model.likelihood.log_prob(parameters, image.expand(len(every), -1, -1, -1)).double()
            for image in images
        ]
    )
    exact = (likelihood + log_prior).logsumexp(1)
    assert float(exact.exp().sum()) == pytest.approx(1, abs=1e-5)
    found = -bound(model, images, 5, generator())
    assert (found <= exact + 1e-6).all()
    _, codes = model.encode(images)
    chosen = (codes @ torch.tensor([3, 1]))[:, None]
    joint = (likelihood + log_prior).gather(1, chosen)[:, 0]
    assert torch.allclose(found, joint, atol=1e-5)

    # Samples follow the probabilities of pixels.
    drawn = model.sample(20_000, generator()).mean(0).flatten()
    expected = (exact.exp()[:, None] * images.flatten(1).double()).sum(0)
    assert torch.allclose(drawn.double(), expected, atol=0.02)


def test_codes_depend_on_those_before_them_only() -> None:
    prior = CodePrior(5, 6, 8, 2, 0.0).eval()
    codes = torch.randint(5, (2, 6), generator=generator())
    other = codes.clone()
    other[:, 3] = (other[:, 3] + 1) % 5
    first, second = prior(codes), prior(other)
    assert first.shape == (2, 6, 5)
    assert torch.allclose(first[:, :4], second[:, :4], atol=1e-5)
    assert not torch.allclose(first[:, 4], second[:, 4], atol=1e-3)
    assert torch.allclose(prior(codes[:, :2])[:, -1], first[:, 2], atol=1e-5)


def test_the_codebook_moves_to_the_means_of_what_it_replaces() -> None:
    book = Codebook(2, 1, decay=0.5)
    book.vectors.copy_(torch.tensor([[0.0], [10.0]]))
    book.sums.copy_(book.vectors)
    x = torch.tensor([[1.0], [2.0], [3.0], [9.0]])
    for _ in range(40):
        codes = book.nearest(x)
        book.follow(x, codes)
    assert codes.tolist() == [0, 0, 0, 1]
    assert torch.allclose(book.vectors, torch.tensor([[2.0], [9.0]]), atol=1e-4)


def test_an_unused_code_starts_again_at_a_vector_of_the_batch() -> None:
    book = Codebook(2, 1, decay=0.5)
    book.vectors.copy_(torch.tensor([[0.0], [1000.0]]))
    book.sums.copy_(book.vectors)
    x = torch.tensor([[1.0], [2.0]])
    for _ in range(3000):
        book.follow(x, book.nearest(x))
    assert book.vectors.tolist() == [[1.5], [1000.0]]  # left as it is, and no 0 / 0
    for _ in range(30):
        book.restart(x, generator())
        book.follow(x, book.nearest(x))
    assert sorted(book.nearest(x).tolist()) == [0, 1]
    assert sorted(book.vectors.flatten().tolist()) == pytest.approx([1, 2])


def test_gradients_pass_through_the_codes() -> None:
    model = tiny().train()
    images = (torch.rand(6, 1, 2, 4, generator=generator()) < 0.5).float()
    model.loss(images, generator(), 0.0).mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_vectors_are_normalised_and_codes_restart_in_the_first_half_only() -> None:
    model = tiny().train()
    images = (torch.rand(6, 1, 2, 4, generator=generator()) < 0.5).float()
    vectors, _ = model.encode(images)
    assert torch.allclose(vectors.mean(1), torch.zeros(12), atol=1e-5)
    assert torch.allclose(vectors.square().mean(1), torch.ones(12), atol=0.05)
    far = torch.full((4,), 1000.0)
    model.codebook.vectors[2] = far
    model.codebook.sums[2], model.codebook.uses[2] = 1e-3 * far, 1e-3
    model.loss(images, generator(), 0.6)
    assert torch.allclose(model.codebook.vectors[2], far, rtol=1e-3)
    model.loss(images, generator(), 0.4)
    assert model.codebook.vectors[2].abs().max() < 10
