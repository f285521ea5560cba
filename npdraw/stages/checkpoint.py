"""Checkpoints: a training put on disk, and taken up again where it was (interface.md, rule 7)."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from npdraw.artifacts import read_artifact, write_artifact
from npdraw.errors import ArtifactError
from npdraw.stages.distributed import by_first
from npdraw.stages.output import CHECKPOINT, Identity, clear, resumable
from npdraw.stages.training import State


def save_checkpoint(path: Path, state: State, identity: Identity) -> None:
    """Write everything that a training needs to go on; in a group the first process does it."""
    by_first(state.group, lambda: _write(path, state, identity))


def _write(path: Path, state: State, identity: Identity) -> None:
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
        config=identity.config,
        dataset=identity.dataset,
        inputs=identity.inputs,
        seed=identity.seed,
        metrics=metrics,
    )


def load_checkpoint(path: Path, state: State) -> None:
    """Put a fresh training where the checkpoint was written."""
    artifact = read_artifact(path, kind="checkpoint")
    sections: dict[str, dict[str, Tensor]] = {}
    for name, tensor in artifact.tensors.items():
        section, _, rest = name.partition("/")
        sections.setdefault(section, {})[rest] = tensor
    try:
        state.model.load_state_dict(sections["weights"])
        _copy(sections["average"], state.average)
        _copy(sections["best"], state.best)
    except (KeyError, RuntimeError) as error:
        raise ArtifactError(
            f"{path} does not fit its settings", hint="--force starts the training afresh."
        ) from error
    names = {parameter: name for name, parameter in state.model.named_parameters()}
    for optimizer in state.optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                optimizer.state[parameter] = {
                    key.removesuffix(f"/{names[parameter]}"): _beside(value, parameter)
                    for key, value in sections.get("optimizer", {}).items()
                    if key.partition("/")[2] == names[parameter]
                }
    metrics = artifact.header.metrics
    state.step, state.best_step = int(metrics["step"]), int(metrics["best_step"])
    state.best_score = metrics.get("best_score", math.inf)


def _beside(value: Tensor, parameter: Tensor) -> Tensor:
    """Return a moment of `parameter` on its device and, as fused AdamW needs, with its strides."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    return torch.empty_like(parameter).copy_(value)


def _copy(source: Mapping[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, value in target.items():
        value.copy_(source[name])


def resume(state: State, out: Path, folder: Path, identity: Identity, *, force: bool) -> int:
    """Go on from the checkpoint in the run folder, or clear the folder; returns the step.

    The first process of a group decides, and all read the checkpoint: they must see the same
    folder, as on one machine or a shared file system. Errors as `output.resumable`.
    """
    checkpoint = folder / CHECKPOINT

    def prepare() -> bool:
        goes_on = resumable(checkpoint, out, identity, force=force)
        if not goes_on:
            clear(folder)
        return goes_on

    if by_first(state.group, prepare):
        load_checkpoint(checkpoint, state)
    return state.step
