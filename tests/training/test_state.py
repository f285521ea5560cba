"""The mechanics of training: schedule, step, average, best, checkpoint, stopping."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from npdraw.artifacts import read_artifact, write_artifact
from npdraw.errors import ArtifactError, DivergedError, UsageError
from npdraw.run_key import RunKey
from npdraw.training.checkpoint import load_checkpoint, resume, save_checkpoint
from npdraw.training.state import (
    PendingMetrics,
    State,
    ema_weights,
    is_due,
    learning_rate,
    new_state,
    optimizer_step,
    remember_best,
    sync_metrics,
)

IDENTITY = RunKey({"preset": "glyphs", "prior": {"steps": 9}}, {"name": "npz"}, {}, 0)


class Body(nn.Module):
    """A kernel between layers, a head in channels-last order, an embedding and biases."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, width, 3, padding=1)
        self.head = nn.Conv2d(width, 4, 3, padding=1)
        self.embedding = nn.Parameter(torch.ones(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x)).mean((2, 3)) * self.embedding.sum(0)  # type: ignore[no-any-return]


class Small(nn.Module):
    """A body and a matrix, each with a learning rate of its own."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.body = Body(width)
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.body(x))  # type: ignore[no-any-return]


DECAYING = {"body.conv.weight": 0.01, "linear.weight": 0.02}
"""Matrices between layers and the peak rate of their part."""


def training(width: int = 3, *, decay: float = 0.1) -> State:
    torch.manual_seed(1)
    model = Small(width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return new_state(model, [(model.body, 0.01), (model.linear, 0.02)], decay)


def loss_of(state: State, step: int) -> Tensor:
    images = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(step))
    return state.model(images).square().sum()  # type: ignore[no-any-return]


def steps(state: State, count: int, *, decay: float = 0.9) -> None:
    for _ in range(count):
        optimizer_step(state, loss_of(state, state.step), 0.5, decay)


def copied(state: State) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.model.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Schedule


def test_learning_rate_rises_in_a_line_and_falls_in_a_cosine() -> None:
    rates = [learning_rate(step, 100, 0.1) for step in range(101)]
    assert rates[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates[40] == pytest.approx(0.5 + 0.5 * math.cos(math.pi / 3))
    assert rates[100] == pytest.approx(0)
    assert rates[99] > 0
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_learning_rate_of_the_shortest_runs_is_never_0() -> None:
    for length in (1, 2, 3):
        for warmup in (0.0, 0.5, 0.9):
            assert all(0 < learning_rate(step, length, warmup) <= 1 for step in range(length))


def test_a_look_is_due_at_powers_of_two_and_then_regularly() -> None:
    assert [s for s in range(35) if is_due(s, 10)] == [0, 1, 2, 4, 8, 10, 20, 30]
    assert [s for s in range(9) if is_due(s, 1)] == list(range(9))
    assert [s for s in range(40) if is_due(s, 16)] == [0, 1, 2, 4, 8, 16, 32]


# Steps


def test_the_average_follows_with_its_decay_and_faster_at_first() -> None:
    state = training()
    average = copied(state)
    for step in range(1, 6):
        steps(state, 1, decay=0.3)
        decay = min(0.3, step / (step + 10))
        for name, weight in copied(state).items():
            average[name] = decay * average[name] + (1 - decay) * weight
            torch.testing.assert_close(state.average[name], average[name])
    assert 5 / 15 > 0.3 > 4 / 14  # both sides of the minimum were seen


def test_each_part_has_its_rate() -> None:
    state = training(decay=0.0)
    before = copied(state)
    optimizer_step(state, loss_of(state, 0), 0.25, 0.9)
    for name, value in copied(state).items():
        rate = 0.25 * (0.02 if name.startswith("linear") else 0.01)
        moved = (value - before[name]).abs()
        if name in DECAYING:  # Muon: the root mean square is about a fifth of the rate
            assert 0.5 < float(moved.square().mean().sqrt()) / (0.2 * rate) < 1.3
        else:  # the first step of Adam moves every weight by the rate
            torch.testing.assert_close(moved, torch.full_like(moved, rate), rtol=1e-3, atol=1e-6)


def test_only_matrices_and_kernels_decay() -> None:
    state = training(decay=0.1)
    before = copied(state)
    optimizer_step(state, 0 * loss_of(state, 0), 0.5, 0.9)
    for name, value in copied(state).items():
        shrunk = 1 - 0.5 * DECAYING.get(name, 0.0) * 0.1
        torch.testing.assert_close(value, before[name] * shrunk, rtol=1e-6, atol=0)
        assert (name in DECAYING) != torch.equal(value, before[name])


def test_weights_that_need_no_gradient_stay() -> None:
    torch.manual_seed(1)
    model = Small()
    model.linear.requires_grad_(False)
    state = new_state(model, [(model, 0.01)], 0.1)
    before = copied(state)
    steps(state, 3)
    for name, value in copied(state).items():
        assert torch.equal(value, before[name]) == name.startswith("linear")
        assert torch.equal(state.average[name], before[name]) == name.startswith("linear")


def test_large_gradients_are_clipped() -> None:
    state = training()
    optimizer_step(state, 1e6 * loss_of(state, 0), 1.0, 0.9)
    norm = sum(float(p.grad.square().sum()) for p in state.model.parameters()) ** 0.5
    assert norm == pytest.approx(50, rel=1e-3)


def test_gradients_do_not_add_up() -> None:
    state = training()
    optimizer_step(state, loss_of(state, 0), 0.0, 0.9)
    first = state.model.body.embedding.grad.clone()
    optimizer_step(state, loss_of(state, 0), 0.0, 0.9)  # at rate 0 the weights have not moved
    assert torch.equal(state.model.body.embedding.grad, first)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_ends_the_training_with_its_weights(value: float) -> None:
    state = training()
    steps(state, 2)
    before, average = copied(state), {k: v.clone() for k, v in state.average.items()}
    with pytest.raises(DivergedError, match="at step 2") as caught:
        optimizer_step(state, loss_of(state, 0) + value, 1.0, 0.9)
    assert caught.value.exit_code == 6
    assert caught.value.hint == "Lower the learning rate and start again with --force."
    assert state.step == 2
    assert equal(copied(state), before)
    assert equal(state.average, average)


def test_a_gradient_that_is_not_finite_ends_it_too() -> None:
    state = training()
    before = copied(state)
    with pytest.raises(DivergedError, match=r"gradient is .* at step 0"):
        optimizer_step(state, (0 * state.model.body.embedding.sum()).sqrt(), 1.0, 0.9)
    assert state.step == 0
    assert equal(copied(state), before)


def test_figures_are_told_with_the_loss() -> None:
    state = training()
    loss = loss_of(state, 0)
    told = optimizer_step(state, loss, 0.5, 0.9, twice=2 * loss)
    value = float(loss.detach())
    assert told == {"loss": value, "twice": 2 * value}
    assert state.metrics == told
    sync_metrics(state)  # on the CPU they are there at once
    assert state.metrics == told


@pytest.mark.parametrize(
    ("values", "message"),
    [([math.nan, 1.0], "loss is nan at step 7"), ([1.0, math.inf], "gradient is inf at step 7")],
)
def test_figures_of_a_gpu_are_judged_when_they_arrive(values: list[float], message: str) -> None:
    arrived: Any = SimpleNamespace(synchronize=lambda: None)
    state = training()
    state.pending = PendingMetrics(7, ("loss",), torch.tensor([2.0, 1.0]), arrived)
    sync_metrics(state)
    assert state.metrics == {"loss": 2.0}
    assert state.pending is None
    state.pending = PendingMetrics(7, ("loss",), torch.tensor(values), arrived)
    with pytest.raises(DivergedError, match=message):
        sync_metrics(state)


# Judging


def test_the_average_is_judged_and_the_weights_come_back() -> None:
    state = training()
    steps(state, 3)
    raw = copied(state)
    assert not equal(raw, state.average)
    with ema_weights(state):
        assert equal(copied(state), state.average)
        assert not state.model.training
    assert equal(copied(state), raw)
    assert state.model.training
    with pytest.raises(KeyError), ema_weights(state):
        raise KeyError
    assert equal(copied(state), raw)
    assert state.model.training


def test_the_best_average_is_kept() -> None:
    state = training()
    kept = {}
    for score in (5.0, 3.0, 3.0, 4.0):
        steps(state, 1)
        remember_best(state, score)
        kept[state.step] = {name: value.clone() for name, value in state.average.items()}
    assert (state.best_step, state.best_score) == (2, 3.0)
    assert equal(state.best, kept[2])
    assert not equal(kept[2], kept[1])
    remember_best(state, 2.9)
    assert (state.best_step, state.best_score) == (4, 2.9)
    assert equal(state.best, kept[4])


# Checkpoints


def test_a_checkpoint_brings_everything_back(tmp_path: Path) -> None:
    state = training()
    steps(state, 3)
    remember_best(state, 1 / 3)
    steps(state, 2)
    save_checkpoint(tmp_path / "c", state, IDENTITY)

    fresh = training()
    load_checkpoint(tmp_path / "c", fresh)
    assert (fresh.step, fresh.best_step, fresh.best_score) == (5, 3, 1 / 3)
    assert equal(copied(fresh), copied(state))
    assert equal(fresh.average, state.average)
    assert equal(fresh.best, state.best)
    assert not equal(state.best, state.average)
    for a, b in zip(state.optimizers, fresh.optimizers, strict=True):
        parameters = zip(state.model.parameters(), fresh.model.parameters(), strict=True)
        for old, new in parameters:
            assert equal(a.state.get(old, {}), b.state.get(new, {}))
    assert sum(len(optimizer.state) for optimizer in fresh.optimizers) == 7

    steps(state, 4)
    steps(fresh, 4)
    assert equal(copied(fresh), copied(state))
    assert equal(fresh.average, state.average)
    save_checkpoint(tmp_path / "a", state, IDENTITY)
    save_checkpoint(tmp_path / "b", fresh, IDENTITY)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_loaded_training_is_independent_of_the_file(tmp_path: Path) -> None:
    state = training()
    steps(state, 1)
    save_checkpoint(tmp_path / "c", state, IDENTITY)
    fresh = training()
    load_checkpoint(tmp_path / "c", fresh)
    best = {name: value.clone() for name, value in fresh.best.items()}
    (tmp_path / "c").write_bytes(b"")
    steps(fresh, 2)
    assert equal(fresh.best, best)  # nor do average and best share memory with the weights
    assert not equal(fresh.average, copied(fresh))


def test_a_checkpoint_before_the_first_judgement(tmp_path: Path) -> None:
    state = training()
    save_checkpoint(tmp_path / "c", state, IDENTITY)
    fresh = training()
    load_checkpoint(tmp_path / "c", fresh)
    assert (fresh.step, fresh.best_score) == (0, math.inf)
    remember_best(fresh, 1e9)
    assert fresh.best_score == 1e9


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", training(width=4), IDENTITY)
    with pytest.raises(ArtifactError, match="does not fit its settings") as caught:
        load_checkpoint(tmp_path / "c", training(width=3))
    assert "--force" in caught.value.hint


def forged(path: Path, change: Callable[[dict[str, Tensor], dict[str, float]], object]) -> None:
    """Write a checkpoint of step 3 anew, changed, its digest right."""
    state = training()
    steps(state, 3)
    remember_best(state, 0.5)
    save_checkpoint(path, state, IDENTITY)
    artifact = read_artifact(path, kind="checkpoint")
    header, tensors, metrics = (
        artifact.header,
        dict(artifact.tensors),
        dict(artifact.header.metrics),
    )
    change(tensors, metrics)
    write_artifact(
        path,
        "checkpoint",
        tensors,
        run_key=RunKey.of(header),
        metrics=metrics,
    )


MOMENT, STEP = "optimizer/exp_avg_sq/body.embedding", "optimizer/step/body.embedding"
MOMENTUM = "optimizer/momentum/linear.weight"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t, m: m.pop("step"), "metric step is missing"),
        (lambda t, m: m.update(step=10), "metric step is 10, expected an integer in 0..9"),
        (lambda t, m: m.update(step=-1), "metric step is -1"),
        (lambda t, m: m.update(step=3.5), "metric step is 3.5"),
        (lambda t, m: m.update(best_step=4), "metric best_step is 4, expected an integer in 0..3"),
        (lambda t, m: m.pop("best_step"), "metric best_step is missing"),
        (lambda t, m: m.update(step=0, best_step=0), "it has a tensor optimizer/exp_avg/"),
        (lambda t, m: t.pop("weights/linear.bias"), "no tensor weights/linear.bias"),
        (lambda t, m: t.pop("average/linear.bias"), "no tensor average/linear.bias"),
        (lambda t, m: t.pop("best/linear.bias"), "no tensor best/linear.bias"),
        (lambda t, m: t.pop(MOMENT), f"no tensor {MOMENT}"),
        (lambda t, m: t.pop(MOMENTUM), f"no tensor {MOMENTUM}"),
        (lambda t, m: t.update(surplus=torch.zeros(1)), "a tensor surplus"),
        (lambda t, m: t.update({"optimizer/x": torch.zeros(1)}), "a tensor optimizer/x"),
        (lambda t, m: t.update({MOMENT: t[MOMENT].flatten()}), f"tensor {MOMENT} has shape [12]"),
        (lambda t, m: t.update({MOMENTUM: t[MOMENTUM].bfloat16()}), f"{MOMENTUM} is bfloat16"),
        (lambda t, m: t.update({MOMENT: -1 - t[MOMENT]}), f"{MOMENT} has values in"),
        (lambda t, m: t.update({STEP: t[STEP] + 1}), f"{STEP} has values in 4..4, expected 1..3"),
        (lambda t, m: t.update({STEP: t[STEP] * 0}), f"{STEP} has values in 0..0, expected 1..3"),
    ],
)
def test_a_checkpoint_of_no_training_is_refused_and_changes_nothing(
    tmp_path: Path,
    change: Callable[[dict[str, Tensor], dict[str, float]], object],
    problem: str,
) -> None:
    forged(tmp_path / "c", lambda tensors, metrics: None)
    load_checkpoint(tmp_path / "c", training())
    forged(tmp_path / "c", change)
    state = training()
    with pytest.raises(ArtifactError, match=re.escape(problem)) as caught:
        load_checkpoint(tmp_path / "c", state)
    assert str(tmp_path / "c") in caught.value.message
    assert (state.step, copied(state).keys()) == (0, copied(training()).keys())
    assert equal(copied(state), copied(training()))
    assert not any(optimizer.state for optimizer in state.optimizers)


def test_resume_goes_on_or_clears(tmp_path: Path) -> None:
    out, folder = tmp_path / "x.safetensors", tmp_path / "x.safetensors.run"
    folder.mkdir()
    (folder / "old.png").touch()
    (folder / "lock").touch()
    state = training()
    assert resume(state, out, folder, IDENTITY, force=False) == 0
    assert [path.name for path in folder.iterdir()] == ["lock"]

    steps(state, 2)
    checkpoint = folder / "checkpoint.safetensors"
    save_checkpoint(checkpoint, state, IDENTITY)
    (folder / "old.png").touch()
    fresh = training()
    assert resume(fresh, out, folder, IDENTITY, force=False) == 2
    assert equal(copied(fresh), copied(state))
    assert (folder / "old.png").exists()

    other = RunKey({"preset": "mnist"}, {"name": "npz"}, {}, 0)
    with pytest.raises(UsageError, match="preset glyphs, now mnist"):
        resume(training(), out, folder, other, force=False)
    assert checkpoint.exists()
    assert resume(training(), out, folder, other, force=True) == 0
    assert not checkpoint.exists()


def test_force_starts_afresh_over_a_damaged_checkpoint(tmp_path: Path, flip: Any) -> None:
    out, folder = tmp_path / "x.safetensors", tmp_path / "x.safetensors.run"
    for at in (-1, 20):
        folder.mkdir(exist_ok=True)
        save_checkpoint(folder / "checkpoint.safetensors", training(), IDENTITY)
        flip(folder / "checkpoint.safetensors", at)
        with pytest.raises(ArtifactError) as caught:
            resume(training(), out, folder, IDENTITY, force=False)
        assert "--force" in caught.value.hint
        assert resume(training(), out, folder, IDENTITY, force=True) == 0
        assert list(folder.iterdir()) == []


def test_a_checkpoint_says_what_it_is(tmp_path: Path) -> None:
    state = training()
    steps(state, 1)
    save_checkpoint(tmp_path / "c", state, RunKey({"a": 1}, {"b": 2}, {"parse": "0" * 64}, 7))
    artifact = read_artifact(tmp_path / "c", kind="checkpoint")
    header = artifact.header
    assert (header.config, header.dataset, header.seed) == ({"a": 1}, {"b": 2}, 7)
    assert header.inputs == {"parse": "0" * 64}
    assert header.metrics == {"step": 1, "best_step": 0}
    assert {
        "weights/body.conv.weight",
        "average/body.embedding",
        "best/linear.bias",
    } <= artifact.tensors.keys()
