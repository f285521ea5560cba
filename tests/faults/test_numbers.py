"""NaN, infinity and lack of memory: the error names step or batch size; nothing bad is saved."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from npdraw.artifacts import read_artifact, write_artifact
from npdraw.model.npdraw import NPDraw
from npdraw.model.prior import Prior
from npdraw.run_key import RunKey
from npdraw.training import loss as loss_module
from tests.faults.conftest import SCALE, Chain
from tests.faults.pictures import parsed, refused

STEP = 3
"""The step at which a value becomes non-finite; each earlier step saves a checkpoint."""

PRIOR = ("train-prior", "parse.safetensors")
DECODER = ("train-decoder", "parse.safetensors", "prior.safetensors")
LATE = ("--steps", "6", "--save-every", "1", "--config", "tiny.toml", "--out", "x")


def bad_loss(_: str, value: float) -> None:
    """Replace the loss of one step by a multiple of `value`."""
    optimizer_step = loss_module.optimizer_step
    count = [0]

    def spoiled(state: Any, loss: Tensor, *given: Any, **more: Any) -> Any:
        count[0] += 1
        return optimizer_step(state, loss * value if count[0] == STEP + 1 else loss, *given, **more)

    loss_module.optimizer_step = spoiled  # type: ignore[assignment]


def bad_gradient(command: str, value: float) -> None:
    """Set one element of the gradient of a finite loss to `value`."""
    step = [0]
    kind = NPDraw if command == "train-decoder" else Prior

    class Spoil(torch.autograd.Function):
        @staticmethod
        def forward(_context: Any, given: Tensor) -> Tensor:
            return given.clone()

        @staticmethod
        def backward(_context: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
            bad = gradient.clone()
            bad.view(-1)[0] = value
            return bad

    optimizer_step = loss_module.optimizer_step

    def spoiled(state: Any, loss: Tensor, *given: Any, **more: Any) -> Any:
        step[0] += 1
        assert isinstance(state.model, kind)
        return optimizer_step(
            state, Spoil.apply(loss) if step[0] == STEP + 1 else loss, *given, **more
        )

    loss_module.optimizer_step = spoiled  # type: ignore[assignment]


def bad_weight(_: str, value: float) -> None:
    """Set a weight to `value` before a step, so that everything after it is affected."""
    optimizer_step = loss_module.optimizer_step
    count = [0]

    def spoiled(state: Any, *given: Any, **more: Any) -> Any:
        count[0] += 1
        figures = optimizer_step(state, *given, **more)
        if count[0] == STEP:
            with torch.no_grad():
                state.trained[0].view(-1)[0] = value
        return figures

    loss_module.optimizer_step = spoiled  # type: ignore[assignment]


@pytest.fixture(scope="module")
def whole(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return what each training writes if every value is finite."""
    folder = chain.copy(tmp_path_factory.mktemp("whole"), *Chain.NAMES)
    for command in (PRIOR, DECODER):
        chain.run(*command, *LATE[:-1], command[0], folder=folder)
    return {command[0]: (folder / command[0]).read_bytes() for command in (PRIOR, DECODER)}


ALL = [
    (s, v) for s in (bad_loss, bad_gradient, bad_weight) for v in (math.nan, math.inf, -math.inf)
]
SOME = ALL if SCALE > 1 else ALL[::4]


@pytest.mark.parametrize(("spoil", "value"), SOME)
@pytest.mark.parametrize("command", [PRIOR, DECODER], ids=["prior", "decoder"])
def test_a_non_finite_value_stops_the_training(
    command: tuple[str, ...],
    spoil: Callable[[str, float], None],
    value: float,
    chain: Chain,
    whole: dict[str, bytes],
    tmp_path: Path,
) -> None:
    folder = chain.copy(tmp_path, *Chain.NAMES)
    words = (*command, *LATE)
    ended = chain.cases.run(*words, "--json", folder=folder, faults=[(spoil, (command[0], value))])
    assert ended.code == 6, ended.shown
    error = ended.json["error"]
    assert error["code"] == "diverged"
    assert error["message"].endswith(f"at step {STEP}")
    assert "Traceback" not in ended.err
    assert not (folder / "x").exists()
    # The last checkpoint is sound, and resuming from it gives the result of an undisturbed run.
    checkpoint = read_artifact(folder / "x.run/checkpoint.safetensors", kind="checkpoint")
    assert checkpoint.header.metrics["step"] <= STEP
    assert all(torch.isfinite(tensor).all() for tensor in checkpoint.tensors.values())
    chain.run(*words, folder=folder)
    assert (folder / "x").read_bytes() == whole[command[0]]


def overflowing(path: str, times: float) -> None:
    """Scale the weights of a model so that they stay finite but its outputs do not."""
    model = read_artifact(Path(path), kind="model")
    header, tensors = model.header, model.tensors
    for name in tensors.keys() - {"bank"}:
        if tensors[name].is_floating_point():
            tensors[name] = (tensors[name] * times).clamp(-3e38, 3e38)
    write_artifact(
        Path(path),
        "model",
        tensors,
        run_key=RunKey.of(header),
        metrics={},
    )


@pytest.mark.parametrize("times", [1e10, 1e30])
def test_a_model_with_non_finite_outputs_is_an_error(
    times: float, chain: Chain, tmp_path: Path
) -> None:
    folder = chain.copy(tmp_path, *Chain.NAMES)
    overflowing(str(folder / "model.safetensors"), times)
    for words in (
        ("sample", "model.safetensors", "--seeds", "0-3", "--grid", "--out", "x.png"),
        ("eval-nll", "model.safetensors", "--samples", "2", "--out", "x"),
    ):
        ended = chain.cases.run(*words, folder=folder)
        assert ended.code == 6, ended.shown
        assert "Traceback" not in ended.err
        assert not (folder / words[-1]).exists()


def no_memory(after_calls: int, kind: str) -> None:
    """Let memory run out in a call of a linear layer, after `after_calls` calls."""
    error = {
        "cpu": RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't ..."),
        "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        "python": MemoryError(),
    }[kind]
    call = torch.nn.Linear.forward
    count = [0]

    def failing(self: Any, given: Tensor) -> Tensor:
        count[0] += 1
        if count[0] > after_calls:
            raise error
        return call(self, given)

    torch.nn.Linear.forward = failing  # type: ignore[method-assign]


@pytest.mark.parametrize("kind", ["cpu", "cuda", "python"] if SCALE > 1 else ["cpu"])
@pytest.mark.parametrize(
    ("command", "size"),
    [
        ((*PRIOR, *LATE), 8),
        ((*DECODER, *LATE), 8),
        (("eval-nll", "model.safetensors", "--batch-size", "37", "--out", "x"), 37),
        (("sample", "model.safetensors", "--batch-size", "5", "--grid", "--out", "x.png"), 5),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_lack_of_memory_names_the_batch_size(
    command: tuple[str, ...], size: int, kind: str, chain: Chain, tmp_path: Path
) -> None:
    folder = chain.copy(tmp_path, *Chain.NAMES)
    ended = chain.cases.run(*command, "--json", folder=folder, faults=[(no_memory, (3, kind))])
    assert ended.code == 5, ended.shown
    error = ended.json["error"]
    assert error["message"] == "out of memory"
    assert error["hint"].startswith(f"Lower --batch-size (now {size})")
    assert "Traceback" not in ended.err
    chain.run(*command, folder=folder)


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("npz:x.npz", "array 'x_train' in x.npz"),
        ("npz:x.npz#x_train", "array 'x_train' in x.npz"),
        ("npz:x.npy", "x.npy"),
        ("idx:set", "set/train-images-idx3-ubyte"),
    ],
)
def test_images_with_non_finite_values_are_refused(
    source: str, named: str, chain: Chain, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).random((60, 8, 8), np.float32)
    images[3, 0], images[4, 0] = np.nan, -np.inf
    np.savez(tmp_path / "x.npz", x_train=images, x_test=images[:9])
    np.save(tmp_path / "x.npy", images)
    (tmp_path / "set").mkdir()
    header = np.array([0xD03, *images.shape], ">i4").tobytes()
    content = header + images.astype(">f4").tobytes()
    (tmp_path / "set/train-images-idx3-ubyte").write_bytes(content)
    ended = parsed(chain, tmp_path, source=source)
    refused(ended, f"{named} has 8 NaN and 8 infinite of 3,840 values")
    assert not (tmp_path / "parse.safetensors").exists()
