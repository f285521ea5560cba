"""The figures of an unfinished evaluation, saved and resumed (docs/interface.md, rule 7).

They are always those of the first images, in order, so that the result depends neither on when
they were saved nor on how many processes resume.
"""

import time
from pathlib import Path

import torch
from torch import Tensor

from npdraw.artifacts import (
    Expected,
    check_count,
    check_tensors,
    read_artifact,
    unfit_error,
    write_artifact,
)
from npdraw.run_key import RunKey
from npdraw.runtime.distributed import on_rank_zero
from npdraw.runtime.group import Group
from npdraw.runtime.run_folder import CHECKPOINT, resume_or_clear

EVERY = 60.0
"""Seconds of work between saves."""


class EvalCheckpoint:
    """The figures of the first `done` images, equal in every process of the group."""

    def __init__(self, images: int, figures: int, group: Group) -> None:
        """Start with no image; nothing is saved before `resume` names a folder."""
        self.figures = torch.zeros(images, figures, dtype=torch.float64)
        self.done = 0
        self._group = group
        self._path: Path | None = None
        self._run_key = RunKey({}, {}, {}, 0)
        self._began = self._saved = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds of work on these figures, including those of earlier, resumed processes."""
        return time.perf_counter() - self._began

    def resume(self, out: Path, folder: Path, run_key: RunKey, *, force: bool) -> None:
        """Resume from the run folder of `out`, or clear it; `save` then writes to this folder.

        Errors as for `run_folder.resume_or_clear`, and `ArtifactError` for figures that are not of
        such an evaluation.
        """
        self._path, self._run_key = folder / CHECKPOINT, run_key
        if resume_or_clear(folder, out, run_key, force=force, group=self._group):
            self._load(self._path)

    def add(self, figures: Tensor) -> None:
        """Add the figures of the next N images, float64 [N, figures]."""
        self.figures[self.done : self.done + len(figures)] = figures
        self.done += len(figures)

    def save(self, *, now: bool) -> None:
        """Save the figures if the last save is `EVERY` seconds ago, or `now`; rank zero writes."""
        path = self._path
        if path is None:
            return

        def write() -> None:
            if now or time.perf_counter() - self._saved >= EVERY:
                self._write(path)
                self._saved = time.perf_counter()

        on_rank_zero(self._group, write)

    def _write(self, path: Path) -> None:
        # As integers with the same bits: a figure may be infinite, which an artifact refuses.
        write_artifact(
            path,
            "checkpoint",
            {"figures": self.figures[: self.done].view(torch.int64)},
            run_key=self._run_key,
            metrics={"images": self.done, "seconds": self.seconds},
        )

    def _load(self, path: Path) -> None:
        artifact = read_artifact(path, kind="checkpoint")
        images = check_count(artifact, "images", len(self.figures))
        check_tensors(artifact, {"figures": Expected((images, self.figures.shape[1]), ["int64"])})
        seconds = artifact.header.metrics.get("seconds", -1.0)
        if seconds < 0:
            raise unfit_error(artifact, "its metric seconds is missing or negative")
        self.add(artifact.tensors["figures"].view(torch.float64))
        self._began -= seconds
