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
from npdraw.runtime.run_folder import CHECKPOINT, resume_or_clear
from npdraw.training.muon import Muon
from npdraw.training.state import State

RECENT = "recent_"
"""What the names of the metrics of the most recent step begin with in a checkpoint: the next
evaluation logs them, even if no step comes before it that has them."""


def save_checkpoint(path: Path, state: State, run_key: RunKey) -> None:
    """Save everything that resuming a training needs; in a group of processes rank zero writes."""
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
    metrics |= {RECENT + name: value for name, value in state.metrics.items()}
    write_artifact(
        path,
        "checkpoint",
        tensors,
        run_key=run_key,
        metrics=metrics,
    )


def load_checkpoint(path: Path, state: State) -> None:
    """Restore a fresh training to the step at which the checkpoint was written.

    Raises:
        ArtifactError: the file is damaged or the checkpoint of another training; `state` is then
            unchanged.
    """
    # Check everything before anything is changed.
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
            elif key == "exp_avg_sq":  # AdamW takes its square root
                check_values(artifact, name, 0, math.inf)

    # Restore.
    state.model.load_state_dict({name: tensors[f"weights/{name}"] for name in weights})
    for section, target in (("average", state.average), ("best", state.best)):
        for name, value in target.items():
            value.copy_(tensors[f"{section}/{name}"])
    for optimizer in state.optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                optimizer.state[parameter] = {
                    key: _like(tensors[name], parameter)
                    for key, (name, _) in moments[parameter].items()
                }
    state.step, state.best_step = step, best_step
    stored = artifact.header.metrics
    state.best_score = stored.get("best_score", math.inf)
    state.metrics = {
        name.removeprefix(RECENT): value
        for name, value in stored.items()
        if name.startswith(RECENT)
    }


def _steps(artifact: Artifact) -> int:
    """Return the number of steps of the checkpoint's training, a setting of its last section."""
    config = artifact.header.config
    return int(next(config[name]["steps"] for name in reversed(SECTIONS) if name in config))


Moments = dict[nn.Parameter, dict[str, tuple[str, Expected]]]
"""Optimiser state of each parameter: key -> name in the file, and expected shape and type."""


def _moments(state: State, step: int) -> Moments:
    """Return the optimiser state of a checkpoint at `step`: none at 0, else of every weight."""
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


def _like(value: Tensor, parameter: Tensor) -> Tensor:
    """Copy optimiser state to the device and the strides of `parameter`, as fused AdamW needs."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    return torch.empty_like(parameter).copy_(value)


def resume(state: State, out: Path, folder: Path, run_key: RunKey, *, force: bool) -> int:
    """Load the checkpoint in the run folder, or clear the folder; return the step to continue at.

    Errors as `run_folder.resumable` and `load_checkpoint`.
    """
    if resume_or_clear(folder, out, run_key, force=force, group=state.group):
        load_checkpoint(folder / CHECKPOINT, state)
    return state.step
