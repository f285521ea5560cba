"""Long trainings do not leak: neither memory nor the number of open files grows."""

import os
from pathlib import Path

import numpy as np
import pytest

from npdraw.training import loss
from tests.faults.conftest import SCALE, Chain

STEPS = 5000 if SCALE > 1 else 600


def sampled(path: str, every: int) -> None:
    """Record resident megabytes and open files at every `every`th step."""
    optimizer_step, count = loss.optimizer_step, [0]

    def watched(*given: object, **more: object) -> object:
        count[0] += 1
        if count[0] % every == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
            with Path(path).open("a") as file:
                file.write(f"{pages * os.sysconf('SC_PAGE_SIZE') / 2**20} {files}\n")
        return optimizer_step(*given, **more)  # type: ignore[arg-type]

    loss.optimizer_step = watched  # type: ignore[assignment]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_memory_and_open_files_of_a_long_training_do_not_grow(
    precision: str, chain: Chain, tmp_path: Path
) -> None:
    folder, report = chain.copy(tmp_path / "w", "parse.safetensors"), tmp_path / "report"
    words = ("train-prior", "parse.safetensors", "--steps", str(STEPS), "--config", "tiny.toml")
    words += ("--precision", precision)
    faults = [(sampled, (str(report), STEPS // 100))]
    chain.run(*words, "--out", "x", folder=folder, faults=faults, timeout=600)
    memory, files = np.loadtxt(report)[20:].T  # without the first fifth, while caches fill
    steps = np.arange(len(memory)) * (STEPS // 100)
    # The lower quartile of slopes between any two points: a leak shows in it, one jump does not.
    early, late = np.triu_indices(len(memory), 1)
    slopes = (memory[late] - memory[early]) / (steps[late] - steps[early])
    assert np.quantile(slopes, 0.25) * 1000 <= 1.0 + (SCALE == 1) * 4, memory
    assert len(set(files)) == 1
