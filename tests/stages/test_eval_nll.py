"""Stage 4: the likelihood equals a slow, obvious computation."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from npdraw.datasets.splits import binarize
from npdraw.errors import UsageError
from npdraw.inputs.models import read_model
from npdraw.model.importance import log_mean_exp, samples_per_pass
from npdraw.model.npdraw import NPDraw
from npdraw.runtime.noise import uniform

KEYS = {
    "nll",
    "nll_se",
    "elbo",
    "rate",
    "distortion",
    "bits_per_dim",
    "samples",
    "images",
    "split",
    "binarization",
    "estimator",
    "canvas_mse",
    "seconds",
    "resumed_from",
}
"""The keys of `npdraw eval-nll --json`."""

FIGURES = ("nll", "nll_se", "elbo", "rate", "distortion", "bits_per_dim", "canvas_mse")


def unseen(stages: Any) -> Any:
    return np.load(stages.npz)["test"][:, None]


def slow(
    model: NPDraw, image: Any, index: int, samples: int, seed: int, slow_paint: Any, config: Any
) -> dict[str, np.ndarray]:
    """Return log weights and their terms of one image, sample by sample, from the definitions."""
    x = torch.from_numpy(image)[None].float()
    noise = uniform("eval", seed, [index], (samples, model.layout.steps, 3))[0]
    terms: dict[str, list[float]] = {"rate": [], "kl": [], "distortion": [], "canvas": []}
    q = model.encode(x)
    for u in noise:
        z = q.sample(u[None])
        p = model.prior(model.brush.one_hot(z))
        rate = kl = 0.0
        for t in range(model.layout.steps):
            nats = {}
            for name, factors in (("q", q), ("p", p)):
                paint = torch.sigmoid(factors.whether[0, t].double())
                where, what = factors.where[0, t].double(), factors.what[0, t].double()
                joint = torch.log(paint) + where[:, None] + what.expand(len(where), -1)
                nats[name] = torch.cat([torch.log1p(-paint)[None], joint.flatten()])
            answer = 0  # no stroke; else 1 + placement * parts + part
            if z.whether[0, t]:
                answer = 1 + int(z.where[0, t]) * len(model.brush.bank) + int(z.what[0, t])
            rate += float(nats["q"][answer] - nats["p"][answer])
            kl += float((nats["q"].exp() * (nats["q"] - nats["p"])).sum())
        canvas = slow_paint(z.whether, z.where, z.what, model.brush.bank, config)
        mean = model.decode(model.paint(z))[0].double().numpy()
        terms["rate"].append(rate)
        terms["kl"].append(kl)
        terms["distortion"].append(-np.log(np.where(image == 1, mean, 1 - mean)).sum())
        terms["canvas"].append(((canvas[0] - image) ** 2).mean())
    return {name: np.array(values) for name, values in terms.items()}


@pytest.mark.parametrize("passes", [25, pytest.param(2, id="3 and 2 samples side by side")])
@pytest.mark.parametrize("estimator", ["importance", "published"])
def test_figures_equal_a_slow_computation(
    estimator: str,
    passes: int,
    stages: Any,
    trained: Any,
    slow_paint: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("npdraw.model.importance.PASSES", passes)
    samples, seed, count = 5, 7, 6
    result = stages.eval_nll(
        trained.model, samples=samples, images=count, seed=seed, estimator=estimator
    )
    model, config, _ = read_model(trained.model)
    binary = binarize(unseen(stages), seed)
    chosen = [i * stages.test // count for i in range(count)]
    assert chosen == [0, 4, 8, 12, 16, 20]
    with torch.no_grad():
        rows = [slow(model, binary[i], i, samples, seed, slow_paint, config.parse) for i in chosen]
    nll = []
    for row in rows:
        gap = row["rate"] if estimator == "importance" else row["kl"]
        weights = np.exp(-row["distortion"] - gap)
        nll.append(-np.log(weights.mean()))
    mean = {name: np.mean([row[name].mean() for row in rows]) for name in rows[0]}
    expected = {
        "nll": np.mean(nll),
        "nll_se": np.std(nll, ddof=1) / math.sqrt(count),
        "elbo": mean["distortion"] + mean["rate"],
        "rate": mean["rate"],
        "distortion": mean["distortion"],
        "bits_per_dim": np.mean(nll) / 64 / math.log(2),
        # From one posterior sample of each image.
        "canvas_mse": np.mean([row["canvas"][0] for row in rows]),
    }
    assert {name: result[name] for name in FIGURES} == pytest.approx(expected, rel=1e-5)


def test_estimators_differ_and_one_is_labelled_as_not_a_bound(stages: Any, trained: Any) -> None:
    ours = stages.eval_nll(trained.model)
    published = stages.eval_nll(trained.model, estimator="published")
    assert ours["estimator"] == "importance"
    assert published["estimator"] == "published (not a bound)"
    assert abs(ours["nll"] - published["nll"]) > 1e-3
    for name in ("elbo", "rate", "distortion", "canvas_mse"):
        assert ours[name] == published[name]


def test_the_result_records_its_settings(stages: Any, trained: Any) -> None:
    result = stages.eval_nll(trained.model, samples=2, images=5, seed=3)
    assert result.keys() >= KEYS
    assert (result["samples"], result["images"], result["split"]) == (2, 5, "test")
    assert result["binarization"] == "once, P(1) = value / 255, seed 3"
    assert "out" not in result
    whole = stages.eval_nll(trained.model, samples=1)
    assert whole["images"] == stages.test


def test_the_bound_falls_with_the_samples(stages: Any, trained: Any) -> None:
    bounds = [stages.eval_nll(trained.model, samples=samples) for samples in (1, 5, 40)]
    one, few, many = (result["nll"] for result in bounds)
    assert one == pytest.approx(bounds[0]["elbo"], rel=1e-7)
    assert many < few < one
    for result in bounds:
        assert result["nll"] <= result["elbo"] * (1 + 1e-7)


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_the_batch_size_does_not_change_the_result(
    precision: str, stages: Any, trained: Any
) -> None:
    whole = stages.eval_nll(trained.model, precision=precision)
    for size in (1, 5, 24):
        parts = stages.eval_nll(trained.model, batch_size=size, precision=precision)
        for name in FIGURES:
            assert parts[name] == pytest.approx(whole[name], rel=1e-5), name


def test_samples_per_pass_do_not_change_the_result(stages: Any, trained: Any) -> None:
    apart = stages.eval_nll(trained.model, samples=130, images=7, batch_size=1)
    for size in (2, 12, 100):  # 2, 6 and 6 samples at once, of 1, 2 and 7 images
        together = stages.eval_nll(trained.model, samples=130, images=7, batch_size=size)
        for name in FIGURES:
            assert together[name] == pytest.approx(apart[name], rel=1e-5), name


@pytest.mark.parametrize(
    ("samples", "batch_size", "side"),
    [(1, 100, 1), (25, 100, 1), (26, 100, 2), (50, 100, 2), (500, 100, 20), (9999, 100, 100)],
)
def test_a_signal_can_stop_it_after_every_25_batches(
    samples: int, batch_size: int, side: int, stages: Any, trained: Any
) -> None:
    assert samples_per_pass(samples, batch_size) == side
    assert samples_per_pass(samples, 1) == 1
    passes = -(-samples // side)
    assert passes <= 25 or side == batch_size


def test_the_result_repeats_exactly_and_depends_on_the_seed(stages: Any, trained: Any) -> None:
    torch.rand(9)
    first, again, other = (stages.eval_nll(trained.model, seed=seed) for seed in (0, 0, 1))
    first.pop("seconds")
    again.pop("seconds")
    assert first == again
    assert first["nll"] != other["nll"]
    assert first["settings"]["data"] != other["settings"]["data"]


def test_images_are_evenly_spaced_and_binarised_once(
    stages: Any, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    encode = NPDraw.encode
    monkeypatch.setattr(
        NPDraw, "encode", lambda self, images: seen.append(images) or encode(self, images)
    )
    binary = torch.from_numpy(binarize(unseen(stages), 2)).float()
    progress = stages.Recorder()
    stages.eval_nll(trained.model, images=5, seed=2, batch_size=2, progress=progress)
    assert torch.equal(torch.cat(seen), binary[[0, 4, 9, 14, 19]])
    assert [len(chunk) for chunk in seen] == [2, 2, 1]  # encoded once, not for every sample
    assert progress.tasks == [("eval-nll", 5, {"done": 0})]
    assert progress.counts == [2, 4, 5, -1]
    for wrong in (stages.test + 1, 10**9):
        with pytest.raises(UsageError, match="--images"):
            stages.eval_nll(trained.model, images=wrong)


def test_one_image(stages: Any, trained: Any) -> None:
    assert math.isfinite(stages.eval_nll(trained.model, images=1)["nll"])


def test_only_the_test_split_is_read(stages: Any, trained: Any, tmp_path: Path) -> None:
    before = stages.eval_nll(trained.model)
    arrays = np.load(stages.npz)
    blank = stages.from_images(tmp_path / "a.npz", 0 * arrays["train"], arrays["test"])
    other = stages.from_images(tmp_path / "b.npz", arrays["train"], 255 - arrays["test"])
    assert stages.eval_nll(trained.model, source=blank.source)["nll"] == before["nll"]
    assert stages.eval_nll(trained.model, source=other.source)["nll"] > before["nll"] + 1


def test_log_mean_exp_neither_overflows_nor_underflows() -> None:
    logs = torch.tensor([[0.0, -1e5, 1e5], [math.log(3.0), -1e5, 1e5 + math.log(3.0)]])
    expected = [math.log(2), -1e5 + 0, 1e5 + math.log(2)]
    assert log_mean_exp(logs.double()).tolist() == pytest.approx(expected, rel=1e-7)
