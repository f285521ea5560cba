"""The ceiling of this machine: the fastest of some large matrix products and convolutions."""

from functools import partial

import torch
import torch.nn.functional as F

from benchmarks.timing import Measured, seconds


def ceiling(precision: torch.dtype, device: torch.device, least: float = 1.0) -> float:
    """Return the best GFLOP/s of some large products in `precision`, timed `least` seconds each."""
    best = 0.0
    with torch.no_grad():
        for side in (1024, 2048, 4096):
            a, b = torch.randn(2, side, side, device=device, dtype=precision)
            taken = seconds(partial(_product, a, b), least)
            best = max(best, 2 * side**3 / taken / 1e9)
        for images, channels, side in ((128, 96, 14), (128, 128, 14), (64, 256, 28)):
            shape = images, channels, side, side
            x = torch.randn(shape, device=device, dtype=precision)
            kernel = torch.randn(channels, channels, 3, 3, device=device, dtype=precision)
            x = x.contiguous(memory_format=torch.channels_last)
            kernel = kernel.contiguous(memory_format=torch.channels_last)
            taken = seconds(partial(_convolution, x, kernel), least)
            best = max(best, 2 * 9 * channels**2 * side**2 * images / taken / 1e9)
    return best


def _product(a: torch.Tensor, b: torch.Tensor) -> None:
    _done(a @ b)


def _convolution(x: torch.Tensor, kernel: torch.Tensor) -> None:
    _done(F.conv2d(x, kernel, padding=1))


def _done(result: torch.Tensor) -> None:
    """Wait for a GPU."""
    if result.is_cuda:
        torch.cuda.synchronize()


def ceilings(device: torch.device, low: torch.dtype) -> dict[torch.dtype, float]:
    """Measure and print the ceilings of fp32 and of the precision `low` that trains, GFLOP/s.

    Where that is fp32 as well, bf16 is not measured: emulated, its products take minutes.
    """
    measured = {}
    for precision in dict.fromkeys((torch.float32, low)):
        name = "fp32" if precision == torch.float32 else "bf16"
        measured[precision] = ceiling(precision, device)
        value = round(measured[precision], 1)
        Measured(f"ceiling/{name}", value, "GFLOP/s", None, None, None).show()
    return measured
