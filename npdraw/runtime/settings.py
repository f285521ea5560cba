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
from npdraw.runtime.group import environment

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt: free memory to keep at the end of the heap; mapped blocks."""

KERNELS = 256
"""Size of oneDNN's cache of kernels. It builds one for each number of rows, of which drawings have
hundreds; with its default of 1,024 an evaluation in bf16 grew to gigabytes (LOG.md, 2026-11-26).
oneDNN reads this at its first product; a value that the user set stays."""


@dataclass(frozen=True)
class Runtime:
    """How to run, not what to compute: none of this is part of an artifact's settings."""

    device: str = "auto"
    """auto (cuda if there is one), cpu or cuda."""
    precision: str = "auto"
    """auto, fp32 or bf16 (autocast; probabilities are always fp32)."""
    threads: int = 0
    """CPU threads; 0 leaves the choice to torch."""
    save_every: int = SAVE_EVERY
    """Training steps between checkpoints."""
    force: bool = False
    """Replace output that exists with other settings."""
    dry_run: bool = False
    """Report what would be done, and write nothing."""

    def start(self) -> torch.device:
        """Set the number of threads and return the device.

        Each process that torchrun starts on a machine uses the CUDA device of its local rank.

        Raises:
            UsageError: there is no such device, or fewer devices than processes.
        """
        keep_memory()
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))
        if self.threads:
            torch.set_num_threads(self.threads)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UsageError("there is no CUDA device", hint="Use --device cpu.")
        cuda = self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())
        group = environment()
        if not cuda or group.size == 1:
            return torch.device("cuda" if cuda else "cpu")
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
        auto is fp32.
        """
        fast = device.type == "cuda" or torch.cpu.get_capabilities().get("avx512_bf16", False)
        bf16 = self.precision == "bf16" or (self.precision == "auto" and fast)
        return torch.bfloat16 if bf16 else torch.float32

    def precision_name(self, device: torch.device) -> str:
        """Return the precision in use on `device`, with auto resolved: fp32 or bf16."""
        return "fp32" if self.dtype(device) == torch.float32 else "bf16"

    @contextmanager
    def autocast(self, device: torch.device) -> Iterator[None]:
        """Compute in the chosen precision within the block."""
        lower = self.dtype(device) != torch.float32
        with torch.autocast(device.type, torch.bfloat16, enabled=lower):
            yield


@contextmanager
def explain_out_of_memory(size: int) -> Iterator[None]:
    """Explain a lack of memory within the block, which runs `size` images at once.

    Raises:
        ResourceError: memory ran out; the hint names the size.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            "out of memory", hint=f"Lower --batch-size (now {size}), or batch_size in --config."
        ) from error


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
