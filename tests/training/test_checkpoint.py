"""Checkpoints: they restore everything, and invalid ones are refused."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from npdraw.artifacts import read_artifact, write_artifact
from npdraw.errors import ArtifactError, UsageError
from npdraw.run_key import RunKey
from npdraw.training.checkpoint import load_checkpoint, resume, save_checkpoint
from npdraw.training.state import remember_best
from tests.training.tiny_training import copied, equal, steps, training

RUN_KEY = RunKey({"preset": "glyphs", "prior": {"steps": 9}}, {"name": "npz"}, {}, 0)


def test_a_checkpoint_restores_everything(tmp_path: Path) -> None:
    state = training()
    steps(state, 3)
    remember_best(state, 1 / 3)
    steps(state, 2)
    save_checkpoint(tmp_path / "c", state, RUN_KEY)

    fresh = training()
    load_checkpoint(tmp_path / "c", fresh)
    assert (fresh.step, fresh.best_step, fresh.best_score) == (5, 3, 1 / 3)
    assert fresh.metrics == state.metrics != {}
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
    save_checkpoint(tmp_path / "a", state, RUN_KEY)
    save_checkpoint(tmp_path / "b", fresh, RUN_KEY)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_loaded_training_is_independent_of_the_file(tmp_path: Path) -> None:
    state = training()
    steps(state, 1)
    save_checkpoint(tmp_path / "c", state, RUN_KEY)
    fresh = training()
    load_checkpoint(tmp_path / "c", fresh)
    best = {name: value.clone() for name, value in fresh.best.items()}
    (tmp_path / "c").write_bytes(b"")
    steps(fresh, 2)
    assert equal(fresh.best, best)  # average and best do not share memory with the weights either
    assert not equal(fresh.average, copied(fresh))


def test_a_checkpoint_before_the_first_validation(tmp_path: Path) -> None:
    state = training()
    save_checkpoint(tmp_path / "c", state, RUN_KEY)
    fresh = training()
    load_checkpoint(tmp_path / "c", fresh)
    assert (fresh.step, fresh.best_score) == (0, math.inf)
    remember_best(fresh, 1e9)
    assert fresh.best_score == 1e9


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", training(width=4), RUN_KEY)
    with pytest.raises(ArtifactError, match="does not fit its settings") as caught:
        load_checkpoint(tmp_path / "c", training(width=3))
    assert "--force" in caught.value.hint


def forged(path: Path, change: Callable[[dict[str, Tensor], dict[str, float]], object]) -> None:
    """Write a checkpoint of step 3, changed, with the right digest."""
    state = training()
    steps(state, 3)
    remember_best(state, 0.5)
    save_checkpoint(path, state, RUN_KEY)
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


MOMENT = "optimizer/exp_avg_sq/body.embedding"
STEP = "optimizer/step/body.embedding"
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
def test_an_invalid_checkpoint_is_refused_and_changes_nothing(
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


def test_resume_loads_the_checkpoint_or_clears_the_folder(tmp_path: Path) -> None:
    out, folder = tmp_path / "x.safetensors", tmp_path / "x.safetensors.run"
    folder.mkdir()
    (folder / "old.png").touch()
    (folder / "lock").touch()
    state = training()
    assert resume(state, out, folder, RUN_KEY, force=False) == 0
    assert [path.name for path in folder.iterdir()] == ["lock"]

    steps(state, 2)
    checkpoint = folder / "checkpoint.safetensors"
    save_checkpoint(checkpoint, state, RUN_KEY)
    (folder / "old.png").touch()
    fresh = training()
    assert resume(fresh, out, folder, RUN_KEY, force=False) == 2
    assert equal(copied(fresh), copied(state))
    assert (folder / "old.png").exists()

    other = RunKey({"preset": "mnist"}, {"name": "npz"}, {}, 0)
    with pytest.raises(UsageError, match="preset glyphs, now mnist"):
        resume(training(), out, folder, other, force=False)
    assert checkpoint.exists()
    assert resume(training(), out, folder, other, force=True) == 0
    assert not checkpoint.exists()


def test_force_starts_over_a_damaged_checkpoint(tmp_path: Path, flip: Any) -> None:
    out, folder = tmp_path / "x.safetensors", tmp_path / "x.safetensors.run"
    for at in (-1, 20):
        folder.mkdir(exist_ok=True)
        save_checkpoint(folder / "checkpoint.safetensors", training(), RUN_KEY)
        flip(folder / "checkpoint.safetensors", at)
        with pytest.raises(ArtifactError) as caught:
            resume(training(), out, folder, RUN_KEY, force=False)
        assert "--force" in caught.value.hint
        assert resume(training(), out, folder, RUN_KEY, force=True) == 0
        assert list(folder.iterdir()) == []


def test_a_checkpoint_records_its_run(tmp_path: Path) -> None:
    state = training()
    steps(state, 1)
    save_checkpoint(tmp_path / "c", state, RunKey({"a": 1}, {"b": 2}, {"parse": "0" * 64}, 7))
    artifact = read_artifact(tmp_path / "c", kind="checkpoint")
    header = artifact.header
    assert (header.config, header.dataset, header.seed) == ({"a": 1}, {"b": 2}, 7)
    assert header.inputs == {"parse": "0" * 64}
    assert header.metrics == {"step": 1, "best_step": 0, "recent_loss": state.metrics["loss"]}
    assert {
        "weights/body.conv.weight",
        "average/body.embedding",
        "best/linear.bias",
    } <= artifact.tensors.keys()
