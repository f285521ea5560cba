"""How many processors this process may use. Imports no torch."""

import math
import os
from collections.abc import Iterator
from pathlib import Path


def cpu_limit(root: Path = Path("/")) -> int | None:
    """Return the number of processors that this process may use, None if it is not known.

    It is the smallest of the affinity mask and the CPU quotas of the process's control groups
    (Linux, versions 1 and 2), rounded up: a container with a quota of two on a machine of 64 cores
    may use two. `root` is the root of the file system.
    """
    limits = [max(1, math.ceil(quota)) for quota in _quotas(root)]
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        limits.append(len(os.sched_getaffinity(0)))
    return min(limits, default=None)


def _quotas(root: Path) -> Iterator[float]:
    """Yield every CPU quota in force, in processors: the group's own and those of its parents."""
    for line in _lines(root / "proc/self/cgroup"):
        # "0::/path" is version 2; "4:cpu,cpuacct:/path" is version 1.
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        # The path may be that of the host, which a container does not see: there the root of the
        # mount is the container's own group.
        group = Path(path.lstrip("/"))
        for folder in (group, *group.parents):
            mount = root / "sys/fs/cgroup"
            if controllers:
                quota, period = (
                    _lines(mount / "cpu" / folder / f"cpu.cfs_{name}_us")
                    for name in ("quota", "period")
                )
                yield from _ratio([*quota, *period])
            else:
                yield from _ratio(" ".join(_lines(mount / folder / "cpu.max")).split())


def _ratio(numbers: list[str]) -> Iterator[float]:
    """Yield quota / period, two numbers in microseconds; "max" and -1 are not limits."""
    if len(numbers) == 2 and all(number.isdecimal() and int(number) > 0 for number in numbers):
        yield int(numbers[0]) / int(numbers[1])


def _lines(path: Path) -> list[str]:
    """Return the lines of a small file of the kernel; none if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
