"""Steps that are recorded once and replayed, on a stand-in for CUDA graphs.

The stand-in records every operation of torch's dispatcher, those of the backward pass and the
optimisers included, and repeats them on the same tensors, as a CUDA graph does. So whatever a step
would decide in Python stays as it was when it was recorded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from npdraw.artifacts import read_artifact
from npdraw.model import prior
from npdraw.model.attention import lists_of
from npdraw.runtime.settings import Runtime
from npdraw.training import recording, state
from npdraw.training.recording import WARM_UP, Recording
from npdraw.training.state import PendingMetrics
from tests.tiny_stages import INK, squares

WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2"}
"""Operations whose result, or its shape, Python would wait for."""


class Graph(TorchDispatchMode):
    """Records the operations within the block without effect; `replay` repeats them."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.before: list[tuple[Tensor, Tensor]] = []
        """Tensors that were changed, with their values before that; the last change comes first."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        schema = func._schema
        assert schema.name not in WAITS, f"a step waits for {func}"
        for argument, value in zip(schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                changed = [x for x in tree_leaves(value) if isinstance(x, Tensor)]
                self.before[:0] = [(x, x.clone()) for x in changed]
        result = func(*args, **kwargs)
        self.operations.append((func, args, kwargs, result))
        return result

    def __enter__(self) -> Any:
        self.noise = torch.get_rng_state()
        return super().__enter__()

    def __exit__(self, *given: Any) -> None:
        super().__exit__(*given)
        torch.set_rng_state(self.noise)
        with torch.no_grad():
            for tensor, value in self.before:
                tensor.copy_(value)

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, result in self.operations:
            again = func(*args, **kwargs)
            for held, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(held, Tensor) and held.data_ptr() != new.data_ptr():
                    held.copy_(new)


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let recordings use the stand-in, and trainings on the CPU take their steps as on a GPU."""

    @contextmanager
    def record(graph: Graph, **_: Any) -> Iterator[None]:
        with graph:
            yield

    def copied(step: int, names: tuple[str, ...], figures: Tensor) -> PendingMetrics:
        event: Any = SimpleNamespace(synchronize=lambda: None)
        return PendingMetrics(step, names, figures.clone(), event)

    def padded(*given: Any, **_: Any) -> Any:
        return lists_of(*given, padded=True)

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: None)
    monkeypatch.setattr(Recording, "_launch", lambda self, *inputs: self.step(*inputs))
    monkeypatch.setattr(Runtime, "start", lambda _: torch.device("cpu"))
    monkeypatch.setattr(state, "_copy_to_host", copied)
    monkeypatch.setattr(prior, "lists_of", padded)


def test_a_recording_is_the_step_itself(on_cpu: None) -> None:
    total = torch.zeros(3)
    calls = []

    def step(x: Tensor) -> Tensor:
        calls.append(1)
        total.add_(x)
        return total * 2

    recorded = Recording(step)
    for count in range(1, 8):
        found = recorded(torch.full((3,), float(count)))
        assert torch.equal(found, torch.full((3,), count * (count + 1.0)))
    assert len(calls) == WARM_UP + 1


STEPS = {"steps": 15, "batch_size": 8}
KINDS = {"wake": 0.2, "decoder_alone": 1, "parse_until": 0.5}
"""Settings with all four kinds of steps, each taken three times at least."""


def trained(stages: Any, parse: Path, folder: Path, **named: Any) -> dict[str, dict[str, Tensor]]:
    """Return the weights of a prior and of a model."""
    folder.mkdir()
    paths = {kind: folder / f"{kind}.safetensors" for kind in ("prior", "model")}
    stages.train_prior(parse, paths["prior"], **named)
    stages.train_decoder(parse, paths["prior"], paths["model"], **named)
    return {kind: read_artifact(path, kind=kind).tensors for kind, path in paths.items()}


@pytest.mark.parametrize(
    ("kind", "precision"), [("parts", "fp32"), ("parts", "bf16"), ("ink", "fp32")]
)
def test_replayed_trainings_are_those_whose_operations_are_launched(
    kind: str,
    precision: str,
    stages: Any,
    tmp_path: Path,
    on_cpu: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    longer = stages.configured(
        parse=INK if kind == "ink" else {"jitter": 1},
        prior={**STEPS, "dropout": 0.1},
        decoder={**STEPS, **KINDS},
    )
    if kind == "ink":
        longer = longer.from_images(tmp_path / "squares.npz", squares(60, 1), squares(24, 2))
    parse = tmp_path / "parse.safetensors"
    longer.parse(parse)
    named = {"precision": precision, "cuda_graphs": True}
    monkeypatch.setattr(recording, "WARM_UP", 1)
    replayed = trained(longer, parse, tmp_path / "replayed", **named)
    monkeypatch.setattr(recording, "WARM_UP", 10**9)
    launched = trained(longer, parse, tmp_path / "launched", **named)
    plain = trained(longer, parse, tmp_path / "plain", precision=precision)
    for artifact, weights in replayed.items():
        for name, value in weights.items():
            assert torch.equal(value, launched[artifact][name]), name
    # Here learning rates and temperatures are floats of 64 bits.
    far = [
        float((value.float() - plain[artifact][name].float()).abs().max())
        for artifact, weights in launched.items()
        for name, value in weights.items()
    ]
    assert max(far) < (0.01 if precision == "fp32" else 0.1)
