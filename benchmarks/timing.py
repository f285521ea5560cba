"""How the benchmarks measure: rates, operations, and the lines they print."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from torch.utils.flop_counter import FlopCounterMode

SECONDS = 3.0
"""Least time over which a rate is measured, after one warm-up call."""


@dataclass(frozen=True)
class Measured:
    """One line of the benchmark."""

    name: str
    value: float
    """Images per second; GFLOP/s for a ceiling."""
    unit: str
    share: float | None
    """Share of the machine's ceiling, 0 to 1; None where operations are not counted."""
    ratio: float | None
    """Speed-up over the reference, measured in the same run; None without a reference."""
    reference: str | None
    """Name of the reference."""

    def show(self) -> None:
        """Print the line as JSON."""
        print(json.dumps(asdict(self)), flush=True)


def seconds(
    work: Callable[[], object], least: float = SECONDS, *, calls: int = 3, warm: bool = True
) -> float:
    """Return the seconds per call: the mean of the fastest third, which is disturbed least.

    There are at least `calls` calls, over at least `least` seconds, after a warm-up call if `warm`.
    """
    if warm:
        work()
    times: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < least or len(times) < calls:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    fastest = sorted(times)[: max(1, len(times) // 3)]
    return sum(fastest) / len(fastest)


def operations(work: Callable[[], object]) -> int:
    """Return the floating-point operations of all matrix products and convolutions in a call."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def measure(
    name: str,
    images: float,
    work: Callable[[], object],
    *,
    ceiling: float | None = None,
    reference: tuple[str, float] | None = None,
) -> Measured:
    """Measure `work`, which handles `images` per call, and print its line.

    `ceiling`, in GFLOP/s, gives the share; `reference` is a name and its images per second.
    """
    taken = seconds(work)
    rate = images / taken
    flops = operations(work) if ceiling else 0
    line = Measured(
        name,
        round(rate, 2 if rate < 100 else 1),
        "images/s",
        round(flops / taken / 1e9 / ceiling, 3) if ceiling and flops else None,
        round(rate / reference[1], 3) if reference else None,
        reference[0] if reference else None,
    )
    line.show()
    return line
