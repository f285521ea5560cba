"""How time and memory grow with N, T, K, P, S, width and batch: `make scaling`.

Each measurement runs in its own process. Its memory is the peak of that process less what it holds
after its imports; this process stays small because a child starts with the peak of its parent.
Prints one JSON line per measurement, then the tables of docs/scaling.md.
"""

import json
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.axes import AXES, WHAT, Axis
from benchmarks.fit import fit, number

Line = dict[str, Any]

QUANTITIES = (
    ("seconds", "time", 1.0),
    ("memory_mb", "memory", 1e6),
    ("flops", "operations", 1.0),
)
"""Key of a JSON line, name in a table, and factor to seconds, bytes or operations."""

UNITS = {
    "time": ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")),
    "memory": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")),
    "operations": ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"), (1e3, "kFLOP")),
}


def child(*arguments: str, module: str = "measurement") -> str:
    """Run a module of this package and return its output."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(axes: tuple[Axis, ...]) -> list[Line]:
    """Measure everything, printing each line at once."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        child(folder)
        tasks = [["machine"]]
        tasks += [
            [a.name, str(size), stage] for a in axes for stage in a.stages for size in a.sizes
        ]
        for task in tasks:
            text = child(folder, *task)
            print(text, end="", flush=True)
            lines.append(json.loads(text))
    return lines


def table(axis: Axis, lines: list[Line], machine: Line) -> str:
    """Return the Markdown table of an axis: a row for each stage and quantity."""
    head = ["stage", "", *(f"{axis.name} = {size:,}" for size in axis.sizes), "growth", "off by"]
    rows = [head, ["---"] * len(head)]
    for stage in axis.stages:
        chosen = [line for line in lines if (line["axis"], line["stage"]) == (axis.name, stage)]
        for key, name, factor in QUANTITIES:
            values = [max(line[key] * factor, 1e-9) for line in chosen]
            if not any(line[key] for line in chosen):
                continue  # not counted
            unit, symbol = _unit(name, values)
            law = fit(axis.sizes, [value / unit for value in values])
            what = f"{symbol}, peak" if name == "memory" else f"{symbol} per {chosen[0]['per']}"
            shown = [number(value / unit) for value in values]
            rows.append([stage, what, *shown, str(law), f"{law.residual:.0%}"])
        rows += _shares(stage, chosen, machine)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _unit(quantity: str, values: list[float]) -> tuple[float, str]:
    """Return the largest unit in which the median is at least 1, else the smallest."""
    units, middle = UNITS[quantity], sorted(values)[len(values) // 2]
    return next((unit for unit in units if middle >= unit[0]), units[-1])


def _shares(stage: str, chosen: list[Line], machine: Line) -> list[list[str]]:
    """Return a row with the shares of the machine's ceiling, if operations are counted."""
    if not any(line["flops"] for line in chosen):
        return []
    ceiling = machine["fp32_gflops" if stage in ("bank", "parse") else "low_gflops"] * 1e9
    shares = [f"{line['flops'] / line['seconds'] / ceiling:.2f}" for line in chosen]
    return [[stage, "share of ceiling", *shares, "", ""]]


def report(lines: list[Line], axes: tuple[Axis, ...]) -> str:
    """Return the measured part of docs/scaling.md."""
    machine = lines[0]
    text = [
        f"{machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}. Ceilings:\n"
        f"{machine['fp32_gflops']} GFLOP/s in fp32 (bank, parse), {machine['low_gflops']} in "
        f"{machine['trains_in']} (the rest).",
        "\n".join(f"- {stage}: {what}." for stage, what in WHAT.items()),
    ]
    for axis in axes:
        text += [f"**{axis.name}**: {axis.meaning}.", table(axis, lines[1:], machine)]
    return "\n\n".join(text)


def main() -> None:
    """Measure the axes given on the command line; if none, all, then count a million images."""
    wanted = set(sys.argv[1:])
    if wanted - {axis.name for axis in AXES}:
        sys.exit(f"axes are {', '.join(axis.name for axis in AXES)}; got {sys.argv[1:]}")
    axes = tuple(axis for axis in AXES if not wanted or axis.name in wanted)
    began = time.perf_counter()
    lines = measure(axes)
    print(f"\n{report(lines, axes)}\n")
    if not wanted:
        print(child(module="million"))
    print(f"({time.perf_counter() - began:.0f} s)", file=sys.stderr)


if __name__ == "__main__":
    main()
