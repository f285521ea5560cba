"""Plain functions of all trainings: state, schedule, optimiser step, moving average.

A run is a function of its settings and seed alone: batches and noise are keyed by step, so that a
resumed run equals the uninterrupted one bit for bit (on one machine, device and thread count).
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from npdraw.errors import DivergedError
from npdraw.runtime.distributed import all_reduce_mean, average_gradients, replica
from npdraw.runtime.group import SINGLE_PROCESS, Group
from npdraw.runtime.noise import generator
from npdraw.training.muon import Muon
from npdraw.training.recording import Recordings

LARGEST_GRADIENT = 50.0
"""Norm to which gradients are clipped: one bad batch must not undo many good ones."""


@dataclass
class State:
    """A training in progress: model, optimisers, moving average, and the best weights so far."""

    model: nn.Module
    replica: nn.Module
    """Computes the training loss: the model, or its replica in a group of processes."""
    group: Group
    optimizers: list[torch.optim.Optimizer]
    """Muon for the matrices and kernels between layers, AdamW for everything else."""
    average: dict[str, Tensor]
    """Exponential moving average of the weights, used wherever the model is evaluated."""
    best: dict[str, Tensor]
    """The moving average at the step with the best validation score."""
    trained: list[nn.Parameter]
    """The weights that are trained."""
    model_tensors: list[Tensor]
    """The model's own tensors, in the order of `average`."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Loss and other metrics of the most recent step already copied to main memory."""
    pending: "PendingMetrics | None" = None
    """Metrics of the last step on a GPU, not yet checked."""
    recordings: Recordings = field(default_factory=Recordings)
    """Steps recorded on a GPU, one for each kind of step."""
    step: int = 0
    best_step: int = 0
    best_score: float = math.inf
    """Validation nats at `best_step`; lower is better."""


@dataclass(frozen=True)
class PendingMetrics:
    """Metrics of a step that are being copied from a GPU to main memory."""

    step: int
    names: tuple[str, ...]
    """Names of all values but the last, which is the norm of the gradient."""
    values: Tensor
    """In pinned memory; valid once `arrived` has completed."""
    arrived: torch.cuda.Event


def seed_weights(purpose: str, seed: int) -> None:
    """Seed torch's global generator, from which new weights are drawn."""
    torch.manual_seed(generator(purpose, seed, 0, torch.device("cpu")).initial_seed())


def new_state(
    model: nn.Module,
    parts: list[tuple[nn.Module, float]],
    weight_decay: float,
    group: Group = SINGLE_PROCESS,
    dtype: torch.dtype = torch.float32,
) -> State:
    """Return a training at step 0; `parts` are submodules with their peak learning rates.

    Muon trains the matrices and kernels between layers, with weight decay; AdamW trains
    embeddings, biases, norms, scales and heads, without. The model must already be on its device.
    `dtype` is the type of large products, Muon's included.
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
        optimizers.append(Muon(matrices, lr=0.0, weight_decay=weight_decay, dtype=dtype))
    if any(group["params"] for group in others):
        on_gpu = any(p.is_cuda for p in model.parameters())
        adam = torch.optim.AdamW(
            others, 0.0, betas=(0.9, 0.99), weight_decay=0.0, fused=True, capturable=on_gpu
        )
        optimizers.append(adam)
    average = _weights(model)
    return State(
        model,
        replica(model, group),
        group,
        optimizers,
        average=average,
        best=_weights(model),
        trained=[p for p in model.parameters() if p.requires_grad],
        model_tensors=[value.detach() for value in model.state_dict().values()],
    )


def _hidden_matrices(part: nn.Module) -> set[int]:
    """Return the ids of the weights between layers; heads train better with AdamW."""
    return {
        id(module.weight)
        for name, module in part.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) and "head" not in name
    }


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def learning_rate(step: int, steps: int, warmup: float) -> float:
    """Return the learning rate at `step` as a fraction of its peak: linear warm-up, cosine to 0."""
    rise = max(1.0, warmup * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, steps - rise)))


def optimizer_step(
    state: State, loss: Tensor, rate: float, decay: float, name: str = "loss", **watched: Tensor
) -> dict[str, float]:
    """Take one optimiser step on `loss` at `rate`, a fraction of the peak learning rates.

    The moving average follows with `decay`, faster in the first steps so that it forgets the
    initial weights. A parameter without a gradient stays as it is.

    Returns `state.metrics`: the loss, under `name`, and the scalars `watched`, means over the group
    of processes. A loss of another name than "loss" was not computed by `state.replica`, and the
    metrics of the last "loss" are kept. On a GPU all are those of the previous step, so that the
    host never waits for this one.

    Raises:
        DivergedError: loss or gradient is not finite. On the CPU the weights are then untouched;
            on a GPU the error comes one step later, or from `sync_metrics`, but names the right
            step.
    """
    # Check the loss before it can reach the weights; on a GPU this would mean waiting.
    names = (name, *watched)
    values = torch.stack([value.detach().float() for value in (loss, *watched.values())])
    values = all_reduce_mean(state.group, values)
    on_gpu = loss.is_cuda
    if not on_gpu:
        _keep(state, names, values.tolist(), state.step)

    norm = compute_gradients(state, loss, name)
    if not on_gpu:
        _check(float(norm), "gradient", state.step)
    update_weights(state, rate, average_decay(state, decay))
    if on_gpu:
        receive_later(state, names, torch.cat([values, norm[None]]))
    state.step += 1
    return state.metrics


def compute_gradients(state: State, loss: Tensor, name: str = "loss") -> Tensor:
    """Compute the gradients of `loss`, clip them, and return their norm before that, a scalar."""
    for parameter in state.trained:
        parameter.grad = None
    loss.backward()
    if name != "loss":
        average_gradients(state.group, state.trained)
    norm: Tensor = nn.utils.clip_grad_norm_(state.trained, LARGEST_GRADIENT)
    return norm


def update_weights(state: State, rate: float | Tensor, decay: float | Tensor) -> None:
    """Move the weights along their gradients, then their moving average after them.

    `rate` is a fraction of the peak learning rates; numbers or scalars on the model's device.
    """
    for optimizer in state.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        optimizer.step()
    averages = list(state.average.values())
    if isinstance(decay, Tensor):
        share = 1 - decay
        for average, value in zip(averages, state.model_tensors, strict=True):
            average.lerp_(value, share)
    else:
        get_ema_multi_avg_fn(decay)(averages, state.model_tensors, state.step)


def average_decay(state: State, decay: float) -> float:
    """Return the decay of the moving average at this step: it first forgets faster."""
    return min(decay, (state.step + 1) / (state.step + 11))


def receive_later(state: State, names: tuple[str, ...], figures: Tensor) -> None:
    """Copy the figures of this step, on a GPU, to main memory, and keep those of the step before.

    `figures` are the values of `names`, then the norm of the gradient.
    """
    previous = state.pending
    state.pending = _copy_to_host(state.step, names, figures)
    _receive(state, previous)  # this step is queued: the GPU is busy while we wait


def sync_metrics(state: State) -> None:
    """Wait for the metrics of the last step, and check them and the weights.

    Call it before the weights are evaluated or saved.

    Raises:
        DivergedError: as in `optimizer_step`, or a weight is not finite.
    """
    _receive(state, state.pending)
    state.pending = None
    if not all(torch.isfinite(weights).all() for weights in state.model_tensors):
        raise _diverged("a weight is not finite", state.step)


def _copy_to_host(step: int, names: tuple[str, ...], values: Tensor) -> PendingMetrics:
    pinned = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    pinned.copy_(values, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()
    return PendingMetrics(step, names, pinned, arrived)


def _receive(state: State, pending: PendingMetrics | None) -> None:
    """Wait for the metrics of a step to arrive, keep and check them."""
    if pending is None:
        return
    pending.arrived.synchronize()
    *values, norm = pending.values.tolist()
    _keep(state, pending.names, values, pending.step)
    _check(norm, "gradient", pending.step)


def _keep(state: State, names: tuple[str, ...], values: list[float], step: int) -> None:
    """Keep the metrics of a step, and check the loss, which comes first."""
    before = {} if names[0] == "loss" else state.metrics
    state.metrics = before | dict(zip(names, values, strict=True))
    _check(values[0], "loss", step)


def _check(value: float, what: str, step: int) -> None:
    if not math.isfinite(value):
        raise _diverged(f"the {what} is {value}", step)


def _diverged(what: str, step: int) -> DivergedError:
    return DivergedError(
        f"{what} at step {step}", hint="Lower the learning rate and start again with --force."
    )


@contextmanager
def ema_weights(state: State) -> Iterator[None]:
    """Give the model its average weights, and put it in evaluation mode, within the block."""
    raw = _weights(state.model)
    state.model.load_state_dict(state.average)
    state.model.eval()
    try:
        yield
    finally:
        state.model.load_state_dict(raw)
        state.model.train()


def remember_best(state: State, score: float) -> None:
    """Keep a copy of the average weights if `score` (validation nats) is the lowest so far."""
    if score < state.best_score:
        state.best_score, state.best_step = score, state.step
        state.best = {name: value.clone() for name, value in state.average.items()}


def plan(
    model: nn.Module, config: Mapping[str, Any], steps: int, batch_size: int, out: Path
) -> dict[str, Any]:
    """Return what `--dry-run` prints: settings, number of parameters, and estimates.

    A checkpoint holds five fp32 copies of the weights: themselves, their average, the best average,
    and at most two moments.
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
