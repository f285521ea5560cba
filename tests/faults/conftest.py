"""The server of cases, and a small pipeline whose artifacts tests copy and break."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.faults.cases import Cases, Ended

SCALE = int(os.environ.get("NPDRAW_FAULTS", "1"))
"""Factor on the number of cases of the short form; `make test-faults` sets it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Shuffle the tests of this folder if NPDRAW_ORDER is a number: all must be independent."""
    order = os.environ.get("NPDRAW_ORDER")
    if order:
        here = [item for item in items if item.path.parent == Path(__file__).parent]
        shuffled = iter(random.Random(int(order)).sample(here, len(here)))
        items[:] = [next(shuffled) if item in here else item for item in items]


@pytest.fixture(scope="session")
def scale() -> int:
    """Return the factor on the number of cases of the short form."""
    return SCALE


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    """Run commands in forks of one process that has imported torch."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the server, before it imports torch
    return Cases(tmp_path_factory.mktemp("cases"))


@dataclass(frozen=True)
class Chain:
    """A folder with `bars.npz`, `tiny.toml` and, made from them, all artifacts of a pipeline."""

    folder: Path
    cases: Cases

    NAMES = ("parse.safetensors", "prior.safetensors", "model.safetensors")
    STAGES = (
        ("parse", "--data", "npz:bars.npz", "--config", "tiny.toml", "--out", NAMES[0]),
        ("train-prior", NAMES[0], "--config", "tiny.toml", "--out", NAMES[1]),
        ("train-decoder", *NAMES[:2], "--config", "tiny.toml", "--out", NAMES[2]),
    )
    """The commands that make them, each from the outputs of the earlier ones."""

    def copy(self, to: Path, *names: str) -> Path:
        """Copy images, settings, and these artifacts with their run folders to a folder."""
        to.mkdir(parents=True, exist_ok=True)
        for name in ("bars.npz", "tiny.toml", *names):
            shutil.copy(self.folder / name, to / name)
            beside = self.folder / f"{name}.run"
            if beside.is_dir():
                shutil.copytree(beside, to / beside.name, dirs_exist_ok=True)
        return to

    def run(self, *arguments: str | Path, folder: Path, **more: Any) -> Ended:
        """Run a command in `folder` that must succeed."""
        ended = self.cases.run(*arguments, folder=folder, **more)
        assert ended.code == 0, ended.shown
        return ended


@pytest.fixture(scope="session")
def chain(
    cases: Cases,
    bars: Callable[[int], np.ndarray],
    tiny_settings: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Chain:
    """Return the artifacts of a pipeline on 60 images of bars, made once."""
    folder = tmp_path_factory.mktemp("chain")
    images = bars(84)
    np.savez(folder / "bars.npz", train=images[:60], test=images[60:])
    few = {"steps": 4}
    (folder / "tiny.toml").write_text(tiny_settings(prior=few, decoder=few))
    made = Chain(folder, cases)
    for stage in Chain.STAGES:
        made.run(*stage, folder=folder)
    return made


@pytest.fixture
def records() -> Callable[[Path], list[dict[str, Any]]]:
    """Return a function that reads the log of an output, without the seconds."""

    def read(out: Path) -> list[dict[str, Any]]:
        text = (out.with_name(f"{out.name}.run") / "metrics.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        return [{k: v for k, v in record.items() if k != "seconds"} for record in lines]

    return read


@pytest.fixture
def no_leftovers() -> Callable[[Path], Iterator[Path]]:
    """Return a function that finds temporary files below a folder."""
    return lambda folder: folder.rglob("*.tmp")
