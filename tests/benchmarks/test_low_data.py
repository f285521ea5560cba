"""The VAE baseline: its densities, bound and training; the low-data study end to end."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.studies import agreement, low_data, vae_training
from benchmarks.studies.low_data_settings import npdraw_settings, vae_settings
from benchmarks.studies.vae import VAE, Gaussian, standard_normal
from benchmarks.studies.vae_training import (
    LEAST_SAMPLES,
    Settings,
    evaluate,
    normals,
    train,
    validate,
)
from npdraw.presets import preset
from npdraw.runtime.settings import Runtime

SIDE = 4


def tiny_vae(latents: int, dropout: float = 0.0) -> VAE:
    """Return a VAE with all weights nonzero and posteriors that are not too narrow."""
    vae = VAE(SIDE, latents=latents, channels=(4, 8), depth=1, patch=1, dropout=dropout)
    for parameter in vae.parameters():
        nn.init.normal_(parameter, std=0.3)
    nn.init.normal_(vae.encoder.head.weight, std=0.05)
    return vae.eval()


def images(count: int) -> torch.Tensor:
    return (torch.rand(count, 1, SIDE, SIDE) < 0.4).float()


@torch.no_grad()
def test_importance_samples_estimate_the_integral_over_the_latent() -> None:
    vae, x, samples = tiny_vae(1), images(3), 1000
    grid = torch.linspace(-9, 9, 801)[:, None]
    q = vae.encode(x)
    noise = normals(0, range(3), (samples, 1))
    weights = torch.stack(
        [vae.importance_sample(x, q, noise[:, s]).log_weight for s in range(samples)]
    )
    for number, image in enumerate(x):
        log_joint = vae.log_likelihood(image.expand(len(grid), -1, -1, -1), grid)
        log_joint = (log_joint + standard_normal(grid)).double()
        exact = torch.trapezoid(log_joint.exp(), grid[:, 0].double())
        result = weights[:, number].double().exp()
        error = result.std() / samples**0.5
        assert error < 0.1 * exact
        assert abs(result.mean() - exact) < 4 * error
    nll = evaluate(vae, x, range(3), samples, 0)[:, 0]
    assert torch.allclose(nll, -weights.double().exp().mean(0).log(), atol=1e-5)


def test_kl_has_its_closed_form() -> None:
    q = Gaussian(torch.tensor([[0.5, -1.0]]), torch.tensor([[0.3, -0.7]]))
    p = torch.distributions.Normal(0.0, 1.0)
    other = torch.distributions.Normal(q.mean, q.log_scale.exp())
    assert q.kl() == pytest.approx(float(torch.distributions.kl_divergence(other, p).sum()))
    z = q.sample(torch.tensor([[0.2, 1.1]]))
    assert q.log_prob(z) == pytest.approx(float(other.log_prob(z).sum()))
    assert standard_normal(z) == pytest.approx(float(p.log_prob(z).sum()))


@torch.no_grad()
def test_the_mean_rate_of_samples_is_the_kl() -> None:
    vae, x = tiny_vae(3), images(1).expand(20_000, -1, -1, -1)
    q = vae.encode(x)
    rate = vae.importance_sample(x, q, torch.randn(len(x), 3)).rate
    assert abs(rate.mean() - q.kl()[0]) < 4 * rate.std() / len(x) ** 0.5
    distortion, kl = vae(x[:2], torch.zeros(2, 3))
    assert torch.allclose(kl, q.kl()[:2])
    assert torch.allclose(distortion, -vae.log_likelihood(x[:2], q.mean[:2]))


@torch.no_grad()
def test_more_samples_lower_the_bound_and_batches_do_not_matter() -> None:
    vae, x = tiny_vae(2), images(50)
    one, many = (evaluate(vae, x, range(50), s, 0) for s in (1, 50))
    assert torch.allclose(one[:, 0], one[:, 1] + one[:, 2])
    assert many[:, 0].mean() < many[:, 1:].sum(1).mean()
    assert torch.allclose(evaluate(vae, x, range(50), 50, 0, chunk=7), many, atol=1e-4)
    samples = LEAST_SAMPLES // 50
    expected = float(evaluate(vae, x, range(50), samples, 0)[:, 1:].sum(1).mean())
    assert validate(vae, x, 0) == pytest.approx(expected, abs=1e-3)


def test_normal_numbers_are_normal_and_belong_to_their_image() -> None:
    numbers = normals(0, range(200), (100,))
    assert torch.isfinite(numbers).all()
    assert abs(float(numbers.mean())) < 4 / numbers.numel() ** 0.5
    assert float(numbers.var()) == pytest.approx(1, abs=0.04)
    assert torch.equal(normals(0, [7, 3], (100,)), numbers[[7, 3]])


@torch.no_grad()
def test_training_starts_at_the_mean_of_each_pixel() -> None:
    vae = VAE(SIDE, latents=2, channels=(4, 8), depth=1, patch=1)
    grey = torch.randint(0, 256, (50, 1, SIDE, SIDE), dtype=torch.uint8)
    vae.start_from(grey)
    result = vae.likelihood.mean(vae.decoder(torch.randn(3, 2), vae.drop))
    counted = (grey.float().sum(0) / 255 + 0.5) / 51
    assert torch.allclose(result, counted.expand_as(result), atol=1e-5)


def test_a_latent_may_become_a_canvas_whose_pixels_are_decoded_in_slices() -> None:
    sizes = {"latents": 2, "channels": (4, 8), "depth": 1, "patch": 2}
    vae = VAE(SIDE, **sizes, levels=256, colours=3, error=0.07)  # type: ignore[arg-type]
    vae.start_from(torch.zeros(1, 3, SIDE, SIDE))
    x, z = torch.rand(3, 3, SIDE, SIDE), torch.randn(3, 2)
    canvas = vae.decoder(z, vae.drop)
    assert vae.pixels is not None and torch.equal(canvas, torch.full((3, 4, SIDE, SIDE), 0.5))
    assert torch.equal(vae.log_likelihood(x, z), vae.pixels.log_prob(canvas, x))


def test_training_learns_and_keeps_the_best_weights() -> None:
    torch.manual_seed(1)
    vae = VAE(SIDE, latents=2, channels=(16, 32), depth=1, patch=1, dropout=0.05)
    kinds = torch.tensor([[255, 0], [0, 255]], dtype=torch.uint8).repeat_interleave(8, 1)
    grey = kinds.view(2, 1, SIDE, SIDE).repeat(16, 1, 1, 1)
    held_out, lines = grey[:10] // 255, []
    result = train(
        vae,
        grey,
        held_out,
        Settings(latents=2, steps=120, batch_size=16, learning_rate=1e-2, kl_warmup=0.5, ema=0.9),
        seconds=60,
        seed=0,
        runtime=Runtime(precision="fp32"),
        report=lines.append,
    )
    assert result.steps == 120
    assert 0 < result.best_step <= 120
    assert result.validation < 3  # one bit of information; 16 independent pixels would take 11 nats
    assert result.validation == pytest.approx(validate(vae, held_out, 0), abs=1e-4)
    assert lines[0].startswith("step 0,")


def test_validation_takes_a_tenth_of_the_time_after_the_first_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vae, lines = tiny_vae(latents=2), []
    grey = torch.zeros(8, 1, SIDE, SIDE, dtype=torch.uint8)

    def slow(*_: object) -> float:
        time.sleep(0.05)
        return 1.0

    monkeypatch.setattr(vae_training, "validate", slow)
    train(
        vae,
        grey,
        grey,
        Settings(latents=2, steps=10_000, batch_size=8),
        seconds=1.5,
        seed=0,
        runtime=Runtime(precision="fp32"),
        report=lines.append,
    )
    steps = [int(line.split()[1].strip(",")) for line in lines]
    assert steps[:5] == [0, 1, 2, 4, 8]
    assert len(steps) <= 5 + 1.5 / 0.5 + 1


def test_the_clock_ends_the_training() -> None:
    vae = VAE(SIDE, latents=2, channels=(4, 8), depth=1, patch=1)
    grey = torch.zeros(8, 1, SIDE, SIDE, dtype=torch.uint8)
    fp32 = Runtime(precision="fp32")
    result = train(
        vae,
        grey,
        grey,
        Settings(latents=2),
        seconds=0.3,
        seed=0,
        runtime=fp32,
        report=lambda _: None,
    )
    assert 0 < result.steps < 1000
    assert 0.3 <= result.seconds < 20


def test_few_images_get_few_steps() -> None:
    full = preset("mnist")
    assert npdraw_settings(full, 55_000) == full
    steps = [npdraw_settings(full, n).decoder.steps for n in (40, 580, 5_940, 55_000)]
    assert steps == sorted(set(steps))
    assert [npdraw_settings(full, n).parse.shift for n in (40, 580, 5_940)] == [1, 1, 0]
    assert vae_settings(40) != vae_settings(55_000) == Settings()


def run(module: object, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["program", *map(str, arguments)])
    module.main()  # type: ignore[attr-defined]


def test_both_programs_from_end_to_end(
    workdir: Path,
    bars: Callable[[int], np.ndarray],
    tiny_settings: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    drawn = bars(84)
    np.savez("bars.npz", train=drawn[:60], test=drawn[60:])
    Path("tiny.toml").write_text(tiny_settings())
    small = ["--data", "npz:bars.npz", "--config", "tiny.toml", "--samples", 3, "--images", 10]
    run(low_data, monkeypatch, *small, "--limit", "0.5", 60, "--steps", 2, "--keep", "kept")
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines() if line.startswith("{")]
    assert [(line["model"], line["limit"]) for line in lines] == [
        ("NP-DRAW", 0.5),
        ("VAE", 0.5),
        ("NP-DRAW", 60),
        ("VAE", 60),
    ]
    for ours, other in zip(lines[::2], lines[1::2], strict=True):
        assert ours["steps"] == 2
        assert (ours["train"], ours["held_out"]) == (other["train"], other["held_out"])
        assert other["seconds"] >= ours["seconds"] or other["steps"] == other["settings"]["steps"]
        for line in (ours, other):
            assert (line["samples"], line["images"]) == (3, 10)
            assert 0 < line["nll"] < line["elbo"]
            assert line["elbo"] == pytest.approx(line["rate"] + line["distortion"])
    shown = printed.out.splitlines()[4:]
    assert shown[1].startswith("| limit | images | model |")
    assert shown[4].endswith(f"| {lines[1]['nll'] - lines[0]['nll']:+.2f} |")
    Path("lines").write_text(printed.out)
    run(low_data, monkeypatch, "--table", "lines")
    assert capsys.readouterr().out.splitlines() == shown[1:]

    # Run again: existing results are reused, with their times.
    run(low_data, monkeypatch, *small, "--limit", "0.5", "--steps", 2, "--keep", "kept")
    assert json.loads(capsys.readouterr().out.splitlines()[0]) == lines[0]

    model = Path("kept/limit-0.5/model.safetensors")
    run(agreement, monkeypatch, model, "--samples", 40, "--data", "npz:bars.npz")
    result = json.loads(capsys.readouterr().out)
    assert result["drawings"] == {"prior": 40, "encoder": 24}
    assert 0 <= result["rate_difference_mean"] <= result["rate_difference_largest"]["value"] <= 1


def test_without_mnist_it_says_how_to_get_it(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="npdraw data download mnist"):
        run(low_data, monkeypatch, "--data-root", "nowhere")
    assert capsys.readouterr().out == ""
