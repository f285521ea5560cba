"""Data parallelism over several processes that `torchrun` started (torch.distributed).

The rows of a batch, or whole chunks of images, are shared out so that the result is that of a
single process. Apart from gradients, the processes exchange only small tensors in main memory,
over gloo, so that no exchange waits for a GPU. A single process exchanges nothing and needs no
process group.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from npdraw.errors import UsageError
from npdraw.runtime.group import ElsewhereError, Group, environment

TIMEOUT = timedelta(days=1)
"""How long a process waits for the others: rank zero may take hours to make a bank. The death of a
process is noticed at once, because its connections close."""


@contextmanager
def process_group(device: torch.device) -> Iterator[Group]:
    """Join the processes that torchrun started and yield the group, or yield `SINGLE_PROCESS`.

    A nested block uses the same connections. After an error they stay open until the process
    ends, because closing them properly would wait for processes that may never arrive.
    """
    group = environment()
    if group.size == 1 or dist.is_initialized():
        yield group
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT)
    yield group
    dist.destroy_process_group()


def on_rank_zero(group: Group, work: Callable[[], Any]) -> Any:
    """Call `work` in rank zero only and return its result in every process.

    The other ranks receive the result as JSON. If `work` raises, they raise `ElsewhereError`, so
    that all processes end together and none waits for one that is gone.
    """
    if group.size == 1:
        return work()
    if not group.is_rank_zero:
        message = _receive()
        if "failed" in message:
            raise ElsewhereError(message["failed"], exit_code=message["exit_code"])
        return message["result"]
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


def rank_slice(group: Group, total: int) -> slice:
    """Return this process's rows of a batch of `total` rows."""
    return slice(total * group.rank // group.size, total * (group.rank + 1) // group.size)


def chunks(group: Group, total: int, chunk: int) -> Iterator[tuple[int, slice]]:
    """Yield index and rows of this process's chunks of `total` rows, `chunk` rows each."""
    for index, start in enumerate(range(0, total, chunk)):
        if index % group.size == group.rank:
            yield index, slice(start, min(start + chunk, total))


def all_reduce_max(group: Group, number: int) -> int:
    """Return the largest of the numbers that the processes hold."""
    if group.size == 1:
        return number
    numbers = torch.tensor([number])
    dist.all_reduce(numbers, dist.ReduceOp.MAX)
    return int(numbers)


def all_gather_rows(group: Group, table: Tensor) -> Tensor:
    """Return the whole of a table on the CPU, in which each process filled some rows, the rest 0.

    Every element is exactly, bit for bit, the one that was filled in.
    """
    if group.size == 1:
        return table
    # gloo cannot add booleans or 16-bit integers.
    sent = table.clone() if table.is_floating_point() else table.to(torch.int64)
    dist.all_reduce(sent)
    return sent.to(table.dtype)


def all_reduce_sum(group: Group, table: Tensor) -> Tensor:
    """Return the sum over the rows of a table, [rows, ...] -> [...], as for `all_gather_rows`.

    The rows are added from first to last, so that the sum does not depend on the number of
    processes.
    """
    result = torch.zeros_like(table[0])
    for row in all_gather_rows(group, table):
        result += row
    return result


def local_batch_mean(group: Group, values: Tensor, images: int) -> Tensor:
    """Return this process's term of the mean over a batch of `images`, a scalar.

    `values` holds one number per row of this process. Averaged over the processes the terms give
    the mean over the batch, even if the processes have different numbers of rows.
    """
    if group.size == 1:
        return values.mean()
    return values.sum() * (group.size / images)


def all_reduce_mean(group: Group, values: Tensor) -> Tensor:
    """Return the mean of `values` over the processes, on its device, without waiting for a GPU."""
    if group.size > 1:
        dist.all_reduce(values)
        values /= group.size
    return values


def average_gradients(group: Group, parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients of a loss that no replica computed over the processes."""
    for parameter in parameters:
        if group.size > 1 and parameter.grad is not None:
            parameter.grad = all_reduce_mean(group, parameter.grad)


def check_batch(group: Group, images: int) -> None:
    """Raise `UsageError` if a batch has fewer images than there are processes."""
    if images < group.size:
        raise UsageError(
            f"a batch of {images} cannot be shared by {group.size} processes",
            hint=f"Raise --batch-size (batch_size in --config), or use --nproc-per-node {images}.",
        )


def replica(model: nn.Module, group: Group) -> nn.Module:
    """Return the module to call for the training loss: `model`, with gradients averaged.

    Call this once the model is on its device; all processes then have the weights of rank zero.
    Every weight that requires a gradient must get one in every step that it computes.
    """
    if group.size == 1:
        return model
    return DistributedDataParallel(model)
