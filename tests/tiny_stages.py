"""Every stage, on a data set of bars and with settings so small that it takes a moment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npdraw.config import BATCH_SIZE, Config, ParseConfig, PriorConfig
from npdraw.decoder_config import DecoderConfig
from npdraw.reading import Reading
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


INK = {
    "image_size": 8,
    "channels": 3,
    "binarize": False,
    "jitter": 1,
    "finer": (2,),
    "inks": 4,
    "contrasts": 2,
    "threshold": 0.02,
}
"""Settings of the parse of colour images of 8 x 8 pixels with strokes of two sizes."""


def squares(count: int, seed: int) -> NDArray[np.uint8]:
    """Return colour images [count, 8, 8, 3] of four squares, each with a bright corner."""
    rng = np.random.default_rng(seed)
    palette = np.array([[180, 30, 30], [30, 160, 60], [20, 60, 200], [190, 180, 40]])
    images = palette[rng.integers(0, 4, (count, 2, 2))].repeat(4, 1).repeat(4, 2)
    images[:, 0:2, 0:2] += 50
    images[:, 4:6, 6:8] += rng.integers(0, 50, (count, 1, 1, 1))
    return images.astype(np.uint8)


class Recorder:
    """A silent `Progress` that records its calls; `at` is called with each new count."""

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
    """Return grey images [count, 8, 8], each of a vertical and a horizontal bar."""
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
    """The stages, with defaults for every argument that a test does not care about."""

    npz: Path
    config: Config = CONFIG

    Recorder = Recorder
    train, validation, test = TRAIN, VALIDATION, TEST

    @property
    def source(self) -> str:
        return f"npz:{self.npz}"

    def configured(self, **sections: Mapping[str, Any]) -> "Stages":
        """Return the stages with other settings: `configured(prior={"steps": 2})`."""
        changed = {
            name: replace(getattr(self.config, name), **values) for name, values in sections.items()
        }
        return replace(self, config=replace(self.config, **changed))

    def from_images(self, path: Path, train: Any, test: Any = None) -> "Stages":
        """Return the stages with other images, saved at `path`."""
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
        reading: Reading | None = None,
        fewer_parts: bool = False,
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
            reading=reading,
            fewer_parts=fewer_parts,
            out=out,
            runtime=tiny_runtime(runtime),
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
            runtime=tiny_runtime(runtime),
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
            runtime=tiny_runtime(runtime),
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
        batch_size: int = BATCH_SIZE,
        out: Path | None = None,
        given_labels: bool = False,
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
            given_labels=given_labels,
            runtime=tiny_runtime(runtime),
            progress=progress or Recorder(),
        )

    def sample(
        self,
        model_path: Path,
        out: Path,
        *,
        seeds: Sequence[int] = range(3),
        label: str | None = None,
        candidates: int = 1,
        grid: bool = False,
        canvas: bool = False,
        temperature: float = 1.0,
        batch_size: int = BATCH_SIZE,
        progress: Recorder | None = None,
        **runtime: Any,
    ) -> dict[str, Any]:
        return sample(
            model_path,
            seeds=list(seeds),
            label=label,
            candidates=candidates,
            grid=grid,
            canvas=canvas,
            temperature=temperature,
            batch_size=batch_size,
            out=out,
            runtime=tiny_runtime(runtime),
            progress=progress or Recorder(),
        )

    def run(
        self,
        out: Path,
        *,
        seed: int = 0,
        samples: int = 2,
        images: int | None = None,
        minutes: float | None = None,
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
            minutes=minutes,
            out=out,
            runtime=tiny_runtime(runtime),
            progress=progress or Recorder(),
        )


def tiny_runtime(given: dict[str, Any]) -> Runtime:
    # One thread is fastest for shapes this small, and least affected by a busy machine.
    return Runtime(**{"device": "cpu", "precision": "fp32", "threads": 1, **given})
