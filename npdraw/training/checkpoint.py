"""Checkpoints: a training saved and resumed where it was (docs/interface.md, rule 7)."""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from npdraw.artifacts import (
    Artifact,
    Expected,
    check_count,
    check_tensors,
    check_values,
    read_artifact,
    write_artifact,
)
from npdraw.config import SECTIONS
from npdraw.run_key import RunKey
from npdraw.runtime.distributed import on_rank_zero
from npdraw.runtime.run_folder import CHECKPOINT, clear, resumable
from npdraw.training.muon import Muon
from npdraw.training.state import State


def save_checkpoint(path: Path, state: State, run_key: RunKey) -> None:
    """Write everything that a training needs to go on; in a group the first process does it."""
    on_rank_zero(state.group, lambda: _write(path, state, run_key))


def _write(path: Path, state: State, run_key: RunKey) -> None:
    tensors = {f"weights/{name}": value for name, value in state.model.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in state.average.items()}
    tensors |= {f"best/{name}": value for name, value in state.best.items()}
    for name, parameter in state.model.named_parameters():
        for optimizer in state.optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer/{key}/{name}"] = value
    metrics: dict[str, float] = {"step": state.step, "best_step": state.best_step}
    if math.isfinite(state.best_score):
        metrics["best_score"] = state.best_score
    write_artifact(
        path,
        "checkpoint",
        tensors,
        run_key=run_key,
        metrics=metrics,
    )


def load_checkpoint(path: Path, state: State) -> None:
    """Put a fresh training where the checkpoint was written.

    Raises:
        ArtifactError: it is damaged, or not of such a training; the training is as it was.
    """
    artifact = read_artifact(path, kind="checkpoint")
    step = check_count(artifact, "step", _steps(artifact))
    best_step = check_count(artifact, "best_step", step)
    moments = _moments(state, step)
    weights = {name: Expected(value.shape) for name, value in state.model.state_dict().items()}
    expected = {
        f"{section}/{name}": value
        for section in ("weights", "average", "best")
        for name, value in weights.items()
    }
    for kept in moments.values():
        expected |= dict(kept.values())
    check_tensors(artifact, expected)
    tensors = artifact.tensors
    for kept in moments.values():
        for key, (name, _) in kept.items():
            if key == "step":
                check_values(artifact, name, 1, step)
            elif key == "exp_avg_sq":  # of which a root is taken
                check_values(artifact, name, 0, math.inf)
    state.model.load_state_dict({name: tensors[f"weights/{name}"] for name in weights})
    for section, target in (("average", state.average), ("best", state.best)):
        for name, value in target.items():
            value.copy_(tensors[f"{section}/{name}"])
    for optimizer in state.optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                optimizer.state[parameter] = {
                    key: _beside(tensors[name], parameter)
                    for key, (name, _) in moments[parameter].items()
                }
    state.step, state.best_step = step, best_step
    state.best_score = artifact.header.metrics.get("best_score", math.inf)


def _steps(artifact: Artifact) -> int:
    """Return the steps of the training that the checkpoint is of: those of its last section."""
    config = artifact.header.config
    return int(next(config[name]["steps"] for name in reversed(SECTIONS) if name in config))


Moments = dict[nn.Parameter, dict[str, tuple[str, Expected]]]
"""What is kept of a parameter by its optimiser: key -> name in the file, and what must be there."""


def _moments(state: State, step: int) -> Moments:
    """Return what a checkpoint of this step must hold: every weight has had its gradient."""
    names = {parameter: name for name, parameter in state.model.named_parameters()}
    moments: Moments = {}
    for optimizer in state.optimizers:
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            like = Expected(parameter.shape)
            adam = {"step": Expected(()), "exp_avg": like, "exp_avg_sq": like}
            keys = {"momentum": like} if isinstance(optimizer, Muon) else adam
            kept = {key: (f"optimizer/{key}/{names[parameter]}", keys[key]) for key in keys}
            moments[parameter] = kept if step > 0 else {}
    return moments


def _beside(value: Tensor, parameter: Tensor) -> Tensor:
    """Return a moment of `parameter` on its device and, as fused AdamW needs, with its strides."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    return torch.empty_like(parameter).copy_(value)


def resume(state: State, out: Path, folder: Path, run_key: RunKey, *, force: bool) -> int:
    """Go on from the checkpoint in the run folder, or clear the folder; returns the step.

    The first process of a group decides, and all read the checkpoint: they must see the same
    folder, as on one machine or a shared file system. Errors as `output.resumable`.
    """
    checkpoint = folder / CHECKPOINT

    def prepare() -> bool:
        goes_on = resumable(checkpoint, out, run_key, force=force)
        if not goes_on:
            clear(folder)
        return goes_on

    if on_rank_zero(state.group, prepare):
        load_checkpoint(checkpoint, state)
    return state.step
