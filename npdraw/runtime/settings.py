"""Where and how a stage computes: settings that may change from run to run of one output."""

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
"""Parameters of glibc's mallopt: bytes free at the end that are given back, and mapped blocks."""


KERNELS = 256
"""Kernels that oneDNN keeps. It makes one for each number of rows, of which drawings have hundreds,
and with 1,024, its default, an evaluation in bf16 grew to gigabytes (LOG.md, 2026-11-26). It reads
this at its first product; a value that is already set stays."""


@dataclass(frozen=True)
class Runtime:
    """How to run, not what: none of this is an artifact's setting."""

    device: str = "auto"
    """auto (cuda if there is one), cpu or cuda."""
    precision: str = "auto"
    """auto, fp32 or bf16 (autocast; probabilities are always fp32)."""
    threads: int = 0
    """CPU threads; 0 leaves the choice to torch."""
    save_every: int = SAVE_EVERY
    """Training steps from one checkpoint to the next."""
    force: bool = False
    """Replace output that exists with other settings."""
    dry_run: bool = False
    """Say what would be done, write nothing."""

    def start(self) -> torch.device:
        """Set the threads and return the device; `UsageError` if there is no such device.

        Each process that torchrun starts on a machine has the CUDA device of its local rank.
        """
        keep_memory()
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))
        if self.threads:
            torch.set_num_threads(self.threads)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UsageError("there is no CUDA device here", hint="Use --device cpu.")
        cuda = self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())
        group = environment()
        if not cuda or group.size == 1:
            return torch.device("cuda" if cuda else "cpu")
        if torch.cuda.device_count() < group.local_size:
            raise UsageError(
                f"{group.local_size} processes, but {torch.cuda.device_count()} CUDA devices here",
                hint="Start one process for each with --nproc-per-node, or use --device cpu.",
            )
        torch.cuda.set_device(group.local_rank)
        return torch.device("cuda", group.local_rank)

    def dtype(self, device: torch.device) -> torch.dtype:
        """Return the type of large products; auto says bf16 where the hardware multiplies it."""
        fast = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
        bf16 = self.precision == "bf16" or (self.precision == "auto" and fast)
        return torch.bfloat16 if bf16 else torch.float32

    def chosen(self, device: torch.device) -> str:
        """Return the precision that auto stands for here: fp32 or bf16."""
        return "fp32" if self.dtype(device) == torch.float32 else "bf16"

    @contextmanager
    def autocast(self, device: torch.device) -> Iterator[None]:
        """Compute in the chosen precision."""
        lower = self.dtype(device) != torch.float32
        with torch.autocast(device.type, torch.bfloat16, enabled=lower):
            yield


@contextmanager
def explain_out_of_memory(size: int) -> Iterator[None]:
    """Within the block `size` images go through the model at once, which memory may not hold.

    Raises:
        ResourceError: it did not; names the size.
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
    """Let glibc keep what tensors free, instead of giving it back to the system.

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
