"""A data set of bars, settings so small that a stage takes a moment, and the stages with them."""

import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from npdraw.config import Config, DecoderConfig, ParseConfig, PriorConfig
from npdraw.runtime.settings import Runtime
from npdraw.stages.eval_nll import eval_nll
from npdraw.stages.parse import parse
from npdraw.stages.run import run
from npdraw.stages.sample import sample
from npdraw.stages.train_decoder import train_decoder
from npdraw.stages.train_prior import train_prior

TRAIN, VALIDATION, TEST = 40, 20, 24
STEPS = 4

CONFIG = Config(
    preset="glyphs",
    data="npz",
    parse=ParseConfig(image_size=8, part_size=4, stride=4, jitter=2, parts=8),
    prior=PriorConfig(
        width=16, depth=1, heads=2, head_width=8, mlp_width=32, steps=STEPS, batch_size=8
    ),
    decoder=DecoderConfig(
        encoder_channels=8,
        encoder_depth=1,
        decoder_channels=(8, 16),
        decoder_depth=1,
        steps=STEPS,
        batch_size=8,
        wake=0.25,
    ),
)


class Recorder:
    """A silent `Progress` that keeps what it is told; `at` is called with each new count."""

    def __init__(self, at: Callable[[int], None] | None = None) -> None:
        self.at = at
        self.tasks: list[tuple[str, int, dict[str, Any]]] = []
        self.counts: list[int] = []
        self.figures: list[dict[str, float]] = []
        self.notes: list[str] = []

    def start(self, title: str, total: int, **named: Any) -> None:
        self.tasks.append((title, total, named))

    def update(self, done: int, **figures: float) -> None:
        self.counts.append(done)
        self.figures.append(figures)
        if self.at is not None:
            self.at(done)

    def finish(self) -> None:
        self.counts.append(-1)

    def note(self, text: str) -> None:
        self.notes.append(text)


def bars(count: int, seed: int) -> NDArray[np.uint8]:
    """Grey images [count, 8, 8] of an upright and a level bar each."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, 8, 8), np.uint8)
    for image in images:
        top, left = rng.integers(0, 5, 2)
        image[top : top + 4, left : left + 2] = rng.integers(120, 256)
        top, left = rng.integers(0, 5, 2)
        image[top : top + 2, left : left + 4] = rng.integers(120, 256)
    return images


@dataclass(frozen=True)
class Stages:
    """The stages with everything filled in that a test does not care about."""

    npz: Path
    config: Config = CONFIG

    Recorder = Recorder
    train, validation, test = TRAIN, VALIDATION, TEST

    @property
    def source(self) -> str:
        return f"npz:{self.npz}"

    def configured(self, **sections: Mapping[str, Any]) -> "Stages":
        """The same with other settings: `configured(prior={"steps": 2})`."""
        changed = {
            name: replace(getattr(self.config, name), **values) for name, values in sections.items()
        }
        return replace(self, config=replace(self.config, **changed))

    def from_images(self, path: Path, train: Any, test: Any = None) -> "Stages":
        """The same with other images, saved at `path`."""
        np.savez(path, train=train, test=bars(TEST, 2) if test is None else test)
        return replace(self, npz=path)

    def parse(
        self,
        out: Path,
        *,
        source: str | None = None,
        limit: int | float | None = None,
        seed: int = 0,
        strict: bool = False,
        progress: Recorder | None = None,
        **runtime: Any,
    ) -> dict[str, Any]:
        return parse(
            self.config,
            source=source or self.source,
            root=self.npz.parent,
            limit=limit,
            seed=seed,
            strict=strict,
            out=out,
            runtime=_runtime(runtime),
            progress=progress or Recorder(),
        )

    def train_prior(
        self,
        parse_path: Path,
        out: Path,
        *,
        changes: Mapping[str, Mapping[str, Any]] | None = None,
        seed: int | None = None,
        progress: Recorder | None = None,
        **runtime: Any,
    ) -> dict[str, Any]:
        return train_prior(
            parse_path,
            changes={"prior": vars(self.config.prior)} if changes is None else changes,
            out=out,
            seed=seed,
            runtime=_runtime(runtime),
            progress=progress or Recorder(),
        )

    def train_decoder(
        self,
        parse_path: Path,
        prior_path: Path,
        out: Path,
        *,
        changes: Mapping[str, Mapping[str, Any]] | None = None,
        source: str | None = None,
        seed: int | None = None,
        progress: Recorder | None = None,
        **runtime: Any,
    ) -> dict[str, Any]:
        return train_decoder(
            parse_path,
            prior_path,
            changes={"decoder": vars(self.config.decoder)} if changes is None else changes,
            source=source,
            root=self.npz.parent,
            out=out,
            seed=seed,
            runtime=_runtime(runtime),
            progress=progress or Recorder(),
        )

    def eval_nll(
        self,
        model_path: Path,
        *,
        source: str | None = None,
        samples: int = 3,
        images: int | None = None,
        estimator: str = "importance",
        seed: int = 0,
        batch_size: int = 100,
        out: Path | None = None,
        progress: Recorder | None = None,
        **runtime: Any,
    ) -> dict[str, Any]:
        return eval_nll(
            model_path,
            source=source,
            root=self.npz.parent,
            samples=samples,
            images=images,
            estimator=estimator,
            seed=seed,
            batch_size=batch_size,
            out=out,
            runtime=_runtime(runtime),
            progress=progress or Recorder(),
        )

    def sample(
        self,
        model_path: Path,
        out: Path,
        *,
        seeds: Sequence[int] = range(3),
        grid: bool = False,
        canvas: bool = False,
        temperature: float = 1.0,
        batch_size: int = 100,
        progress: Recorder | None = None,
        **runtime: Any,
    ) -> dict[str, Any]:
        return sample(
            model_path,
            seeds=list(seeds),
            grid=grid,
            canvas=canvas,
            temperature=temperature,
            batch_size=batch_size,
            out=out,
            runtime=_runtime(runtime),
            progress=progress or Recorder(),
        )

    def run(
        self,
        out: Path,
        *,
        seed: int = 0,
        samples: int = 2,
        images: int | None = None,
        progress: Recorder | None = None,
        **runtime: Any,
    ) -> dict[str, Any]:
        return run(
            self.config,
            source=self.source,
            root=self.npz.parent,
            limit=None,
            seed=seed,
            samples=samples,
            images=images,
            out=out,
            runtime=_runtime(runtime),
            progress=progress or Recorder(),
        )


def _runtime(given: dict[str, Any]) -> Runtime:
    # One thread is fastest for shapes this small, and does not suffer from a busy machine.
    return Runtime(**{"device": "cpu", "precision": "fp32", "threads": 1, **given})


@dataclass(frozen=True)
class Made:
    """Artifacts that tests read and never write."""

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
    """The artifacts of enough training steps for a model that tells images apart."""
    fast = {"steps": 60, "learning_rate": 1e-2}
    longer = stages.configured(prior=fast, decoder={**fast, "encoder_learning_rate": 3e-3})
    return _make(longer, tmp_path_factory.mktemp("trained"))


@pytest.fixture
def interrupt() -> Callable[..., Recorder]:
    """Return a maker of `Progress` that sends a signal to this process at one step."""

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
    """Return a maker of `Progress` that ends the process's work at one step, as a kill would."""

    def at_step(step: int) -> Recorder:
        def at(done: int) -> None:
            if done == step:
                raise GeneratorExit  # no error of any kind: nothing catches it

        return Recorder(at)

    return at_step


@pytest.fixture
def metrics() -> Callable[[Path], list[dict[str, float]]]:
    """Return a reader of the log beside an output, without the seconds."""

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
