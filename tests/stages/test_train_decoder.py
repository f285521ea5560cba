"""Stage 3: what is trained, validated and stored."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from npdraw.config import as_dict
from npdraw.datasets.splits import binarize
from npdraw.errors import DivergedError
from npdraw.header import read_header
from npdraw.inputs.brushes import brush_of
from npdraw.inputs.models import new_model, read_model
from npdraw.model.npdraw import NPDraw
from npdraw.runtime.noise import uniform
from npdraw.stages import train_decoder as stage
from npdraw.training import decoder_step
from tests.stages.weights import same, tensors

KEYS = {"steps", "seconds", "resumed_from", "nll", "elbo", "rate", "distortion", "canvas_mse"}
"""What docs/interface.md promises of `npdraw train-decoder --json`."""


def test_sheets_do_not_change_the_training(
    stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.rand(99)  # numbers drawn from the global generator before do not either
    grey = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    monkeypatch.setattr(stage, "draw_for_sheet", lambda *_: None)
    monkeypatch.setattr(stage, "render", lambda *_: (grey, grey))
    stages.train_decoder(made.parse, made.prior, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == made.model.read_bytes()


def test_sheets_show_the_samples_of_fixed_seeds(stages: Any, made: Any, tmp_path: Path) -> None:
    sheets = sorted(made.folder.joinpath("model.safetensors.run").glob("samples-*.png"))
    assert [sheet.name[8:-4] for sheet in sheets] == ["000000", "000001", "000002", "000004"]
    assert made.results["model"]["best_step"] == 4  # so that the last average was stored
    stages.sample(made.model, tmp_path / "s.png", seeds=range(64), grid=True)
    with Image.open(tmp_path / "s.png") as drawn, Image.open(sheets[-1]) as shown:
        assert (np.asarray(drawn) == np.asarray(shown)).all()


def test_a_frozen_prior_keeps_its_weights_and_a_joint_one_does_not(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    before = tensors(made.prior)
    dropping = stages.configured(prior={"dropout": 0.5})
    dropping.train_prior(made.parse, tmp_path / "prior")
    for mode, prior_path, weights in (
        ("joint", made.prior, before),
        ("frozen", made.prior, before),
        ("frozen", tmp_path / "prior", tensors(tmp_path / "prior")),
    ):
        out = tmp_path / f"{mode}-{prior_path.name}"
        stages.configured(decoder={"prior": mode}).train_decoder(made.parse, prior_path, out)
        after = tensors(out)
        kept = [torch.equal(after[f"prior.{n}"], w) for n, w in weights.items() if n != "bank"]
        assert all(kept) if mode == "frozen" else not any(kept)
    assert torch.equal(tensors(made.model)["bank"], before["bank"])


def test_a_joint_prior_learns_with_dropout_and_a_frozen_one_without(stages: Any) -> None:
    for mode, expected in (("joint", 0.5), ("frozen", 0.0)):
        mixed = stages.configured(prior={"dropout": 0.5}, decoder={"prior": mode})
        tables = {"bank": torch.rand(mixed.config.parse.parts, 1, 4, 4)}
        model = new_model(mixed.config, brush_of(mixed.config.parse, tables))
        rates = {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)}
        assert rates == {expected}


def test_the_result_has_the_documented_metrics(stages: Any, made: Any) -> None:
    result = made.results["model"]
    assert result.keys() >= KEYS
    assert (result["steps"], result["resumed_from"]) == (4, 0)
    assert result["elbo"] == pytest.approx(result["rate"] + result["distortion"])

    model, _, artifact = read_model(made.model)
    assert {name: result[name] for name in artifact.header.metrics} == artifact.header.metrics
    images = np.load(stages.npz)["train"][stages.train :, None]
    sums, samples = np.zeros(4), stage.VALIDATION_SAMPLES
    for index, image in enumerate(torch.from_numpy(binarize(images, 0)).float()):
        noise = uniform("validate", 0, [index], (samples, model.layout.steps, 3))[0]
        with torch.no_grad():
            q = model.encode(image.expand(samples, -1, -1, -1))
            z = q.sample(noise)
            canvas = model.paint(z)
            mean = model.decode(canvas).double()
            rate = (q.joint(z) - model.prior.log_prob(z)).double()
        nats = -torch.where(image > 0, mean.log(), (1 - mean).log()).sum((1, 2, 3))
        error = (canvas[0, 0] - image).square().mean()  # of the first sample
        sums += -math.log((-rate - nats).exp().mean()), rate.mean(), nats.mean(), error
    metrics = [result[name] for name in ("nll", "rate", "distortion", "canvas_mse")]
    assert metrics == pytest.approx(sums / len(images), rel=1e-5)
    assert result["nll"] < result["elbo"]


def test_validation_does_not_depend_on_the_batch_size(
    stages: Any, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, config, _ = read_model(trained.model)
    images = torch.from_numpy(binarize(np.load(stages.npz)["train"][:, None], 3))
    whole = stage.validate(model, images, 3)
    temperature = config.decoder.final_temperature
    relaxed = stage.relaxed_elbo(model, images, 3, temperature)
    # At a temperature near 0 relaxed samples are hard ones: the gap closes.
    assert stage.relaxed_elbo(model, images, 3, 1e-3) == pytest.approx(whole["elbo"], rel=0.05)

    monkeypatch.setattr(stage, "BATCH_SIZE", 7)
    assert stage.validate(model, images, 3) == pytest.approx(whole, rel=1e-5)
    assert stage.relaxed_elbo(model, images, 3, temperature) == pytest.approx(relaxed, rel=1e-5)


def test_the_bound_improves_on_a_small_problem(trained: Any, metrics: Any) -> None:
    log = metrics(trained.model)
    assert [log[0]["step"], log[-1]["step"]] == [0, 60]
    assert log[-1]["elbo"] < 0.7 * log[0]["elbo"]
    assert log[-1]["wake_nll"] < 0.7 * log[0]["nll"]
    assert trained.results["model"]["elbo"] < 0.7 * log[0]["elbo"]
    assert trained.results["model"]["relaxed_elbo"] < 0.7 * log[0]["elbo"]
    assert "loss" in log[-1]
    # An unknown pixel costs 1 bit.
    assert log[0]["distortion"] == pytest.approx(64 * math.log(2), rel=0.05)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encoder_depth", 2),
        ("encoder_gain", 4.0),
        ("decoder_depth", 0),
        ("decoder_patch", 1),
        ("batch_size", 5),
        ("encoder_learning_rate", 5e-3),
        ("learning_rate", 5e-3),
        ("weight_decay", 0.5),
        ("warmup", 0.9),
        ("ema", 0.05),
        ("temperature", 0.9),
        ("final_temperature", 0.4),
        ("parse_weight", 7.0),
        ("final_parse_weight", 3.0),
        ("parse_until", 0.9),
        ("deform", 0.1),
        ("canvas_weight", 3.0),
        ("stroke_weight", 1.0),
        ("kl_weight", 0.25),
        ("hard_fraction", 0.9),
        ("wake", 0.5),
        ("wake_samples", 2),
        ("wake_canvas_weight", 2.0),
        ("wake_rate", 0.5),
    ],
)
def test_every_setting_changes_the_weights(
    name: str, value: float, stages: Any, made: Any, tmp_path: Path
) -> None:
    assert getattr(stages.config.decoder, name) != value
    changed = stages.configured(decoder={name: value})
    changed.train_decoder(made.parse, made.prior, tmp_path / "m")
    assert not same(tensors(tmp_path / "m"), tensors(made.model))


def test_the_seed_changes_the_weights_and_the_save_interval_does_not(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    stages.train_decoder(made.parse, made.prior, tmp_path / "a", save_every=1, seed=0)
    assert (tmp_path / "a").read_bytes() == made.model.read_bytes()
    stages.train_decoder(made.parse, made.prior, tmp_path / "b", seed=1)
    assert read_header(tmp_path / "b").seed == 1
    assert not same(tensors(tmp_path / "b"), tensors(made.model))


def test_the_best_average_is_stored(
    stages: Any, made: Any, metrics: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [5.0, 1.0, 3.0, 2.0]
    seen: list[dict[str, torch.Tensor]] = []

    def validate(model: NPDraw, *_: Any) -> dict[str, float]:
        assert not model.training
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        nll = scores[min(len(seen), len(scores)) - 1]
        others = dict.fromkeys(("elbo", "rate", "distortion", "canvas_mse"), -nll)
        return {"nll": nll, **others}

    monkeypatch.setattr(stage, "validate", validate)
    longer = stages.configured(
        decoder={"steps": 20}
    )  # validated at 10 and 20, and between the phases
    result = longer.train_decoder(made.parse, made.prior, tmp_path / "m")
    assert [record["step"] for record in metrics(tmp_path / "m")] == [0, 10, 15, 20]
    assert result["best_step"] == 10
    stored = tensors(tmp_path / "m")
    stored.pop("bank")
    assert same(stored, seen[1])
    assert not same(stored, seen[2])


def test_a_diverged_training_writes_nothing(
    stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_step, "learning_rate", lambda step, *_: 1e30 if step == 2 else 1.0)
    with pytest.raises(DivergedError, match="at step 3"):
        stages.train_decoder(made.parse, made.prior, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_dry_run_writes_nothing(stages: Any, made: Any, tmp_path: Path) -> None:
    result = stages.train_decoder(made.parse, made.prior, tmp_path / "m", dry_run=True)
    assert list(tmp_path.iterdir()) == []
    assert result["dry_run"] is True
    assert result["settings"] == as_dict(stages.config)
    stored = tensors(made.model)
    assert result["parameters"] == sum(t.numel() for t in stored.values()) - stored["bank"].numel()


def test_drawings_that_no_longer_show_the_images_are_noted(
    stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed, validate = read_header(made.parse).metrics["canvas_mse"], stage.validate
    for times, noted in ((0.9 * stage.LOST, False), (1.1 * stage.LOST, True)):
        wrong = {"canvas_mse": times * parsed}
        monkeypatch.setattr(stage, "validate", lambda *a, new=wrong: validate(*a) | new)
        progress = stages.Recorder()
        stages.train_decoder(made.parse, made.prior, tmp_path / f"{noted}", progress=progress)
        assert any("show little of the images" in note for note in progress.notes) == noted
