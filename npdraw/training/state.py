"""What both training stages share: state, schedule, step, judging. Plain functions.

A run is a function of its settings and seed alone: batches and noise are keyed by step, so that a
resumed run is bitwise the uninterrupted one (on one machine, device and thread count).
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from npdraw.artifacts import write_artifact
from npdraw.errors import DivergedError
from npdraw.run_key import RunKey
from npdraw.runtime.distributed import group_mean, on_rank_zero, replica
from npdraw.runtime.group import SINGLE_PROCESS, Group
from npdraw.runtime.run_folder import MetricsLog, write_result
from npdraw.training.muon import Muon

LARGEST_GRADIENT = 50.0
"""Norm to which a gradient is cut: a bad batch must not undo many good ones."""


@dataclass
class State:
    """A training in progress."""

    model: nn.Module
    replica: nn.Module
    """Computes the training loss: the model, or its replica in a group of processes."""
    group: Group
    optimizers: list[torch.optim.Optimizer]
    """Muon for the matrices and kernels between layers, AdamW for everything else."""
    average: dict[str, Tensor]
    """Exponential moving average of the weights, used wherever the model is judged."""
    best: dict[str, Tensor]
    """The average at the step that was best on the validation split."""
    trained: list[nn.Parameter]
    """The weights that get gradients."""
    model_tensors: list[Tensor]
    """The model's own tensors in the order of `average`."""
    figures: dict[str, float] = field(default_factory=dict)
    """Of the last step whose figures have reached main memory: the loss and what goes with it."""
    pending: "PendingMetrics | None" = None
    """Figures of the last step on a GPU, not yet judged."""
    step: int = 0
    best_step: int = 0
    best_score: float = math.inf
    """Validation nats at `best_step`."""


@dataclass(frozen=True)
class PendingMetrics:
    """Figures of a step on their way from a GPU to main memory."""

    step: int
    names: tuple[str, ...]
    """Of all values but the last, which is the norm of the gradient."""
    values: Tensor
    """Pinned; to be read when `arrived`."""
    arrived: torch.cuda.Event


def new_state(
    model: nn.Module,
    parts: list[tuple[nn.Module, float]],
    weight_decay: float,
    group: Group = SINGLE_PROCESS,
    dtype: torch.dtype = torch.float32,
) -> State:
    """Return a training at step 0; `parts` of the model have peak learning rates of their own.

    Matrices and kernels decay; embeddings, biases, norms and scales do not. The model is on its
    device already. `dtype` is that of large products, Muon's among them.
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
        adam = torch.optim.AdamW(others, lr=0.0, weight_decay=0.0, betas=(0.9, 0.99), fused=True)
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


def optimizer_step(
    state: State, loss: Tensor, rate: float, decay: float, **watched: Tensor
) -> dict[str, float]:
    """Take one optimiser step down `loss` at `rate` of the peak.

    The moving average follows with `decay`, faster in the first steps so that it forgets the
    initial weights. Returns `state.figures`: the loss and the scalars `watched`, means over the
    group; on a GPU those of the step before, so that nothing waits for this one.

    Raises:
        DivergedError: loss or gradient is not finite. On the CPU the weights are then untouched;
            on a GPU it comes one step later, or from `sync_metrics`, but names the right step.
    """
    names = ("loss", *watched)
    values = torch.stack([value.detach().float() for value in (loss, *watched.values())])
    values = group_mean(state.group, values)
    on_gpu = loss.is_cuda
    if not on_gpu:
        state.figures = dict(zip(names, values.tolist(), strict=True))
        _check(state.figures["loss"], "loss", state.step)
    for parameter in state.trained:
        parameter.grad = None
    loss.backward()
    norm = nn.utils.clip_grad_norm_(state.trained, LARGEST_GRADIENT)
    if not on_gpu:
        _check(float(norm), "gradient", state.step)
    for optimizer in state.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        optimizer.step()
    decay = min(decay, (state.step + 1) / (state.step + 11))
    torch._foreach_lerp_(list(state.average.values()), state.model_tensors, 1 - decay)
    if on_gpu:
        earlier = state.pending
        state.pending = _sent(state.step, names, torch.cat([values, norm[None]]))
        _judge(state, earlier)  # this step is queued: the GPU has work while we wait
    state.step += 1
    return state.figures


def sync_metrics(state: State) -> None:
    """Wait for the metrics of the last step and check the weights.

    Raises `DivergedError` as `optimizer_step` does.

    Call it before the weights are judged, saved or left.
    """
    _judge(state, state.pending)
    state.pending = None
    if not all(torch.isfinite(weights).all() for weights in state.model_tensors):
        raise _diverged("a weight is not finite", state.step)


def _sent(step: int, names: tuple[str, ...], values: Tensor) -> PendingMetrics:
    home = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    home.copy_(values, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()
    return PendingMetrics(step, names, home, arrived)


def _judge(state: State, sent: PendingMetrics | None) -> None:
    """Take in the figures of a step as soon as they are there."""
    if sent is None:
        return
    sent.arrived.synchronize()
    *values, norm = sent.values.tolist()
    state.figures = dict(zip(sent.names, values, strict=True))
    _check(state.figures["loss"], "loss", sent.step)
    _check(norm, "gradient", sent.step)


def _check(value: float, what: str, step: int) -> None:
    if not math.isfinite(value):
        raise _diverged(f"the {what} is {value}", step)


def _diverged(what: str, step: int) -> DivergedError:
    return DivergedError(
        f"{what} at step {step}", hint="Lower the learning rate and start afresh with --force."
    )


@contextmanager
def ema_weights(state: State) -> Iterator[None]:
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


def write_finished(
    out: Path,
    kind: str,
    tensors: Mapping[str, Tensor],
    run_key: RunKey,
    log: MetricsLog,
    result: Mapping[str, float],
    resumed_from: int,
    group: Group = SINGLE_PROCESS,
) -> dict[str, Any]:
    """Write the artifact of a finished training, and its result beside it; return the result.

    The artifact's metrics are `result`; how long it took and what was resumed is not part of it.
    Of a group of processes the first one writes.
    """

    def write() -> dict[str, Any]:
        write_artifact(
            out,
            kind,
            tensors,
            run_key=run_key,
            metrics=result,
        )
        told = {"seconds": log.seconds, "resumed_from": resumed_from, **result}
        write_result(log.path.parent, told)
        return {**told, "out": str(out)}

    written: dict[str, Any] = on_rank_zero(group, write)
    return written
