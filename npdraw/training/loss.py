"""A loss and the step taken on it, launched operation by operation or, on a GPU, replayed."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from npdraw.runtime.distributed import local_batch_mean
from npdraw.runtime.settings import Runtime, send
from npdraw.training.state import (
    State,
    average_decay,
    compute_gradients,
    optimizer_step,
    receive_later,
    update_weights,
)

Number = float | Tensor
"""A number of a schedule: a float, or a scalar on a GPU, where a step is recorded once."""


@dataclass(frozen=True)
class Loss:
    """What a training step computes, and from what."""

    names: tuple[str, ...]
    """Names of the loss and of the metrics that are watched, as in `optimizer_step`."""
    values: Callable[..., list[Tensor]]
    """Computes them, each [N], from `inputs` and `numbers`; only the loss has gradients."""
    inputs: tuple[Tensor, ...]
    """Images, noise or drawings of this step."""
    numbers: tuple[float, ...] = ()
    """Where the schedules are at this step."""
    variant: bool = False
    """Sets apart losses of the same names that compute different things."""


def take_step(
    state: State, loss: Loss, size: int, rate: float, decay: float, runtime: Runtime
) -> dict[str, float]:
    """Take one optimiser step on the mean of a loss over a batch of `size`; return its metrics.

    `rate`, `decay`, errors and result are those of `optimizer_step`.
    """
    if runtime.cuda_graphs:
        return _replayed(state, loss, rate, decay, runtime)
    with runtime.autocast(loss.inputs[0].device):
        values = loss.values(*loss.inputs, *loss.numbers)
    means = [local_batch_mean(state.group, value, size) for value in values]
    watched = dict(zip(loss.names[1:], means[1:], strict=True))
    return optimizer_step(state, means[0], rate, decay, name=loss.names[0], **watched)


def _replayed(
    state: State, loss: Loss, rate: float, decay: float, runtime: Runtime
) -> dict[str, float]:
    """Take the step by its recording, which is made at the first steps of this kind."""
    device, names, compute = loss.inputs[0].device, loss.names, loss.values

    def step(*given: Tensor) -> Tensor:
        *inputs, schedule = given
        *numbers, rate, decay = schedule.unbind()
        with runtime.autocast(device):
            values = compute(*inputs, *numbers)
        means = torch.stack([value.float().mean() for value in values])
        norm = compute_gradients(state, means[0], names[0])
        update_weights(state, rate, decay)
        return torch.cat([means.detach(), norm[None]])

    recording = state.recordings.of((names, loss.variant), step)
    schedule = torch.tensor([*loss.numbers, rate, average_decay(state, decay)])
    receive_later(state, names, recording(*loss.inputs, send(schedule, device)))
    state.step += 1
    return state.metrics
