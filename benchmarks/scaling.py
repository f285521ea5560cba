"""How time and memory grow with N, T, K, P, S, width and batch: `make scaling`.

Each measurement is a process of its own, so that its peak memory is its own: what the process
holds at most, less what it holds after its imports. This one stays small: a child process starts
with the peak of the one that made it. Prints one JSON line a measurement, then the tables of
docs/scaling.md.
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
"""Key of a JSON line, name in a table, and what turns it into seconds, bytes or operations."""

UNITS = {
    "time": ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")),
    "memory": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")),
    "operations": ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"), (1e3, "kFLOP")),
}


def child(*arguments: str, module: str = "measurement") -> str:
    """Run a module of this package and return what it prints."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(axes: tuple[Axis, ...]) -> list[Line]:
    """Measure everything and print each line as it comes."""
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
    """Return the markdown table of an axis: a row for each stage and quantity."""
    head = ["stage", "", *(f"{axis.name} = {size:,}" for size in axis.sizes), "growth", "off by"]
    rows = [head, ["---"] * len(head)]
    for stage in axis.stages:
        found = [line for line in lines if (line["axis"], line["stage"]) == (axis.name, stage)]
        for key, name, factor in QUANTITIES:
            values = [max(line[key] * factor, 1e-9) for line in found]
            if not any(line[key] for line in found):
                continue  # nothing is counted
            unit, symbol = _unit(name, values)
            law = fit(axis.sizes, [value / unit for value in values])
            what = f"{symbol}, peak" if name == "memory" else f"{symbol} {_one(found[0]['per'])}"
            shown = [number(value / unit) for value in values]
            rows.append([stage, what, *shown, str(law), f"{law.residual:.0%}"])
        rows += _shares(stage, found, machine)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _unit(quantity: str, values: list[float]) -> tuple[float, str]:
    """Return the largest unit of which the middle value is at least one, or the smallest."""
    units, middle = UNITS[quantity], sorted(values)[len(values) // 2]
    return next((unit for unit in units if middle >= unit[0]), units[-1])


def _one(thing: str) -> str:
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"


def _shares(stage: str, found: list[Line], machine: Line) -> list[list[str]]:
    """Return the row of the shares of the machine's ceiling, if operations are counted."""
    if not any(line["flops"] for line in found):
        return []
    ceiling = machine["fp32_gflops" if stage in ("bank", "parse") else "low_gflops"] * 1e9
    shares = [f"{line['flops'] / line['seconds'] / ceiling:.2f}" for line in found]
    return [[stage, "share of ceiling", *shares, "", ""]]


def report(lines: list[Line], axes: tuple[Axis, ...]) -> str:
    """Return the part of docs/scaling.md that is measured."""
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
    """Measure the axes named on the command line, or all; then count a million images."""
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
