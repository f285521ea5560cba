"""The mechanics of training: schedule, step, moving average, best weights."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from npdraw.errors import DivergedError
from npdraw.training.pauses import is_due, watched_count
from npdraw.training.state import (
    PendingMetrics,
    ema_weights,
    learning_rate,
    new_state,
    optimizer_step,
    remember_best,
    sync_metrics,
)
from tests.training.tiny_training import Small, copied, equal, loss_of, steps, training

DECAYING = {"body.conv.weight": 0.01, "linear.weight": 0.02}
"""Matrices between layers and the peak rate of their part."""


# Schedule


def test_learning_rate_rises_linearly_and_falls_as_a_cosine() -> None:
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


def test_samples_are_due_at_powers_of_two_and_then_regularly() -> None:
    assert [s for s in range(35) if is_due(s, 10)] == [0, 1, 2, 4, 8, 10, 20, 30]


def test_validations_take_a_twentieth_of_a_training_but_are_not_too_small() -> None:
    passes = 3 * 100_000
    count = watched_count(10**6, 100_000, 8)
    assert 11 * count * 8 == pytest.approx(0.05 * passes, rel=0.01)
    assert watched_count(10**6, 100_000, 1) == pytest.approx(8 * count, rel=0.01)
    assert watched_count(10**6, 100, 8) == 64
    assert watched_count(20, 100_000, 8) == 20
    assert [s for s in range(9) if is_due(s, 1)] == list(range(9))
    assert [s for s in range(40) if is_due(s, 16)] == [0, 1, 2, 4, 8, 16, 32]


# Steps


def test_the_average_follows_with_its_decay_but_faster_at_first() -> None:
    state = training()
    average = copied(state)
    for step in range(1, 6):
        steps(state, 1, decay=0.3)
        decay = min(0.3, step / (step + 10))
        for name, weight in copied(state).items():
            average[name] = decay * average[name] + (1 - decay) * weight
            torch.testing.assert_close(state.average[name], average[name])
    assert 5 / 15 > 0.3 > 4 / 14  # both sides of the minimum occurred


def test_each_part_has_its_learning_rate() -> None:
    state = training(decay=0.0)
    before = copied(state)
    optimizer_step(state, loss_of(state, 0), 0.25, 0.9)
    for name, value in copied(state).items():
        rate = 0.25 * (0.02 if name.startswith("linear") else 0.01)
        moved = (value - before[name]).abs()
        if name in DECAYING:  # Muon: the root mean square is about a fifth of the rate
            assert 0.5 < float(moved.square().mean().sqrt()) / (0.2 * rate) < 1.3
        else:  # the first step of Adam moves every weight by the learning rate
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
def test_a_loss_that_is_not_finite_leaves_the_weights_unchanged(value: float) -> None:
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


def test_a_gradient_that_is_not_finite_leaves_them_unchanged_too() -> None:
    state = training()
    before = copied(state)
    with pytest.raises(DivergedError, match=r"gradient is .* at step 0"):
        optimizer_step(state, (0 * state.model.body.embedding.sum()).sqrt(), 1.0, 0.9)
    assert state.step == 0
    assert equal(copied(state), before)


def test_metrics_are_returned_with_the_loss() -> None:
    state = training()
    loss = loss_of(state, 0)
    metrics = optimizer_step(state, loss, 0.5, 0.9, twice=2 * loss)
    value = float(loss.detach())
    assert metrics == {"loss": value, "twice": 2 * value}
    assert state.metrics == metrics
    sync_metrics(state)  # on the CPU nothing is pending
    assert state.metrics == metrics


@pytest.mark.parametrize(
    ("values", "message"),
    [([math.nan, 1.0], "loss is nan at step 7"), ([1.0, math.inf], "gradient is inf at step 7")],
)
def test_metrics_of_a_gpu_are_checked_when_they_arrive(values: list[float], message: str) -> None:
    arrived: Any = SimpleNamespace(synchronize=lambda: None)
    state = training()
    state.pending = PendingMetrics(7, ("loss",), torch.tensor([2.0, 1.0]), arrived)
    sync_metrics(state)
    assert state.metrics == {"loss": 2.0}
    assert state.pending is None
    state.pending = PendingMetrics(7, ("loss",), torch.tensor(values), arrived)
    with pytest.raises(DivergedError, match=message):
        sync_metrics(state)


# Evaluation


def test_the_average_is_evaluated_and_the_weights_come_back() -> None:
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
