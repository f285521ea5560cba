"""Several processes on one computation, started by `torchrun` (torch.distributed).

Work is shared so that the result is that of one process: the rows of a batch, or whole chunks of
images, go to the processes in turn. What they exchange between steps are small tensors in main
memory, over gloo, so that agreeing on something never waits for a GPU. A single process exchanges
nothing and needs no process group.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from npdraw.errors import UsageError
from npdraw.runtime.group import ElsewhereError, Group, environment

PATIENCE = timedelta(days=1)
"""How long a process waits for the others. A bank may take the first one hours; one that died is
noticed at once, because its connections close."""


@contextmanager
def process_group(device: torch.device) -> Iterator[Group]:
    """Join the processes that torchrun started and yield the group; else `SINGLE_PROCESS`.

    A block inside a block uses the same connections. After an error they are left to the end of
    the process: closing them in order would wait for processes that do not come any more.
    """
    group = environment()
    if group.size == 1 or dist.is_initialized():
        yield group
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    yield group
    dist.destroy_process_group()


def on_rank_zero(group: Group, work: Callable[[], Any]) -> Any:
    """Do `work` in the first process only; every process returns its result, or fails with it.

    What the others return has been through JSON. They raise `ElsewhereError` for whatever `work`
    raises, so that all end together, and none waits for one that has gone.
    """
    if group.size == 1:
        return work()
    if not group.is_rank_zero:
        told = _receive()
        if "failed" in told:
            raise ElsewhereError(told["failed"], exit_code=told["exit_code"])
        return told["result"]
    try:
        result = work()
    except Exception as error:
        _send({"failed": str(error), "exit_code": getattr(error, "exit_code", 1)})
        raise
    _send({"result": result})
    return result


def _send(value: dict[str, Any]) -> None:
    text = bytearray(json.dumps(value).encode())
    dist.broadcast(torch.tensor([len(text)]), 0)
    dist.broadcast(torch.frombuffer(text, dtype=torch.uint8), 0)


def _receive() -> dict[str, Any]:
    length = torch.zeros(1, dtype=torch.int64)
    dist.broadcast(length, 0)
    text = torch.zeros(int(length), dtype=torch.uint8)
    dist.broadcast(text, 0)
    value: dict[str, Any] = json.loads(text.numpy().tobytes())
    return value


def largest(group: Group, number: int) -> int:
    """Return the largest of the numbers that the processes hold."""
    if group.size == 1:
        return number
    numbers = torch.tensor([number])
    dist.all_reduce(numbers, dist.ReduceOp.MAX)
    return int(numbers)


def rank_slice(group: Group, total: int) -> slice:
    """Return which rows of a batch of `total` are this process's."""
    return slice(total * group.rank // group.size, total * (group.rank + 1) // group.size)


def chunks(group: Group, total: int, chunk: int) -> Iterator[tuple[int, slice]]:
    """Yield this process's share of the chunks of `total` rows: index and rows of each."""
    for index, start in enumerate(range(0, total, chunk)):
        if index % group.size == group.rank:
            yield index, slice(start, min(start + chunk, total))


def all_gather_rows(group: Group, table: Tensor) -> Tensor:
    """Return a table in main memory of which each process filled its share, and left the rest 0.

    Every element is the one that was filled in, bit for bit.
    """
    if group.size == 1:
        return table
    # gloo adds no booleans and no short integers.
    sent = table.clone() if table.is_floating_point() else table.to(torch.int64)
    dist.all_reduce(sent)
    return sent.to(table.dtype)


def total(group: Group, table: Tensor) -> Tensor:
    """Return the sum of the rows of `filled`, [rows, ...] -> [...], added up from first to last."""
    result = torch.zeros_like(table[0])
    for row in all_gather_rows(group, table):
        result += row
    return result


def batch_mean(group: Group, values: Tensor, images: int) -> Tensor:
    """Return a scalar of one number for each of this process's rows in a batch of `images`.

    The mean of the scalars of all processes is the mean over the batch, also where the shares are
    unequal.
    """
    if group.size == 1:
        return values.mean()
    return values.sum() * (group.size / images)


def group_mean(group: Group, values: Tensor) -> Tensor:
    """Return the mean of the processes' `values`, on their device, without waiting for a GPU."""
    if group.size > 1:
        dist.all_reduce(values)
        values /= group.size
    return values


def check_batch(group: Group, images: int) -> None:
    """Raise `UsageError` if a batch has fewer images than there are processes."""
    if images < group.size:
        raise UsageError(
            f"a batch of {images} cannot be shared by {group.size} processes",
            hint=f"Raise --batch-size (batch_size in --config), or --nproc-per-node {images}.",
        )


def replica(model: nn.Module, group: Group) -> nn.Module:
    """Return what computes the training loss: `model`, with gradients averaged over the group.

    Call it when the model is on its device; from here on all processes have the first one's
    weights. Every weight that requires a gradient must get one in every step.
    """
    if group.size == 1:
        return model
    return DistributedDataParallel(model)
