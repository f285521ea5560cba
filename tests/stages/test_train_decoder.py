"""Stage 3: resumed equals uninterrupted, inputs that do not belong together are refused."""

import json
import math
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from npdraw.artifacts import read_artifact
from npdraw.config import DecoderConfig, as_dict
from npdraw.datasets import digest
from npdraw.datasets.splits import binarize
from npdraw.errors import (
    ArtifactError,
    BusyError,
    DataError,
    DivergedError,
    StoppedError,
    UsageError,
)
from npdraw.header import read_header
from npdraw.inputs.models import layout_of, new_model, read_model, read_parse
from npdraw.model.npdraw import NPDraw, WakeConfig
from npdraw.model.parsing import parse as parse_images
from npdraw.runtime.noise import uniform
from npdraw.runtime.run_folder import locked
from npdraw.stages import train_decoder as stage
from npdraw.training import decoder_step as objective
from npdraw.training.state import learning_rate, optimizer_step

KEYS = {"steps", "seconds", "resumed_from", "nll", "elbo", "rate", "distortion", "canvas_mse"}
"""What docs/interface.md promises of `npdraw train-decoder --json`."""


def tensors(path: Path, kind: str = "model") -> dict[str, torch.Tensor]:
    return read_artifact(path, kind=kind).tensors


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Resuming


@pytest.mark.parametrize(
    ("prior", "dropout", "number"),
    [("joint", 0.0, signal.SIGINT), ("frozen", 0.0, signal.SIGTERM), ("joint", 0.3, signal.SIGINT)],
)
def test_two_and_two_steps_are_four(
    prior: str,
    dropout: float,
    number: int,
    stages: Any,
    made: Any,
    interrupt: Any,
    metrics: Any,
    tmp_path: Path,
) -> None:
    mode = stages.configured(prior={"dropout": dropout}, decoder={"prior": prior})
    whole, halves, prior_path = tmp_path / "whole", tmp_path / "halves", tmp_path / "prior"
    mode.train_prior(made.parse, prior_path)
    mode.train_decoder(made.parse, prior_path, whole)
    stop = interrupt(2, number)
    with pytest.raises(StoppedError, match="stopped at step 2 of 4") as caught:
        mode.train_decoder(made.parse, prior_path, halves, progress=stop, save_every=100)
    assert caught.value.exit_code == 128 + number
    assert not halves.exists()
    checkpoint = tmp_path / "halves.run/checkpoint.safetensors"
    assert read_header(checkpoint, kind="checkpoint", verify=True).metrics["step"] == 2

    assert mode.train_decoder(made.parse, prior_path, halves)["resumed_from"] == 2
    assert halves.read_bytes() == whole.read_bytes()
    assert metrics(halves) == metrics(whole)
    for sheet in whole.with_name("whole.run").glob("*.png"):
        assert sheet.read_bytes() == (tmp_path / "halves.run" / sheet.name).read_bytes()


def test_a_crash_goes_back_to_the_checkpoint(
    stages: Any, made: Any, crash: Any, interrupt: Any, metrics: Any, tmp_path: Path
) -> None:
    longer = stages.configured(decoder={"steps": 60})
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    longer.train_decoder(made.parse, made.prior, whole)
    logged = [record["step"] for record in metrics(whole)]
    assert len(logged) > 2
    at = logged[-2] + 3  # after a record that the last checkpoint before it does not know
    every = logged[-2] * 3 // 5
    with pytest.raises(GeneratorExit):
        longer.train_decoder(made.parse, made.prior, torn, save_every=every, progress=crash(at))
    assert metrics(torn)[-1]["step"] > every
    checkpoint = tmp_path / "torn.run/checkpoint.safetensors"
    assert read_header(checkpoint).metrics["step"] == every
    # The next one gets as far as a record, so that the last one must not repeat it.
    with pytest.raises(StoppedError, match=f"at step {logged[-2]} of"):
        longer.train_decoder(made.parse, made.prior, torn, progress=interrupt(logged[-2]))
    assert metrics(torn) == metrics(whole)[:-1]
    assert longer.train_decoder(made.parse, made.prior, torn)["resumed_from"] == logged[-2]
    assert torn.read_bytes() == whole.read_bytes()
    assert metrics(torn) == metrics(whole)


@pytest.mark.slow
def test_resuming_is_exact_in_bf16(stages: Any, made: Any, interrupt: Any, tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    stages.train_decoder(made.parse, made.prior, whole, precision="bf16")
    with pytest.raises(StoppedError):
        stages.train_decoder(
            made.parse, made.prior, halves, precision="bf16", progress=interrupt(1)
        )
    stages.train_decoder(made.parse, made.prior, halves, precision="bf16")
    assert halves.read_bytes() == whole.read_bytes() != made.model.read_bytes()


def test_a_finished_training_without_its_output_only_writes_it(
    stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "m"
    stages.train_decoder(made.parse, made.prior, out)
    out.unlink()
    monkeypatch.setattr(stage, "train_step", None)  # would fail if a step were taken
    assert stages.train_decoder(made.parse, made.prior, out)["resumed_from"] == 4
    assert out.read_bytes() == made.model.read_bytes()


def test_the_second_time_it_is_up_to_date_and_repeats_every_figure(stages: Any, made: Any) -> None:
    before = made.model.stat()
    again = stages.train_decoder(made.parse, made.prior, made.model)
    assert again.pop("up_to_date") is True
    assert again == {**made.results["model"], "resumed_from": 4}
    assert made.model.stat() == before


def test_force_trains_afresh_and_what_it_began_goes_on_without(
    stages: Any, made: Any, interrupt: Any, flip: Any, tmp_path: Path
) -> None:
    out = tmp_path / "m"
    stages.train_decoder(made.parse, made.prior, out)
    again = stages.train_decoder(made.parse, made.prior, out, force=True)
    assert "up_to_date" not in again
    assert again["resumed_from"] == 0
    for mode in (stages, stages.configured(decoder={"canvas_weight": 3.0})):
        with pytest.raises(StoppedError):
            mode.train_decoder(made.parse, made.prior, out, force=True, progress=interrupt(2))
        assert mode.train_decoder(made.parse, made.prior, out)["resumed_from"] == 2
        assert mode.train_decoder(made.parse, made.prior, out)["up_to_date"]
    with pytest.raises(StoppedError):
        stages.train_decoder(made.parse, made.prior, out, force=True, progress=interrupt(2))
    flip(tmp_path / "m.run/checkpoint.safetensors", 20)
    assert stages.train_decoder(made.parse, made.prior, out, force=True)["resumed_from"] == 0


def test_other_settings_are_refused_unless_forced(
    stages: Any, made: Any, interrupt: Any, tmp_path: Path
) -> None:
    out = tmp_path / "m"
    other = stages.configured(decoder={"steps": 3})
    with pytest.raises(StoppedError):
        stages.train_decoder(made.parse, made.prior, out, progress=interrupt(2))
    refusal = r"m exists with other settings: decoder\.steps 4, now 3"
    with pytest.raises(UsageError, match=refusal):
        other.train_decoder(made.parse, made.prior, out)
    assert stages.train_decoder(made.parse, made.prior, out)["resumed_from"] == 2
    assert out.read_bytes() == made.model.read_bytes()
    with pytest.raises(UsageError, match=refusal) as caught:
        other.train_decoder(made.parse, made.prior, out)
    assert caught.value.exit_code == 2
    assert out.read_bytes() == made.model.read_bytes()
    assert other.train_decoder(made.parse, made.prior, out, force=True)["resumed_from"] == 0
    assert read_header(out).config["decoder"]["steps"] == 3


def test_an_output_is_trained_by_one_process(stages: Any, made: Any, tmp_path: Path) -> None:
    with locked(tmp_path / "m"), pytest.raises(BusyError):
        stages.train_decoder(made.parse, made.prior, tmp_path / "m")


# Sheets


def test_sheets_do_not_change_the_training(
    stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.rand(99)  # nor does what was drawn from the global generator before
    grey = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    monkeypatch.setattr(stage, "draw", lambda *_: None)
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


# What is trained


def test_a_frozen_prior_stays_as_it_is_and_a_joint_one_does_not(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    before = tensors(made.prior, "prior")
    dropping = stages.configured(prior={"dropout": 0.5})
    dropping.train_prior(made.parse, tmp_path / "prior")
    for mode, prior_path, weights in (
        ("joint", made.prior, before),
        ("frozen", made.prior, before),
        ("frozen", tmp_path / "prior", tensors(tmp_path / "prior", "prior")),
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
        model = new_model(mixed.config, torch.rand(mixed.config.parse.parts, 1, 4, 4))
        found = {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)}
        assert found == {expected}


def test_the_result_has_the_promised_figures(stages: Any, made: Any) -> None:
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
    found = [result[name] for name in ("nll", "rate", "distortion", "canvas_mse")]
    assert found == pytest.approx(sums / len(images), rel=1e-5)
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
    # A pixel costs 1 bit if nothing is known.
    assert log[0]["distortion"] == pytest.approx(64 * math.log(2), rel=0.05)


def seen_in_training(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Keep what `NPDraw.forward` is called with: images, parse, uniform, relaxation or waking."""
    seen: list[tuple[Any, ...]] = []
    forward = NPDraw.forward

    def spy(self: NPDraw, *arguments: Any) -> Any:
        if torch.is_grad_enabled():
            seen.append(arguments)
        return forward(self, *arguments)

    monkeypatch.setattr(NPDraw, "forward", spy)
    return seen


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_each_batch_is_binarised_afresh_and_parsed_as_by_the_parser(
    precision: str, stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_fp32(*arguments: Any, **named: Any) -> Any:
        assert not torch.is_autocast_enabled("cpu")  # bf16 would choose other parts
        return parse_images(*arguments, **named)

    seen = seen_in_training(monkeypatch)
    monkeypatch.setattr(objective, "parse_images", in_fp32)
    settings = {"batch_size": stages.train, "steps": 3, "parse_until": 1.0, "wake": 0.0}
    whole = stages.configured(decoder=settings)
    whole.train_decoder(made.parse, made.prior, tmp_path / "m", precision=precision)
    grey = np.load(stages.npz)["train"][: stages.train] / 255
    settings = stages.config.parse
    bank = read_parse(made.parse).tensors["bank"]
    assert len(seen) == 3
    total = np.zeros_like(grey[0])
    for images, parse, uniforms, *_ in seen:
        assert set(images.unique().tolist()) == {0.0, 1.0}
        # All training images, once: every pixel is 0 where the image is, 1 where it is 255.
        total += images.sum((0, 1)).numpy() / len(seen)
        again = parse_images(
            images,
            bank,
            layout_of(settings),
            threshold=settings.threshold,
            compositing=settings.compositing,
            sweeps=settings.sweeps,
        )
        for name in ("whether", "where", "what"):
            assert torch.equal(getattr(parse, name), getattr(again, name))
        assert uniforms.shape == (stages.train, 4, 1 + 4 + settings.parts)
        assert 0.45 < float(uniforms.mean()) < 0.55
    spread = np.sqrt((grey * (1 - grey)).sum(0) / len(seen))
    assert (abs(total - grey.sum(0)) <= 4 * spread + 1e-9).all()
    for a, b in ((0, 1), (0, 2), (1, 2)):
        first = sorted(seen[a][0].flatten(1).tolist())
        second = sorted(seen[b][0].flatten(1).tolist())
        assert first != second
        assert not torch.equal(seen[a][2], seen[b][2])


def test_images_are_parsed_only_while_the_parse_counts(
    stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = seen_in_training(monkeypatch)
    part = stages.configured(decoder={"batch_size": 4, "steps": 4, "parse_until": 0.5, "wake": 0.0})
    part.train_decoder(made.parse, made.prior, tmp_path / "m")
    assert [parse is not None for _, parse, *_ in seen] == [True, True, False, False]
    floor = {"steps": 2, "parse_until": 0.0, "final_parse_weight": 1.0, "wake": 0.0}
    stages.configured(decoder=floor).train_decoder(made.parse, made.prior, tmp_path / "f")
    assert all(parse is not None for _, parse, *_ in seen[4:])


def test_held_out_images_are_not_trained_on(
    stages: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.load(stages.npz)["train"]
    images[stages.train :] = 255
    marked = stages.from_images(tmp_path / "marked.npz", images)
    marked.parse(tmp_path / "parse")
    marked.train_prior(tmp_path / "parse", tmp_path / "prior")
    seen = seen_in_training(monkeypatch)
    longer = marked.configured(decoder={"steps": 12})  # more than two epochs
    longer.train_decoder(tmp_path / "parse", tmp_path / "prior", tmp_path / "m")
    batches = torch.cat([arguments[0] for arguments in seen])
    assert len(batches) == 96
    assert float(batches.mean((1, 2, 3)).max()) < 0.9


def test_moved_images_are_trained_on(
    stages: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dot = np.zeros((20, 8, 8), np.uint8)
    dot[:, 4:6, 4:6] = 255
    settings = {"parse": {"shift": 1, "parts": 2}, "decoder": {"batch_size": 90, "steps": 1}}
    few = stages.from_images(tmp_path / "few.npz", dot).configured(**settings)
    few.parse(tmp_path / "parse")
    few.train_prior(tmp_path / "parse", tmp_path / "prior")
    seen = seen_in_training(monkeypatch)
    few.train_decoder(tmp_path / "parse", tmp_path / "prior", tmp_path / "m")
    corners = {tuple(np.argwhere(image[0].numpy())[0]) for image in seen[0][0]}
    assert corners == {(row, column) for row in (3, 4, 5) for column in (3, 4, 5)}


def test_deformed_images_are_trained_on_ever_fewer(
    stages: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    square = np.zeros((20, 8, 8), np.uint8)
    square[:, 1:7, 1:7] = 255
    decoder = {"batch_size": 100, "steps": 12, "wake": 1 / 6, "deform": 0.2}
    alike = stages.from_images(tmp_path / "alike.npz", square)
    alike.parse(tmp_path / "parse")
    alike.train_prior(tmp_path / "parse", tmp_path / "prior")
    seen = seen_in_training(monkeypatch)
    training = alike.configured(decoder=decoder)
    training.train_decoder(tmp_path / "parse", tmp_path / "prior", tmp_path / "m")
    itself = torch.from_numpy(square[0] / 255)
    shares = [float((images[:, 0] != itself).any(2).any(1).float().mean()) for images, *_ in seen]
    *relaxed, last, after = shares
    assert (last, after) == (0, 0)  # in waking steps there is none
    falling = np.linspace(1, 0, 10, endpoint=False)
    assert np.allclose(relaxed, falling, atol=0.2)
    kinds = {images[i].numpy().tobytes() for images, *_ in seen for i in range(100)}
    assert len(kinds) > 300  # each has a map of its own


def test_random_maps_are_about_the_identity() -> None:
    noise = torch.Generator().manual_seed(0)
    maps = objective.random_maps(40_000, 0.3, 0.2, noise)
    still = (maps == torch.eye(2)).all(2).all(1)
    assert float(still.float().mean()) == pytest.approx(0.7, abs=0.01)
    moved = maps[~still]
    torch.testing.assert_close(moved.mean(0), torch.eye(2), rtol=0, atol=0.01)
    torch.testing.assert_close(moved.flatten(1).T.cov(), 0.04 * torch.eye(4), rtol=0, atol=2e-3)
    assert (objective.random_maps(100, 0.0, 0.2, noise) == torch.eye(2)).all()


def test_the_schedules(stages: Any) -> None:
    settings = DecoderConfig(
        steps=100,
        wake=0.0,
        temperature=0.8,
        final_temperature=0.2,
        parse_weight=5.0,
        final_parse_weight=1.0,
        parse_until=0.5,
    )
    assert objective.schedule(0, settings) == pytest.approx((0.8, 5.0))
    assert objective.schedule(25, settings) == pytest.approx((0.8 / math.sqrt(2), 3.0))
    assert objective.schedule(50, settings) == pytest.approx((0.4, 1.0))
    assert objective.schedule(100, settings) == pytest.approx((0.2, 1.0))
    waking = replace(settings, steps=125, wake=0.2)  # falls in the first phase only
    assert objective.schedule(50, waking) == objective.schedule(50, settings)
    never = DecoderConfig(steps=100, parse_until=0.0, parse_weight=5.0, final_parse_weight=1.0)
    assert objective.schedule(0, never)[1] == 1.0


def test_the_schedules_are_followed(
    stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = seen_in_training(monkeypatch)
    stages.train_decoder(made.parse, made.prior, tmp_path / "m")
    settings = stages.config.decoder
    expected = [objective.schedule(step, settings)[0] for step in range(3)]
    *relaxed, (_, parse, uniforms, waking) = seen
    assert [arguments[3].temperature for arguments in relaxed] == pytest.approx(expected)
    assert [arguments[3].hard_rows for arguments in relaxed] == [2, 2, 2]  # a quarter of 8
    # The last step of four is a waking one.
    assert (parse, waking) == (None, WakeConfig(settings.wake_canvas_weight))
    assert uniforms.shape == (8, settings.wake_samples + 1, 4, 3)


def test_learning_rates_and_averages_of_both_phases(
    stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    decays: list[float] = []

    def spy(state: Any, loss: Any, rate: float, decay: float, **watched: Any) -> Any:
        rates.append(rate)
        decays.append(decay)
        return optimizer_step(state, loss, rate, decay, **watched)

    monkeypatch.setattr(objective, "optimizer_step", spy)
    settings = {"steps": 10, "wake": 0.4, "wake_rate": 0.1, "warmup": 0.3, "ema": 0.25}
    stages.configured(decoder=settings).train_decoder(made.parse, made.prior, tmp_path / "m")
    first = [learning_rate(step, 6, 0.3) for step in range(6)]
    second = [0.1 * learning_rate(step, 4, 0.3) for step in range(4)]
    assert rates == pytest.approx(first + second)
    # The average of the first phase is soon forgotten: the average starts again.
    assert decays == pytest.approx([0.25] * 6 + [1 / 11, 2 / 12, 3 / 13, 0.25])


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
        ("kl_weight", 0.25),
        ("hard_fraction", 0.9),
        ("wake", 0.5),
        ("wake_samples", 2),
        ("wake_canvas_weight", 2.0),
        ("wake_rate", 0.5),
    ],
)
def test_every_setting_counts(
    name: str, value: float, stages: Any, made: Any, tmp_path: Path
) -> None:
    assert getattr(stages.config.decoder, name) != value
    changed = stages.configured(decoder={name: value})
    changed.train_decoder(made.parse, made.prior, tmp_path / "m")
    assert not same(tensors(tmp_path / "m"), tensors(made.model))


def test_seed_and_interval_of_saving(stages: Any, made: Any, tmp_path: Path) -> None:
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
    longer = stages.configured(decoder={"steps": 20})  # judged at 10 and 20, and before waking
    result = longer.train_decoder(made.parse, made.prior, tmp_path / "m")
    assert [record["step"] for record in metrics(tmp_path / "m")] == [0, 10, 15, 20]
    assert result["best_step"] == 10
    stored = tensors(tmp_path / "m")
    stored.pop("bank")
    assert same(stored, seen[1])
    assert not same(stored, seen[2])


def test_a_diverged_training_ends(
    stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objective, "learning_rate", lambda step, *_: 1e30 if step == 2 else 1.0)
    with pytest.raises(DivergedError, match="at step 3"):
        stages.train_decoder(made.parse, made.prior, tmp_path / "m")
    assert not (tmp_path / "m").exists()


# Inputs


def test_an_artifact_says_where_it_comes_from(stages: Any, made: Any) -> None:
    header, parse = read_header(made.model), read_header(made.parse)
    assert header.inputs == {"parse": parse.digest, "prior": read_header(made.prior).digest}
    assert header.dataset == parse.dataset
    assert json.loads(json.dumps(as_dict(stages.config))) == header.config
    assert header.seed == 0
    beside = json.loads((made.folder / "model.safetensors.run/config.json").read_text())
    assert beside == {**header.config, "source": stages.source}
    assert str(stages.npz.parent).encode() not in made.model.read_bytes()


def test_a_prior_of_another_parse_is_refused_naming_both(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    other = tmp_path / "parse"
    stages.configured(parse={"parts": 7}).parse(other)
    digests = [read_header(path).digest[:6] for path in (made.parse, other)]
    with pytest.raises(ArtifactError) as caught:
        stages.train_decoder(other, made.prior, tmp_path / "m")
    assert caught.value.message == (
        f"{made.prior} was trained on part bank {digests[0]} (K=8), "
        f"but {other} holds {digests[1]} (K=7)"
    )
    assert f"npdraw train-prior {other}" in caught.value.hint
    assert caught.value.exit_code == 3
    assert not (tmp_path / "m").exists()


def test_artifacts_of_another_kind_or_damaged_are_refused(
    stages: Any, made: Any, tmp_path: Path, flip: Any
) -> None:
    flipped, truncated = tmp_path / "flipped", tmp_path / "truncated"
    shutil.copy(made.prior, flipped)
    flip(flipped, -1)
    truncated.write_bytes(made.prior.read_bytes()[:-1])
    for parse, prior, reason in (
        (made.parse, made.parse, "is a parse, expected a prior"),
        (made.prior, made.prior, "is a prior, expected a parse"),
        (made.parse, made.model, "is a model, expected a prior"),
        (made.parse, flipped, "flipped is damaged"),
        (made.parse, truncated, "truncated is damaged"),
        (made.parse, tmp_path / "no", "there is no file"),
    ):
        with pytest.raises(ArtifactError, match=reason) as caught:
            stages.train_decoder(parse, prior, tmp_path / "m")
        assert caught.value.exit_code == 3
    assert not (tmp_path / "m").exists()


def test_settings_of_parse_and_prior_are_fixed(stages: Any, made: Any, tmp_path: Path) -> None:
    for changes, named in (
        ({"parse": {"parts": 9}}, r"\[parse\] are fixed by"),
        ({"prior": {"steps": 9}}, r"\[prior\] are fixed by"),
        ({"decoder": {"stepz": 9}}, "stepz"),
    ):
        with pytest.raises(UsageError, match=named):
            stages.train_decoder(made.parse, made.prior, tmp_path / "m", changes=changes)
    assert list(tmp_path.iterdir()) == []


def test_other_images_are_refused_and_a_lost_path_is_asked_for(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    images = np.load(stages.npz)["train"]
    changed = stages.from_images(tmp_path / "changed.npz", 255 - images)
    out, lost = tmp_path / "m", tmp_path / "lost"
    with pytest.raises(DataError, match=r"but .* was made from"):
        stages.train_decoder(made.parse, made.prior, out, source=changed.source)
    shutil.copy(made.parse, lost)  # without what is beside it
    with pytest.raises(DataError, match="whose path is not known here") as caught:
        stages.train_decoder(lost, made.prior, out)
    assert caught.value.exit_code == 4
    assert "--data npz:PATH" in caught.value.hint
    assert not out.exists()
    stages.train_decoder(lost, made.prior, out, source=stages.source)
    assert out.read_bytes() == made.model.read_bytes()


def test_images_of_another_name_are_recorded(stages: Any, made: Any, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, image in enumerate(np.load(stages.npz)["train"][:40]):
        Image.fromarray(image).save(folder / f"{index}.png")
    out = tmp_path / "m"
    stages.train_decoder(made.parse, made.prior, out, source=f"folder:{folder}")
    header = read_header(out)
    assert header.dataset["name"] == "folder"
    assert header.dataset["train"] + header.dataset["validation"] == 36
    assert header.dataset["digest"] != digest(np.load(stages.npz)["train"][:, None])
    # Later stages find them beside the model.
    assert stages.eval_nll(out, samples=1)["images"] == 4


def test_dry_run_writes_nothing(stages: Any, made: Any, tmp_path: Path) -> None:
    result = stages.train_decoder(made.parse, made.prior, tmp_path / "m", dry_run=True)
    assert list(tmp_path.iterdir()) == []
    assert result["dry_run"] is True
    assert result["settings"] == as_dict(stages.config)
    stored = tensors(made.model)
    assert result["parameters"] == sum(t.numel() for t in stored.values()) - stored["bank"].numel()
