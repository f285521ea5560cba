"""Stage 4: the likelihood equals a slow, obvious computation, and says what it is."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from npdraw.datasets.splits import binarize
from npdraw.errors import ArtifactError, DataError, UsageError
from npdraw.header import read_header
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
    """Log weights and their terms of one image, sample by sample, from the definitions."""
    x = torch.from_numpy(image)[None].float()
    noise = uniform("eval", seed, [index], (samples, model.layout.steps, 3))[0]
    terms: dict[str, list[float]] = {"rate": [], "kl": [], "distortion": [], "canvas": []}
    q = model.encode(x)
    for u in noise:
        z = q.sample(u[None])
        p = model.prior(z.one_hot(model.layout.placements, len(model.bank)))
        rate = kl = 0.0
        for t in range(model.layout.steps):
            nats = {}
            for name, factors in (("q", q), ("p", p)):
                paint = torch.sigmoid(factors.whether[0, t].double())
                where, what = factors.where[0, t].double(), factors.what[0, t].double()
                joint = torch.log(paint) + where[:, None] + what.expand(len(where), -1)
                nats[name] = torch.cat([torch.log1p(-paint)[None], joint.flatten()])
            answer = 0  # not painting, else 1 + placement * parts + part
            if z.whether[0, t]:
                answer = 1 + int(z.where[0, t]) * len(model.bank) + int(z.what[0, t])
            rate += float(nats["q"][answer] - nats["p"][answer])
            kl += float((nats["q"].exp() * (nats["q"] - nats["p"])).sum())
        canvas = slow_paint(z.whether, z.where, z.what, model.bank, config)
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
        # Of one posterior sample on each image.
        "canvas_mse": np.mean([row["canvas"][0] for row in rows]),
    }
    assert {name: result[name] for name in FIGURES} == pytest.approx(expected, rel=1e-5)


def test_estimators_differ_and_one_says_that_it_is_no_bound(stages: Any, trained: Any) -> None:
    ours = stages.eval_nll(trained.model)
    published = stages.eval_nll(trained.model, estimator="published")
    assert ours["estimator"] == "importance"
    assert published["estimator"] == "published (not a bound)"
    assert abs(ours["nll"] - published["nll"]) > 1e-3
    for name in ("elbo", "rate", "distortion", "canvas_mse"):
        assert ours[name] == published[name]


def test_the_result_says_what_defines_it(stages: Any, trained: Any) -> None:
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
def test_batches_do_not_show(precision: str, stages: Any, trained: Any) -> None:
    whole = stages.eval_nll(trained.model, precision=precision)
    for size in (1, 5, 24):
        parts = stages.eval_nll(trained.model, batch_size=size, precision=precision)
        for name in FIGURES:
            assert parts[name] == pytest.approx(whole[name], rel=1e-5), name


def test_samples_side_by_side_do_not_show(stages: Any, trained: Any) -> None:
    apart = stages.eval_nll(trained.model, samples=130, images=7, batch_size=1)
    for size in (2, 12, 100):  # 2, 6 and 6 samples at once, of 1, 2 and 7 images
        together = stages.eval_nll(trained.model, samples=130, images=7, batch_size=size)
        for name in FIGURES:
            assert together[name] == pytest.approx(apart[name], rel=1e-5), name


@pytest.mark.parametrize(
    ("samples", "batch_size", "side"),
    [(1, 100, 1), (25, 100, 1), (26, 100, 2), (50, 100, 2), (500, 100, 20), (9999, 100, 100)],
)
def test_a_chance_to_stop_comes_after_25_batches(
    samples: int, batch_size: int, side: int, stages: Any, trained: Any
) -> None:
    assert samples_per_pass(samples, batch_size) == side
    assert samples_per_pass(samples, 1) == 1
    passes = -(-samples // side)
    assert passes <= 25 or side == batch_size


def test_a_number_repeats_exactly_and_belongs_to_its_seed(stages: Any, trained: Any) -> None:
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


def test_nothing_but_the_test_split_is_read(stages: Any, trained: Any, tmp_path: Path) -> None:
    before = stages.eval_nll(trained.model)
    arrays = np.load(stages.npz)
    blank = stages.from_images(tmp_path / "a.npz", 0 * arrays["train"], arrays["test"])
    other = stages.from_images(tmp_path / "b.npz", arrays["train"], 255 - arrays["test"])
    assert stages.eval_nll(trained.model, source=blank.source)["nll"] == before["nll"]
    assert stages.eval_nll(trained.model, source=other.source)["nll"] > before["nll"] + 1


def test_a_result_file_is_kept_while_it_is_up_to_date(
    stages: Any, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "deep" / "eval.json"
    result = stages.eval_nll(trained.model, out=out)
    assert result.pop("out") == str(out)
    assert json.loads(out.read_text()) == result
    before = out.read_bytes()
    monkeypatch.setattr(NPDraw, "encode", None)  # would fail if it were called
    again = stages.eval_nll(trained.model, out=out)
    assert again == {
        **result,
        "out": str(out),
        "up_to_date": True,
        "resumed_from": stages.test,
    }

    for changed in (
        {"samples": 2},
        {"seed": 1},
        {"images": 3},
        {"estimator": "published"},
    ):
        with pytest.raises(UsageError, match="with other settings") as caught:
            stages.eval_nll(trained.model, out=out, **changed)
        assert str(out) in caught.value.message
        assert "--force" in caught.value.hint
        assert out.read_bytes() == before
    monkeypatch.undo()
    forced = stages.eval_nll(trained.model, out=out, samples=2, force=True)
    assert "up_to_date" not in stages.eval_nll(trained.model, out=out, samples=2, force=True)
    assert json.loads(out.read_text())["nll"] == forced["nll"] != result["nll"]
    assert stages.eval_nll(trained.model, out=out, samples=2)["up_to_date"] is True


def test_a_result_never_replaces_an_artifact(stages: Any, trained: Any, tmp_path: Path) -> None:
    prior = tmp_path / "prior.safetensors"
    shutil.copy(trained.prior, prior)
    folder = tmp_path / "prior.safetensors.run"
    shutil.copytree(trained.prior.with_name(f"{trained.prior.name}.run"), folder)
    kept = {path: path.read_bytes() for path in (prior, *folder.iterdir())}
    for force in (False, True):
        with pytest.raises(UsageError, match="is an artifact"):
            stages.eval_nll(trained.model, out=prior, force=force)
    assert {path: path.read_bytes() for path in kept} == kept


def test_another_model_is_another_setting(
    stages: Any, made: Any, trained: Any, tmp_path: Path
) -> None:
    out = tmp_path / "eval.json"
    stages.eval_nll(made.model, out=out)
    with pytest.raises(UsageError, match="with other settings"):
        stages.eval_nll(trained.model, out=out)


@pytest.mark.parametrize("content", ["{}", "[]", '{"nll": 80.1}', "a letter", ""])
def test_a_file_of_somebody_else_is_left_alone(
    content: str, stages: Any, made: Any, tmp_path: Path
) -> None:
    out = tmp_path / "eval.json"
    out.write_text(content)
    with pytest.raises(UsageError, match="is not a result of eval-nll"):
        stages.eval_nll(made.model, out=out)
    assert out.read_text() == content
    stages.eval_nll(made.model, out=out, force=True)
    assert json.loads(out.read_text())["split"] == "test"


def test_the_model_is_complete_in_itself(stages: Any, trained: Any, tmp_path: Path) -> None:
    shutil.copy(trained.model, tmp_path / "m")  # no parse, no prior, nothing beside it
    with pytest.raises(DataError, match="whose path is not known here") as caught:
        stages.eval_nll(tmp_path / "m")
    assert "--data npz:PATH" in caught.value.hint
    alone = stages.eval_nll(tmp_path / "m", source=stages.source)
    assert alone["nll"] == stages.eval_nll(trained.model)["nll"]
    assert alone["settings"]["model"] == read_header(trained.model).digest


def test_what_is_no_model_is_refused(stages: Any, made: Any, tmp_path: Path, flip: Any) -> None:
    shutil.copy(made.model, tmp_path / "flipped")
    flip(tmp_path / "flipped", -1)
    for path, reason in (
        (made.prior, "is a prior, expected a model"),
        (tmp_path / "flipped", "is damaged"),
        (tmp_path / "no", "there is no file"),
    ):
        with pytest.raises(ArtifactError, match=reason) as caught:
            stages.eval_nll(path)
        assert caught.value.exit_code == 3


def test_log_mean_exp_neither_overflows_nor_underflows() -> None:
    logs = torch.tensor([[0.0, -1e5, 1e5], [math.log(3.0), -1e5, 1e5 + math.log(3.0)]])
    expected = [math.log(2), -1e5 + 0, 1e5 + math.log(2)]
    assert log_mean_exp(logs.double()).tolist() == pytest.approx(expected, rel=1e-7)


def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    seen = stages.Recorder()
    with pytest.raises(UsageError, match="cannot write"):
        stages.eval_nll(made.model, out=tmp_path / "file" / "e.json", progress=seen)
    assert seen.tasks == []


def test_another_precision_is_another_result(stages: Any, made: Any, tmp_path: Path) -> None:
    out = tmp_path / "e.json"
    stages.eval_nll(made.model, out=out, precision="fp32")
    with pytest.raises(UsageError, match="other settings"):
        stages.eval_nll(made.model, out=out, precision="bf16")
    forced = stages.eval_nll(made.model, out=out, precision="bf16", force=True)
    assert forced["settings"]["precision"] == "bf16"
