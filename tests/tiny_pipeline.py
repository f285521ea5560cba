"""Fixtures: the tiny stages, artifacts made by them, and ways to interrupt them."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from npdraw.config import ParseConfig
from tests.tiny_stages import TEST, TRAIN, VALIDATION, Recorder, Stages, bars


@dataclass(frozen=True)
class Made:
    """Artifacts that tests only read."""

    folder: Path
    parse: Path
    prior: Path
    model: Path
    results: dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    npz = tmp_path_factory.mktemp("images") / "bars.npz"
    np.savez(npz, train=bars(TRAIN + VALIDATION, 1), test=bars(TEST, 2))
    return Stages(npz)


def _make(stages: Stages, folder: Path) -> Made:
    made = Made(folder, *(folder / f"{kind}.safetensors" for kind in KINDS), results={})
    made.results["parse"] = stages.parse(made.parse)
    made.results["prior"] = stages.train_prior(made.parse, made.prior)
    made.results["model"] = stages.train_decoder(made.parse, made.prior, made.model)
    return made


KINDS = ("parse", "prior", "model")


@pytest.fixture(scope="session")
def made(stages: Stages, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The artifacts of four training steps."""
    return _make(stages, tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def trained(stages: Stages, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The artifacts of enough training steps for a model that distinguishes images."""
    fast = {"steps": 60, "learning_rate": 1e-2}
    longer = stages.configured(prior=fast, decoder={**fast, "encoder_learning_rate": 3e-3})
    return _make(longer, tmp_path_factory.mktemp("trained"))


@pytest.fixture
def interrupt() -> Callable[..., Recorder]:
    """Return a function that makes a `Progress` which sends this process a signal at a step."""

    def at_step(step: int, number: int = signal.SIGINT) -> Recorder:
        sent: list[int] = []

        def at(done: int) -> None:
            if done == step and not sent:
                sent.append(done)
                os.kill(os.getpid(), number)

        return Recorder(at)

    return at_step


@pytest.fixture
def crash() -> Callable[[int], Recorder]:
    """Return a function that makes a `Progress` which ends the work at a step, as a kill would."""

    def at_step(step: int) -> Recorder:
        def at(done: int) -> None:
            if done == step:
                raise GeneratorExit  # not an `Exception`: nothing catches it

        return Recorder(at)

    return at_step


@pytest.fixture
def metrics() -> Callable[[Path], list[dict[str, float]]]:
    """Return a function that reads the metrics log of an output, without the seconds."""

    def read(out: Path) -> list[dict[str, float]]:
        text = out.with_name(out.name + ".run").joinpath("metrics.jsonl").read_text()
        records = [json.loads(line) for line in text.splitlines()]
        return [{k: v for k, v in record.items() if k != "seconds"} for record in records]

    return read


@pytest.fixture
def slow_paint() -> Callable[..., NDArray[np.float64]]:
    """Return a painter that follows docs/model.md, sections 1 and 4, literally, with "max"."""

    def paint(
        whether: Any, where: Any, what: Any, bank: Any, config: ParseConfig
    ) -> NDArray[np.float64]:
        """Drawings [N, T] and bank [K, C, P, P] -> canvas images [N, C, H, W]."""
        side, part, stride, jitter = (
            config.image_size,
            config.part_size,
            config.stride,
            config.jitter,
        )
        cells = -(-side // stride)
        span = (cells - 1) * stride + part + jitter - 1
        first = -((span - side) // 2)
        canvas = np.zeros((len(whether), config.channels, side, side))
        for n, t in np.argwhere(np.asarray(whether)):
            placement = int(where[n][t])
            top = first + t // cells * stride + placement // jitter
            left = first + t % cells * stride + placement % jitter
            for y in range(max(top, 0), min(top + part, side)):
                for x in range(max(left, 0), min(left + part, side)):
                    ink = np.asarray(bank[int(what[n][t])])[:, y - top, x - left]
                    canvas[n, :, y, x] = np.maximum(canvas[n, :, y, x], ink)
        return canvas

    return paint
