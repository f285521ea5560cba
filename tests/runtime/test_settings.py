"""Device, precision, threads and memory of a stage."""

import ctypes
import os
import subprocess
import sys

import pytest
import torch

from npdraw.errors import UsageError
from npdraw.runtime import settings
from npdraw.runtime.settings import Runtime, keep_memory, send

CPU = torch.device("cpu")


def test_auto_uses_cuda_if_available(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert Runtime(device="auto").start().type == expected
        assert Runtime(device="cpu").start().type == "cpu"


def test_no_cuda_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="no CUDA device") as caught:
        Runtime(device="cuda").start()
    assert "--device cpu" in caught.value.hint
    assert caught.value.exit_code == 2


def test_the_number_of_threads_is_set_only_if_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "cpu_limit", lambda: 64)
    torch.set_num_threads(2)
    Runtime(device="cpu").start()
    assert torch.get_num_threads() == 2
    Runtime(device="cpu", threads=1).start()
    assert torch.get_num_threads() == 1


def test_threads_follow_a_cpu_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    # What torch counts on a machine of 4 cores, of which a container may use 2.
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(settings, "cpu_limit", lambda: 2)
    torch.set_num_threads(4)
    Runtime(device="cpu", threads=3).start()  # the user's choice
    assert torch.get_num_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # also the user's, or torchrun's
    Runtime(device="cpu").start()
    assert torch.get_num_threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    Runtime(device="cpu").start()
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    Runtime(device="cpu").start()
    assert torch.get_num_threads() == 1  # fewer is never raised


REUSE = """
import resource
import torch
from npdraw.runtime.settings import keep_memory

keep_memory()
for _ in range(12):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(2**26, dtype=torch.uint8).add_(1)  # 64 MB, more than glibc ever keeps itself
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_memory_of_large_tensors_is_reused() -> None:
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("the C library is not glibc")
    # In a separate process: an allocation that failed before, in any test, leaves the thread in an
    # arena of glibc that maps large blocks whatever the settings.
    process = subprocess.run([sys.executable, "-c", REUSE], capture_output=True, check=True)
    first, *_, second_last, last = map(int, process.stdout.split())
    whole = 2**26 / 4096
    assert first > whole / 2  # otherwise the system does not count page faults
    # glibc may need some rounds until a free block is large enough for an aligned one.
    assert max(second_last, last) < whole / 100


def test_another_c_library_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    keep_memory()


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_products_have_the_chosen_precision(precision: str, dtype: torch.dtype) -> None:
    x = torch.ones(2, 2)
    with Runtime(precision=precision).autocast(CPU):
        assert (x @ x).dtype == dtype
    assert (x @ x).dtype == torch.float32


def test_auto_is_bf16_on_processors_with_avx512_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    supports: dict[str, bool]
    for supports in ({"avx512_bf16": True}, {"avx512_bf16": False}, {"bf16": True}):  # last: Arm
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda supports=supports: supports)
        expected = torch.bfloat16 if supports.get("avx512_bf16") else torch.float32
        assert Runtime().dtype(CPU) == expected
        assert Runtime(precision="bf16").dtype(CPU) == torch.bfloat16
        assert Runtime(precision="fp32").dtype(CPU) == torch.float32


def test_auto_is_bf16_on_cards_that_multiply_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = {0: (7, 5), 1: (8, 0), 2: (6, 1), 3: (9, 0)}
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: cards[device.index])
    for number, fast in ((0, False), (1, True), (2, False), (3, True)):
        card = torch.device("cuda", number)
        assert Runtime().precision_name(card) == ("bf16" if fast else "fp32")
        assert Runtime(precision="bf16").dtype(card) == torch.bfloat16
        assert Runtime(precision="fp32").dtype(card) == torch.float32
    monkeypatch.setattr(torch.version, "hip", "6.4")  # whose numbers mean other cards
    assert Runtime().dtype(torch.device("cuda", 0)) == torch.bfloat16


def test_each_process_has_the_device_of_its_local_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    for name, value in zip(names, ("3", "4", "1", "2"), strict=True):
        monkeypatch.setenv(name, value)
    assert Runtime(device="cuda").start() == torch.device("cuda", 1)
    assert chosen == [1]
    assert Runtime(device="cpu").start() == CPU
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(UsageError, match="4 processes, but 2 CUDA devices") as caught:
        Runtime(device="cuda").start()
    assert "--nproc-per-node" in caught.value.hint


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """Pretend that there are two CUDA devices; return those that are made the current one."""
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


def test_a_number_picks_a_card(
    two_cards: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Runtime(device="cuda:1").start() == torch.device("cuda", 1)
    assert two_cards == [torch.device("cuda", 1)]
    with pytest.raises(UsageError, match="there is no CUDA device 2") as caught:
        Runtime(device="cuda:2").start()
    assert caught.value.hint == "Use --device cpu, cuda:0 or cuda:1."
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    with pytest.raises(UsageError, match="cuda:1 is one device for 2 processes"):
        Runtime(device="cuda:1").start()


def test_mps_computes_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="no MPS device") as caught:
        Runtime(device="mps").start()
    assert caught.value.hint == "Use --device cpu."
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    device = Runtime(device="mps").start()
    assert device.type == "mps" and Runtime(device="mps").precision_name(device) == "fp32"
    with pytest.raises(UsageError, match="mps computes in fp32 only"):
        Runtime(device="mps", precision="bf16").start()
    with pytest.raises(UsageError, match="there is no CUDA device") as caught:
        Runtime(device="cuda:0").start()
    assert caught.value.hint == "Use --device cpu or mps."
    assert Runtime(device="auto").start() == CPU  # mps only where it is asked for
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    with pytest.raises(UsageError, match="one process"):
        Runtime(device="mps").start()


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "cuda:01", "cuda:x", "CPU", "mps:0"])
def test_an_unknown_device_or_precision_is_refused_with_those_that_exist(name: str) -> None:
    with pytest.raises(UsageError, match="unknown device") as caught:
        Runtime(device=name)
    assert caught.value.hint == "Known: auto, cpu, cuda, cuda:N or mps."
    with pytest.raises(UsageError, match="unknown precision 'fp16'") as caught:
        Runtime(precision="fp16")
    assert caught.value.hint == "Known: auto, fp32, bf16."


def test_send_on_the_cpu_returns_the_tensor() -> None:
    x = torch.arange(3)
    assert send(x, CPU) is x


def test_the_kernel_cache_is_small_unless_the_user_sets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.setenv(name, "7")  # undone after the test, like what is set next
    Runtime(device="cpu").start()
    assert os.environ[name] == "7"
    monkeypatch.delenv(name)
    Runtime(device="cpu").start()
    assert 100 < int(os.environ[name]) < 1024  # a training step needs about 150


def test_cuda_graphs_need_one_process_on_a_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--cuda-graphs works on a CUDA device, in one process"):
        Runtime(device="cpu", cuda_graphs=True).start()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Runtime(device="cuda", cuda_graphs=True).start().type == "cuda"
