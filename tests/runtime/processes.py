"""Running npdraw in two processes, or in this one, with the same arguments."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from npdraw.cli import execute

UNEVEN = {
    "prior": {"batch_size": 9},
    "decoder": {
        "batch_size": 9,
        "hard_fraction": 0.7,
        "wake": 0.25,
        "deform": 0.1,
        "decoder_alone": 1,
    },
}
"""The last of four steps is in the wake phase. Nine images are shared unevenly, and some of the six
hard ones belong to the second process."""

FEW, MANY = 4, 120
"""Training steps."""

RUNTIME = ("--device", "cpu", "--precision", "fp32", "--threads", "1", "--json")
TIMEOUT = 120
RUN = ("run", "--data", "npz:bars.npz", "--config", "config.toml", "--samples", "3")


def command(*arguments: str) -> list[str]:
    """Return the command that runs two processes of npdraw."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launch, "--nproc-per-node", "2", "-m", "npdraw", *arguments, *RUNTIME]


def two(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    # With OMP_NUM_THREADS set, torchrun does not warn that it sets it.
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def one(*arguments: str, cwd: Path) -> None:
    """Run npdraw with these arguments in this process."""
    here = Path.cwd()
    os.chdir(cwd)
    try:
        assert execute([*arguments, *RUNTIME]) == 0
    finally:
        os.chdir(here)


def records(out: Path) -> list[dict[str, float]]:
    lines = out.with_name(out.name + ".run").joinpath("metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def close(a: list[dict[str, float]], b: list[dict[str, float]]) -> bool:
    """Return whether all metrics agree to a relative 1e-5."""
    return len(a) == len(b) and all(
        x == pytest.approx(y, rel=1e-5, abs=1e-9) for x, y in zip(a, b, strict=True)
    )
