"""Where and how a stage computes: settings that may differ between the runs of one output."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from npdraw.config import SAVE_EVERY
from npdraw.errors import ResourceError, UsageError, is_out_of_memory
from npdraw.runtime.devices import DEVICES, is_device
from npdraw.runtime.group import environment
from npdraw.runtime.processors import cpu_limit

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt: free memory to keep at the end of the heap; mapped blocks."""

PRECISIONS = ("auto", "fp32", "bf16")

AMPERE = (8, 0)
"""Compute capability of the first NVIDIA cards that multiply bf16."""

KERNELS = 256
"""Size of oneDNN's cache of kernels. It builds one for each number of rows, of which drawings have
hundreds; with its default of 1,024 an evaluation in bf16 grew to gigabytes (LOG.md, 2026-11-26).
oneDNN reads this at its first product; a value that the user set stays."""


@dataclass(frozen=True)
class Runtime:
    """How to run, not what to compute: none of this is part of an artifact's settings."""

    device: str = "auto"
    """auto (cuda if there is one), cpu, cuda, cuda:N (one of several cards) or mps."""
    precision: str = "auto"
    """auto, fp32 or bf16 (autocast; probabilities are always fp32; mps has only fp32)."""
    threads: int = 0
    """CPU threads; 0 leaves the choice to torch, up to the CPU quota of a container."""
    cuda_graphs: bool = False
    """On a CUDA device, record each kind of training step once and replay it."""
    save_every: int = SAVE_EVERY
    """Training steps between checkpoints."""
    force: bool = False
    """Replace output that exists with other settings."""
    dry_run: bool = False
    """Report what would be done, and write nothing."""
    tensorboard: bool = False
    """Show trainings on a `Board`, too."""

    def __post_init__(self) -> None:
        if not is_device(self.device):
            raise UsageError(f"unknown device {self.device!r}", hint=f"Known: {DEVICES}.")
        if self.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise UsageError(f"unknown precision {self.precision!r}", hint=f"Known: {known}.")

    def start(self) -> torch.device:
        """Set the number of threads and return the device.

        Each process that torchrun starts on a machine uses the CUDA device of its local rank.

        Raises:
            UsageError: the device does not exist, there are more processes than devices, or
                `cuda_graphs` is set without a CUDA device or with several processes.
        """
        keep_memory()
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))
        _set_threads(self.threads)
        device = self._device()
        if self.cuda_graphs and (device.type != "cuda" or environment().size > 1):
            raise UsageError(
                "--cuda-graphs works on a CUDA device, in one process", hint="Leave it out."
            )
        return device

    def _device(self) -> torch.device:
        """Return the device, or raise `UsageError`."""
        if self.device == "mps":
            return _mps(self.precision)
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise UsageError("there is no CUDA device", hint=f"Use --device {_possible()}.")
        if self.device == "cpu" or not torch.cuda.is_available():
            return torch.device("cpu")
        group = environment()
        if ":" in self.device:
            return _numbered(self.device, group.size)
        if group.size == 1:
            return torch.device("cuda")
        if torch.cuda.device_count() < group.local_size:
            raise UsageError(
                f"{group.local_size} processes, but {torch.cuda.device_count()} CUDA devices",
                hint="Start one process per device with --nproc-per-node, or use --device cpu.",
            )
        torch.cuda.set_device(group.local_rank)
        return torch.device("cuda", group.local_rank)

    def dtype(self, device: torch.device) -> torch.dtype:
        """Return the dtype of large products; auto is bf16 where the hardware multiplies bf16.

        Every x86 processor with AMX also has AVX512-BF16. On Arm, where bf16 was never measured,
        auto is fp32. So it is on NVIDIA cards before Ampere (compute capability below 8.0), where
        torch emulates bf16, which is slower than fp32.
        """
        if self.precision == "auto":
            return torch.bfloat16 if _multiplies_bf16(device) else torch.float32
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def precision_name(self, device: torch.device) -> str:
        """Return the precision in use on `device`, with auto resolved: fp32 or bf16."""
        return "fp32" if self.dtype(device) == torch.float32 else "bf16"

    @contextmanager
    def autocast(self, device: torch.device) -> Iterator[None]:
        """Compute in the chosen precision within the block."""
        lower = self.dtype(device) != torch.float32
        with torch.autocast(device.type, torch.bfloat16, enabled=lower):
            yield


def _multiplies_bf16(device: torch.device) -> bool:
    """Return whether the hardware of a device multiplies bf16, and does so faster than fp32."""
    if device.type == "cuda":
        # AMD's cards have other numbers; all that ROCm supports multiply bf16.
        return bool(torch.version.hip) or torch.cuda.get_device_capability(device) >= AMPERE
    return device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False)


def _set_threads(threads: int) -> None:
    """Set the number of CPU threads; 0 keeps torch's own unless more than the process may use.

    Torch counts processors of the machine, and does not see the CPU quota of a container.
    """
    if threads:
        torch.set_num_threads(threads)
    elif not os.environ.get("OMP_NUM_THREADS"):  # else the user, or torchrun, has chosen
        limit = cpu_limit()
        if limit is not None and limit < torch.get_num_threads():
            torch.set_num_threads(limit)


def _mps(precision: str) -> torch.device:
    """Return the GPU of a Mac, or raise `UsageError`."""
    if not torch.backends.mps.is_available():
        raise UsageError(
            "there is no MPS device, which only Macs with Apple silicon have",
            hint=f"Use --device {_possible()}.",
        )
    if environment().size > 1:
        raise UsageError("mps works in one process", hint="Start it without torchrun.")
    if precision == "bf16":
        raise UsageError("mps computes in fp32 only", hint="Leave out --precision.")
    return torch.device("mps")


def _numbered(name: str, processes: int) -> torch.device:
    """Return the CUDA device with the number in `name`, or raise `UsageError`."""
    device = torch.device(name)
    if device.index >= torch.cuda.device_count():
        raise UsageError(
            f"there is no CUDA device {device.index}", hint=f"Use --device {_possible()}."
        )
    if processes > 1:
        raise UsageError(
            f"{name} is one device for {processes} processes",
            hint="Use --device cuda: each process takes a device of its own.",
        )
    torch.cuda.set_device(device)
    return device


def _possible() -> str:
    """Return the devices that this machine has, for a hint."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = ["cpu", *(f"cuda:{number}" for number in range(count))]
    names += ["mps"] if torch.backends.mps.is_available() else []
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


@contextmanager
def explain_out_of_memory(size: int, *, recorded: bool = False) -> Iterator[None]:
    """Explain a lack of memory within the block, which runs `size` images at once.

    Steps that are `recorded` for `--cuda-graphs` take more of it.

    Raises:
        ResourceError: memory ran out; the hint names the size.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        hint = f"Lower --batch-size (now {size}), or batch_size in --config."
        if recorded:
            hint += " Without --cuda-graphs a step takes less memory."
        raise ResourceError("out of memory", hint=hint) from error


def keep_memory() -> None:
    """Let glibc keep the memory that tensors free, instead of returning it to the system.

    Otherwise every tensor above 32 MB is mapped again, and clearing its pages takes longer than
    the arithmetic: 1.4 times the time of a step at the paper's sizes (LOG.md, 2026-11-22). With
    another C library nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a tensor from main memory to `device`, without waiting for a GPU."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
