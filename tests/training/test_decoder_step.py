"""A step of train-decoder: the batches it draws, the schedules it follows."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from npdraw.decoder_config import DecoderConfig
from npdraw.inputs.models import layout_of, read_parse
from npdraw.model import brush as brush_module
from npdraw.model.npdraw import NPDraw
from npdraw.model.parsing import parse as parse_images
from npdraw.model.terms import WakeConfig
from npdraw.training import decoder_step
from npdraw.training import loss as loss_module
from npdraw.training.state import learning_rate, optimizer_step


def seen_in_training(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Record the arguments of `NPDraw.forward`: images, noise, and settings of the phase."""
    seen: list[tuple[Any, ...]] = []
    forward = NPDraw.forward

    def spy(self: NPDraw, *arguments: Any) -> Any:
        if torch.is_grad_enabled():
            seen.append(arguments)
        return forward(self, *arguments)

    monkeypatch.setattr(NPDraw, "forward", spy)
    return seen


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_each_batch_is_binarised_again_and_parsed_in_fp32(
    precision: str, stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parses = []

    def in_fp32(images: Any, *arguments: Any, **named: Any) -> Any:
        assert not torch.is_autocast_enabled("cpu")  # bf16 would choose other parts
        parses.append((images, parse_images(images, *arguments, **named)))
        return parses[-1][1]

    seen = seen_in_training(monkeypatch)
    monkeypatch.setattr(brush_module, "parse", in_fp32)
    settings = {"batch_size": stages.train, "steps": 3, "parse_until": 1.0, "wake": 0.0}
    whole = stages.configured(decoder=settings)
    whole.train_decoder(made.parse, made.prior, tmp_path / "m", precision=precision)
    grey = np.load(stages.npz)["train"][: stages.train] / 255
    settings = stages.config.parse
    bank = read_parse(made.parse).tensors["bank"]
    assert len(seen) == len(parses) == 3
    total = np.zeros_like(grey[0])
    for (images, uniforms, *_), (parsed, parse) in zip(seen, parses, strict=True):
        assert torch.equal(parsed, images)
        assert set(images.unique().tolist()) == {0.0, 1.0}
        # Every training image occurs once; a pixel is 0 where its value is 0, 1 where it is 255.
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
        assert not torch.equal(seen[a][1], seen[b][1])


def test_images_are_parsed_only_while_the_parse_has_weight(
    stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = seen_in_training(monkeypatch)
    part = stages.configured(decoder={"batch_size": 4, "steps": 4, "parse_until": 0.5, "wake": 0.0})
    part.train_decoder(made.parse, made.prior, tmp_path / "m")
    assert [how.imitate for *_, how in seen] == [True, True, False, False]
    floor = {"steps": 2, "parse_until": 0.0, "final_parse_weight": 1.0, "wake": 0.0}
    stages.configured(decoder=floor).train_decoder(made.parse, made.prior, tmp_path / "f")
    assert all(how.imitate for *_, how in seen[4:])


def test_each_step_of_all_networks_is_followed_by_steps_of_the_decoder_alone(
    stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, weights, metrics = seen_in_training(monkeypatch), [], []

    def spy(state: Any, *arguments: Any, **named: Any) -> Any:
        result = optimizer_step(state, *arguments, **named)
        weights.append({name: x.clone() for name, x in state.model.state_dict().items()})
        metrics.append(set(result))
        return result

    monkeypatch.setattr(loss_module, "optimizer_step", spy)
    settings = {"batch_size": 4, "steps": 8, "decoder_alone": 2, "wake": 0.25}
    part = stages.configured(decoder=settings)
    part.train_decoder(made.parse, made.prior, tmp_path / "m")
    alone = [False, True, True, False, True, True, False, False]
    assert [isinstance(how, WakeConfig) for *_, how in seen] == [False, False, True, True]
    for step in range(1, 8):
        before, after = weights[step - 1], weights[step]
        changed = {name.split(".")[0] for name in after if not after[name].equal(before[name])}
        assert changed == ({"decoder"} if alone[step] else {"decoder", "encoder", "prior"})
    # The loss of all networks is kept while the decoder trains alone, but not into the wake phase.
    relaxed, wake = {"loss", "relaxed_elbo"}, {"loss", "wake_nll"}
    both = relaxed | {"decoder_loss"}
    assert metrics == [relaxed, both, both, relaxed, both, both, wake, wake]


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


def test_shifted_images_are_trained_on(
    stages: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dot = np.zeros((20, 8, 8), np.uint8)
    dot[:, 4:6, 4:6] = 255
    dot[-1] = 0  # images that are all equal are refused; the last is held out
    settings = {"parse": {"shift": 1, "parts": 2}, "decoder": {"batch_size": 90, "steps": 1}}
    few = stages.from_images(tmp_path / "few.npz", dot).configured(**settings)
    few.parse(tmp_path / "parse")
    few.train_prior(tmp_path / "parse", tmp_path / "prior")
    seen = seen_in_training(monkeypatch)
    few.train_decoder(tmp_path / "parse", tmp_path / "prior", tmp_path / "m")
    corners = {tuple(np.argwhere(image[0].numpy())[0]) for image in seen[0][0]}
    assert corners == {(row, column) for row in (3, 4, 5) for column in (3, 4, 5)}


def test_the_share_of_deformed_images_falls_to_0(
    stages: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    square = np.zeros((20, 8, 8), np.uint8)
    square[:, 1:7, 1:7] = 255
    square[-1] = 0  # images that are all equal are refused; the last is held out
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
    assert (last, after) == (0, 0)  # none in the wake phase
    falling = np.linspace(1, 0, 10, endpoint=False)
    assert np.allclose(relaxed, falling, atol=0.2)
    kinds = {images[i].numpy().tobytes() for images, *_ in seen for i in range(100)}
    assert len(kinds) > 300  # each has its own map


def test_random_maps_are_spread_around_the_identity() -> None:
    noise = torch.Generator().manual_seed(0)
    maps = decoder_step.random_maps(40_000, 0.3, 0.2, noise)
    still = (maps == torch.eye(2)).all(2).all(1)
    assert float(still.float().mean()) == pytest.approx(0.7, abs=0.01)
    moved = maps[~still]
    torch.testing.assert_close(moved.mean(0), torch.eye(2), rtol=0, atol=0.01)
    torch.testing.assert_close(moved.flatten(1).T.cov(), 0.04 * torch.eye(4), rtol=0, atol=2e-3)
    assert (decoder_step.random_maps(100, 0.0, 0.2, noise) == torch.eye(2)).all()


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
    assert decoder_step.schedule(0, settings) == pytest.approx((0.8, 5.0))
    assert decoder_step.schedule(25, settings) == pytest.approx((0.8 / math.sqrt(2), 3.0))
    assert decoder_step.schedule(50, settings) == pytest.approx((0.4, 1.0))
    assert decoder_step.schedule(100, settings) == pytest.approx((0.2, 1.0))
    waking = replace(settings, steps=125, wake=0.2)  # changes in the relaxed phase only
    assert decoder_step.schedule(50, waking) == decoder_step.schedule(50, settings)
    never = DecoderConfig(steps=100, parse_until=0.0, parse_weight=5.0, final_parse_weight=1.0)
    assert decoder_step.schedule(0, never)[1] == 1.0


def test_the_schedules_are_followed(
    stages: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = seen_in_training(monkeypatch)
    stages.train_decoder(made.parse, made.prior, tmp_path / "m")
    settings = stages.config.decoder
    expected = [decoder_step.schedule(step, settings)[0] for step in range(3)]
    *relaxed, (_, uniforms, waking) = seen
    assert [arguments[2].temperature for arguments in relaxed] == pytest.approx(expected)
    assert [arguments[2].hard_rows for arguments in relaxed] == [2, 2, 2]  # a quarter of 8
    # The last of the four steps is in the wake phase.
    assert waking == WakeConfig(settings.wake_canvas_weight)
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

    monkeypatch.setattr(loss_module, "optimizer_step", spy)
    settings = {"steps": 10, "wake": 0.4, "wake_rate": 0.1, "warmup": 0.3, "ema": 0.25}
    stages.configured(decoder=settings).train_decoder(made.parse, made.prior, tmp_path / "m")
    first = [learning_rate(step, 6, 0.3) for step in range(6)]
    second = [0.1 * learning_rate(step, 4, 0.3) for step in range(4)]
    assert rates == pytest.approx(first + second)
    # The average of the relaxed phase is soon forgotten: the average starts again.
    assert decays == pytest.approx([0.25] * 6 + [1 / 11, 2 / 12, 3 / 13, 0.25])
