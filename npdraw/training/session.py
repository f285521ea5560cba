"""What all training stages do around their loop: lock, resume or start, save, write the result.

A stage that is run again resumes, or reports that its output is up to date (docs/interface.md,
rule 7).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npdraw.artifacts import write_artifact
from npdraw.config import Config
from npdraw.model.brush import Brush, part_usage
from npdraw.model.latents import Latents
from npdraw.run_key import RunKey
from npdraw.runtime.board import BOARD, Board
from npdraw.runtime.distributed import on_rank_zero, process_group
from npdraw.runtime.group import Group
from npdraw.runtime.metrics_log import MetricsLog
from npdraw.runtime.progress import Progress
from npdraw.runtime.run_folder import CHECKPOINT, locked, up_to_date, write_json, write_result
from npdraw.runtime.settings import Runtime
from npdraw.runtime.signals import StopSignal
from npdraw.training.checkpoint import resume, save_checkpoint
from npdraw.training.forecast import gain_if_doubled
from npdraw.training.state import State

GAIN = "gain_if_doubled"
"""The entry of a result that says what twice the steps should gain, in nats."""


@dataclass(frozen=True)
class Session:
    """Everything a training needs besides its model and data, while it holds its output's lock."""

    out: Path
    kind: str
    """Kind of the artifact to write: "prior" or "model"."""
    config: Config
    run_key: RunKey
    device: torch.device
    runtime: Runtime
    progress: Progress
    group: Group
    stop: StopSignal
    folder: Path
    """The run folder, `OUT.run/`."""
    closing: ExitStack
    """What is closed at the end of the session."""
    finished: dict[str, Any] | None
    """The result of the earlier run if the output is up to date, else None."""

    @property
    def seed(self) -> int:
        """Seed of the batches and of all noise."""
        return self.run_key.seed

    def autocast(self) -> AbstractContextManager[None]:
        """Compute in the chosen precision within the block."""
        return self.runtime.autocast(self.device)

    def save(self, state: State) -> None:
        """Save a checkpoint; in a group of processes rank zero writes it."""
        save_checkpoint(self.folder / CHECKPOINT, state, self.run_key)


@contextmanager
def training_session(
    out: Path,
    kind: str,
    config: Config,
    run_key: RunKey,
    *,
    inputs: Sequence[Path],
    device: torch.device,
    runtime: Runtime,
    progress: Progress,
) -> Iterator[Session]:
    """Join the process group, lock `out`, listen for signals, and check whether `out` is finished.

    `inputs` are the artifacts read, which must not be overwritten.

    Raises:
        UsageError, BusyError, ArtifactError: see `run_folder.locked` and `run_folder.up_to_date`.
    """
    with (
        process_group(device) as group,
        locked(out, *inputs, group=group) as folder,
        StopSignal(group) as stop,
        ExitStack() as closing,
    ):
        finished = up_to_date(folder, out, kind, run_key, force=runtime.force, group=group)
        if finished is not None and runtime.tensorboard and not (folder / BOARD).exists():
            progress.note(f"{out.name} was finished without a board; --force trains it again")
        yield Session(
            out=out,
            kind=kind,
            config=config,
            run_key=run_key,
            device=device,
            runtime=runtime,
            progress=progress,
            group=group,
            stop=stop,
            folder=folder,
            closing=closing,
            finished=finished,
        )


def resume_or_start(session: Session, state: State, **sources: str) -> MetricsLog:
    """Load the checkpoint if there is one, else clear the run folder; return the open metrics log.

    Training continues at `state.step`. `sources` are paths that later stages look up; they are kept
    in `config.json` beside the settings, never in an artifact.

    Raises:
        UsageError, ArtifactError: see `checkpoint.resume`.
    """
    resume(state, session.out, session.folder, session.run_key, force=session.runtime.force)
    if session.group.is_rank_zero:
        write_json(session.folder / "config.json", session.run_key.config | sources)
    return MetricsLog(
        session.folder / "metrics.jsonl",
        step=state.step,
        group=session.group,
        board=open_board(session, state.step),
    )


def open_board(session: Session, step: int) -> Board | None:
    """Return the board of a training that resumes from `step`, if it has one; on rank zero only."""
    if not (session.runtime.tensorboard and session.group.is_rank_zero):
        return None
    board = Board(session.folder / BOARD, step=step)
    session.closing.callback(board.close)
    return board


def show_samples(log: MetricsLog, step: int, sheet: Tensor, z: Latents, brush: Brush) -> None:
    """Show a sheet, uint8 [C, height, width], and the use of parts in its drawings on the board."""
    if log.board is not None:
        usage = part_usage(z, brush).view(len(brush.layout.grids), -1)
        log.board.samples(step, sheet, usage.tolist())


def write_finished(
    session: Session,
    log: MetricsLog,
    tensors: Mapping[str, Tensor],
    metrics: Mapping[str, float],
    resumed_from: int,
    score: tuple[str, int],
) -> dict[str, Any]:
    """Write the artifact of a finished training and its result; return the result.

    The artifact records `metrics` only: how long the run took and where it was resumed must not
    change its bytes. The result also has what twice the steps should gain in the `score` of the
    log, which is a name and the step that its curve ends with. In a group of processes rank zero
    writes. Six parameters, because each is part of the result.
    """

    def write() -> dict[str, Any]:
        write_artifact(session.out, session.kind, tensors, run_key=session.run_key, metrics=metrics)
        result: dict[str, Any] = {"seconds": log.seconds, "resumed_from": resumed_from, **metrics}
        result[GAIN] = gain_if_doubled(log.curve(*score))
        write_result(session.folder, result)
        return {**result, "out": str(session.out)}

    written: dict[str, Any] = on_rank_zero(session.group, write)
    return written
