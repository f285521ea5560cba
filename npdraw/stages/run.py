"""Run all stages one after another, each doing only what is not up to date."""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from npdraw.config import BATCH_SIZE, SECTIONS, Config, as_dict
from npdraw.datasets import parse_source
from npdraw.errors import UsageError
from npdraw.header import read_header
from npdraw.inputs.brushes import brush_of, table_shapes
from npdraw.inputs.images import check_test_images
from npdraw.inputs.models import new_model
from npdraw.reading import Reading
from npdraw.runtime.distributed import check_batch, on_rank_zero, process_group
from npdraw.runtime.group import environment
from npdraw.runtime.progress import Progress
from npdraw.runtime.settings import Runtime
from npdraw.stages.eval_nll import eval_nll
from npdraw.stages.parse import parse
from npdraw.stages.plan import planned, with_steps
from npdraw.stages.sample import sample
from npdraw.stages.train_decoder import train_decoder
from npdraw.stages.train_prior import train_prior
from npdraw.training.state import plan

PARSE, PRIOR, MODEL = "parse.safetensors", "prior.safetensors", "model.safetensors"
"""Files in the folder of a run."""

SAMPLES_SHOWN = 100
"""Samples on the sheet: one for each seed from 0."""


def run(
    config: Config,
    *,
    source: str,
    root: Path,
    limit: int | float | None,
    seed: int,
    strict: bool = False,
    reading: Reading | None = None,
    notes: Sequence[str] = (),
    fewer_parts: bool = False,
    minutes: float | None = None,
    samples: int,
    images: int | None,
    out: Path,
    runtime: Runtime,
    progress: Progress,
) -> dict[str, Any]:
    """Run the pipeline into the folder `out`; return the result of each stage by its name.

    Processes started by torchrun share every stage except sampling, which rank zero does alone.

    Fifteen parameters, because each is a flag of the command or follows from some; the body is
    long because it lists the calls of the stages.
    """
    if images is not None:
        check_test_images(parse_source(source), root, config.parse, images, reading)
    progress = NotesOnce(progress)
    with process_group(runtime.start()) as group:
        results = train(
            config,
            source=source,
            root=root,
            limit=limit,
            seed=seed,
            strict=strict,
            reading=reading,
            notes=notes,
            fewer_parts=fewer_parts,
            minutes=minutes,
            out=out,
            runtime=runtime,
            progress=progress,
        )
        if runtime.dry_run:
            return results
        path = out / MODEL

        results["eval_nll"] = eval_nll(
            path,
            source=source,
            root=root,
            samples=samples,
            images=images,
            estimator="importance",
            seed=seed,
            batch_size=BATCH_SIZE,
            out=out / "eval.json",
            runtime=runtime,
            progress=progress,
        )

        results["sample"] = on_rank_zero(
            group,
            lambda: sample(
                path,
                seeds=list(range(SAMPLES_SHOWN)),
                grid=True,
                canvas=False,
                temperature=1.0,
                batch_size=BATCH_SIZE,
                out=out / "samples.png",
                runtime=runtime,
                progress=progress,
            ),
        )
        return {**results, "out": str(out)}


def train(
    config: Config,
    *,
    source: str,
    root: Path,
    limit: int | float | None,
    seed: int,
    strict: bool = False,
    reading: Reading | None = None,
    notes: Sequence[str] = (),
    fewer_parts: bool = False,
    minutes: float | None = None,
    out: Path,
    runtime: Runtime,
    progress: Progress,
) -> dict[str, Any]:
    """Run the stages that make a model, into the folder `out`; return their results by their names.

    With `minutes`, the trainings have as many steps as end after that time (`plan.planned`). With
    `runtime.dry_run`, return what `npdraw run --dry-run` prints. Thirteen parameters and a long
    body as for `run`.
    """
    began = time.perf_counter()
    for section in (config.prior, config.decoder):
        check_batch(environment(), section.batch_size)
    if minutes is not None and environment().size > 1:
        raise UsageError(
            "--minutes times the steps of one process, but there are several",
            hint="Use --steps with torchrun.",
        )
    progress = NotesOnce(progress)
    with process_group(runtime.start()):
        results: dict[str, Any] = {}

        results["parse"] = parse(
            config,
            source=source,
            root=root,
            limit=limit,
            seed=seed,
            strict=strict,
            reading=reading,
            notes=notes,
            fewer_parts=fewer_parts,
            out=out / PARSE,
            runtime=runtime,
            progress=progress,
        )
        if fewer_parts:
            config = _with_parts(config, out / PARSE, results["parse"])
        if runtime.dry_run:
            return _plan(config, out)
        if minutes is not None:
            steps = planned(
                config,
                out / PARSE,
                minutes,
                began,
                source=source,
                root=root,
                runtime=runtime,
                progress=progress,
            )
            config = with_steps(config, *steps)
        changes = {section: asdict(getattr(config, section)) for section in SECTIONS}

        results["train_prior"] = train_prior(
            out / PARSE,
            changes=changes,
            out=out / PRIOR,
            seed=seed,
            runtime=runtime,
            progress=progress,
        )

        results["train_decoder"] = train_decoder(
            out / PARSE,
            out / PRIOR,
            changes=changes,
            source=source,
            root=root,
            out=out / MODEL,
            seed=seed,
            runtime=runtime,
            progress=progress,
        )
        return results


class NotesOnce:
    """A `Progress` that shows a note once, though several stages read the same images."""

    def __init__(self, progress: Progress) -> None:
        self.start, self.update, self.finish = progress.start, progress.update, progress.finish
        self._note = progress.note
        self._shown: set[str] = set()

    def note(self, text: str) -> None:
        """Show a note, unless it was shown before."""
        if text not in self._shown:
            self._shown.add(text)
            self._note(text)


def _with_parts(config: Config, path: Path, result: dict[str, Any]) -> Config:
    """Return the settings with the number of parts that the parse has, or would have."""
    stored = result["settings"] if result.get("dry_run") else read_header(path).config
    return replace(config, parse=replace(config.parse, parts=stored["parse"]["parts"]))


def _plan(config: Config, out: Path) -> dict[str, Any]:
    """Return what `--dry-run` prints: all settings, and the estimates of train-decoder."""
    tables = {name: torch.zeros(shape) for name, shape in table_shapes(config.parse).items()}
    steps, batch_size = config.decoder.steps, config.decoder.batch_size
    return plan(
        new_model(config, brush_of(config.parse, tables)), as_dict(config), steps, batch_size, out
    )
