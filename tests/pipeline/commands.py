"""The arguments of the commands that the tests of the pipeline run."""

from collections.abc import Callable
from typing import Any

STEPS = 200
"""Training steps of the decoder: some seconds, long enough to be killed in between."""

RUNTIME = ("--device", "cpu", "--precision", "fp32", "--threads", "1", "--quiet")

Command = Callable[..., tuple[int, dict[str, Any]]]
"""Runs a command; returns its exit code and what it printed as JSON."""


def arguments(name: str, config: str = "config.toml") -> list[str]:
    """Return the arguments that make `p.safetensors`, `q.safetensors` or `m.safetensors`."""
    common = ["--config", config, "--json", *RUNTIME]
    return {
        "parse": ["--data", "npz:bars.npz", "--out", "p.safetensors", *common],
        "train-prior": ["--out", "q.safetensors", *common],
        "train-decoder": ["p.safetensors", "q.safetensors", "--out", "m.safetensors", *common],
    }[name]
