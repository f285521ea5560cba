"""Training steps on a GPU without launching their operations one by one: CUDA graphs.

A step of `mnist` launches thousands of small operations, and the GPU waits for Python between them
(LOG.md, 2026-11-26, MNIST on a GPU). On a GPU no shape in a step depends on the data
(`attention.lists_of`), so its operations can be recorded once and replayed with other inputs.
"""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3
"""Steps of a kind that are launched one by one before one is recorded: libraries prepare themselves
at their first calls, which a recording must not contain."""

Step = Callable[..., Tensor]
"""A step of a training: it changes tensors in place, and returns one."""


class Recordings:
    """The recordings of a training. They share memory, since one is replayed at a time."""

    def __init__(self) -> None:
        self.kinds: dict[Hashable, Recording] = {}

    def of(self, kind: Hashable, step: Step) -> "Recording":
        """Return the recording of this kind of step, a new one the first time."""
        if kind not in self.kinds:
            first = next(iter(self.kinds.values()), None)
            self.kinds[kind] = Recording(step, first)
        return self.kinds[kind]

    def clear(self) -> None:
        """Free the memory of all recordings; they and their training refer to each other."""
        self.kinds.clear()


class Recording:
    """A step whose operations are recorded after `WARM_UP` calls, and from then on replayed.

    The step must depend on nothing that changes but its inputs and tensors that it changes in
    place. What it returns is overwritten by the next call.
    """

    def __init__(self, step: Step, other: "Recording | None" = None) -> None:
        """`step` takes tensors on a GPU, always of the same shapes and types.

        It uses the stream and the memory of the `other` recording, if there is one.
        """
        self.step, self.calls = step, 0
        self.stream: torch.cuda.Stream = other.stream if other else torch.cuda.Stream()
        self.pool: Any = other.pool if other else torch.cuda.graph_pool_handle()
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: tuple[Tensor, ...] = ()
        self.result = torch.empty(0)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Take a step with these inputs and return its result."""
        if self.calls < WARM_UP:
            self.calls += 1
            return self._launch(*inputs)
        if self.graph is None:
            self.inputs = tuple(x.clone() for x in inputs)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, pool=self.pool, stream=self.stream):
                self.result = self.step(*self.inputs)
        for held, given in zip(self.inputs, inputs, strict=True):
            held.copy_(given)
        self.graph.replay()
        return self.result

    def _launch(self, *inputs: Tensor) -> Tensor:
        """Launch the step on the stream on which it will be recorded."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            result = self.step(*inputs)
        torch.cuda.current_stream().wait_stream(self.stream)
        return result
