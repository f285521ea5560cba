"""What both training stages share: state, schedule, checkpoint, stopping. Plain functions.

A run is a function of its settings and seed alone: batches and noise are keyed by step, so that a
resumed run is bitwise the uninterrupted one (on one machine, device and thread count).
"""

import math
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from npdraw.artifacts import read_artifact, write_artifact
from npdraw.errors import ArtifactError, DivergedError, StoppedError
from npdraw.stages.muon import Muon
from npdraw.stages.output import Identity, MetricsLog, clear, resumable, write_json

CHECKPOINT = "checkpoint.safetensors"
"""Name of the checkpoint in the run folder."""

LARGEST_GRADIENT = 50.0
"""Norm to which a gradient is cut: a bad batch must not undo many good ones."""


@dataclass
class State:
    """A training in progress."""

    model: nn.Module
    optimizers: list[torch.optim.Optimizer]
    """Muon for the matrices and kernels between layers, AdamW for everything else."""
    average: dict[str, Tensor]
    """Exponential moving average of the weights, used wherever the model is judged."""
    best: dict[str, Tensor]
    """The average at the step that was best on the validation split."""
    step: int = 0
    best_step: int = 0
    best_score: float = math.inf
    """Validation nats at `best_step`."""


def new_state(model: nn.Module, parts: list[tuple[nn.Module, float]], weight_decay: float) -> State:
    """Return a training at step 0; `parts` of the model have peak learning rates of their own.

    Matrices and kernels decay; embeddings, biases, norms and scales do not.
    """
    matrices: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for part, rate in parts:
        hidden = _hidden_matrices(part)
        trained = [p for p in part.parameters() if p.requires_grad]
        matrices.append({"params": [p for p in trained if id(p) in hidden], "peak": rate})
        others.append({"params": [p for p in trained if id(p) not in hidden], "peak": rate})
    optimizers: list[torch.optim.Optimizer] = []
    if any(group["params"] for group in matrices):
        optimizers.append(Muon(matrices, lr=0.0, weight_decay=weight_decay))
    if any(group["params"] for group in others):
        adam = torch.optim.AdamW(others, lr=0.0, weight_decay=0.0, betas=(0.9, 0.99), fused=True)
        optimizers.append(adam)
    return State(model, optimizers, average=_weights(model), best=_weights(model))


def _hidden_matrices(part: nn.Module) -> set[int]:
    """Identities of the weights between layers; those of heads are better off with AdamW."""
    return {
        id(module.weight)
        for name, module in part.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) and "head" not in name
    }


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def learning_rate(step: int, steps: int, warmup: float) -> float:
    """Return the fraction of the peak at `step`: a linear rise, then a cosine down to 0."""
    rise = max(1.0, warmup * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, steps - rise)))


def descend(state: State, loss: Tensor, rate: float, decay: float) -> float:
    """Take one optimiser step down `loss` at `rate` of the peak; returns the loss.

    The moving average follows with `decay`, faster in the first steps so that it forgets the
    initial weights. `DivergedError` if the loss is not finite; the weights are then untouched.
    """
    value = float(loss.detach())
    if not math.isfinite(value):
        raise DivergedError(
            f"the loss is {value} at step {state.step}",
            hint="Lower the learning rate and start afresh with --force.",
        )
    state.model.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), LARGEST_GRADIENT)
    if not math.isfinite(float(norm)):
        raise DivergedError(
            f"the gradient is {float(norm)} at step {state.step}",
            hint="Lower the learning rate and start afresh with --force.",
        )
    for optimizer in state.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        optimizer.step()
    state.step += 1
    decay = min(decay, state.step / (state.step + 10))
    for name, weight in state.model.state_dict().items():
        state.average[name].lerp_(weight, 1 - decay)
    return value


@contextmanager
def judged(state: State) -> Iterator[None]:
    """Within the block the model has its average weights and is in evaluation mode."""
    raw = _weights(state.model)
    state.model.load_state_dict(state.average)
    state.model.eval()
    try:
        yield
    finally:
        state.model.load_state_dict(raw)
        state.model.train()


def remember_best(state: State, score: float) -> None:
    """Keep the average weights if `score` (validation nats) is the lowest so far."""
    if score < state.best_score:
        state.best_score, state.best_step = score, state.step
        state.best = {name: value.clone() for name, value in state.average.items()}


def plan(
    model: nn.Module, config: Mapping[str, Any], steps: int, batch_size: int, out: Path
) -> dict[str, Any]:
    """Return what `--dry-run` prints: settings, parameters, and what the training will take.

    The checkpoint holds weights, average, best and at most two moments of each, in fp32.
    """
    parameters = sum(p.numel() for p in model.parameters())
    estimates = {"images_seen": steps * batch_size, "checkpoint_mb": 5 * 4 * parameters / 1e6}
    return {
        "dry_run": True,
        "settings": dict(config),
        "parameters": parameters,
        "estimates": estimates,
        "out": str(out),
    }


def is_due(step: int, every: int) -> bool:
    """Whether to look at step 1, 2, 4, 8, ... and then at every `every`th."""
    return step % every == 0 or (step < every and step & (step - 1) == 0)


def save_checkpoint(path: Path, state: State, identity: Identity) -> None:
    """Write everything that a training needs to go on."""
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

    Errors as `output.resumable`.
    """
    checkpoint = folder / CHECKPOINT
    if resumable(checkpoint, out, identity, force=force):
        load_checkpoint(checkpoint, state)
    else:
        clear(folder)
    return state.step


def conclude(
    out: Path,
    kind: str,
    tensors: Mapping[str, Tensor],
    identity: Identity,
    log: MetricsLog,
    result: Mapping[str, float],
    resumed_from: int,
) -> dict[str, Any]:
    """Write the artifact of a finished training, and its result beside it; return the result.

    The artifact's metrics are `result`; how long it took and what was resumed is not part of it.
    """
    write_artifact(
        out,
        kind,
        tensors,
        config=identity.config,
        dataset=identity.dataset,
        inputs=identity.inputs,
        seed=identity.seed,
        metrics=result,
    )
    told = {"seconds": log.seconds, "resumed_from": resumed_from, **result}
    write_json(log.path.with_name("result.json"), told)
    return {**told, "out": str(out)}


class Stop:
    """Notes the first INT or TERM, so that the loop can finish its step, save and leave.

    A second one acts at once, as if nobody had listened.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Stop":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous.clear()

    def leave(self, step: int, steps: int) -> None:
        """Raise `StoppedError` if a signal was noted; call it after saving."""
        if self.signal:
            raise StoppedError(f"stopped at step {step} of {steps}", signal_number=self.signal)
