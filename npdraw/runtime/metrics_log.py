"""`metrics.jsonl`: the log of a training, one JSON object per line."""

import json
import os
import time
from pathlib import Path
from typing import Any

from npdraw.files import write_atomic
from npdraw.runtime.board import Board
from npdraw.runtime.group import SINGLE_PROCESS, Group


class MetricsLog:
    """The log of a training, appended to while it runs; in a group only rank zero writes.

    A board shows the same figures.
    """

    def __init__(
        self,
        path: Path,
        *,
        step: int,
        group: Group = SINGLE_PROCESS,
        board: Board | None = None,
    ) -> None:
        """Open the log and drop the records after `step`, from which the training resumes."""
        self.path, self._writes, self.board = path, group.is_rank_zero, board
        self._began = time.perf_counter()
        if self._writes:
            self._cut(step)

    def _cut(self, step: int) -> None:
        path = self.path
        lines = path.read_bytes().splitlines() if path.exists() else []
        kept: list[dict[str, Any]] = []
        for line in lines if step else []:  # step 0 is validated and logged again
            try:
                record = json.loads(line)
                if record["step"] > step:
                    break
            except (ValueError, TypeError, KeyError, RecursionError):
                break  # a line cut short by a kill; nothing follows it
            kept.append(record)
        write_atomic(path, [json.dumps(record).encode() + b"\n" for record in kept])
        self._began -= kept[-1]["seconds"] if kept else 0.0

    @property
    def seconds(self) -> float:
        """Seconds of work on this run, including those that earlier processes logged."""
        return time.perf_counter() - self._began

    def curve(self, name: str, until: int) -> list[tuple[int, float]]:
        """Return step and value of each record with the figure `name`, up to the step `until`."""
        records = map(json.loads, self.path.read_text(encoding="utf-8").splitlines())
        return [(r["step"], r[name]) for r in records if name in r and r["step"] <= until]

    def append(self, step: int, **figures: float) -> None:
        """Add a record and sync it to the disk."""
        if not self._writes:
            return
        shown = {"seconds": round(self.seconds, 3), **figures}
        record = {"step": step, **shown}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())  # before a checkpoint that resumes from this step
        if self.board is not None:
            self.board.curves(step, shown)
