"""The output of a stage and the folder `OUT.run/` beside it: settings, log, what is done.

The same command again goes on or reports that its output is up to date; output that is there with
other settings is refused unless forced (docs/interface.md, rule 7).
"""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from npdraw.errors import ArtifactError, UsageError
from npdraw.files import write_atomic
from npdraw.header import Header, read_header
from npdraw.run_key import RunKey
from npdraw.runtime.distributed import on_rank_zero
from npdraw.runtime.group import SINGLE_PROCESS, Group
from npdraw.runtime.lock import lock, run_folder

CHECKPOINT = "checkpoint.safetensors"
"""In the run folder: what is done so far."""

_RESULT = "result.json"
"""In the run folder: what the finished run told."""


@contextmanager
def locked(out: Path, *inputs: Path, group: Group = SINGLE_PROCESS) -> Iterator[Path]:
    """Hold the lock of an output and yield its run folder; in a group the first process holds it.

    Errors and `inputs` as `lock`.
    """
    with ExitStack() as stack:
        on_rank_zero(group, lambda: str(stack.enter_context(lock(out, inputs))))
        yield run_folder(out)


def finished(out: Path, kind: str, run_key: RunKey, *, force: bool) -> Header | None:
    """Return the header of `out` if it is up to date, None if it is to be made, as when forced.

    Raises:
        UsageError: it exists with other settings, and `force` is not given.
        ArtifactError: something else is there, and `force` is not given.
    """
    if force or not out.exists():
        return None
    try:
        header = read_header(out, kind=kind, verify=True)
    except ArtifactError as error:
        raise ArtifactError(error.message, hint="--force replaces it.") from error
    _check_same(out, header, run_key)
    return header


def begun(folder: Path, run_key: RunKey) -> bool:
    """Whether the run folder holds this run, not yet at its end.

    So what was begun with `force` goes on without it, whatever its output still is.

    Raises:
        ArtifactError: the checkpoint is damaged, or the folder holds what no run has left there:
            through a link something elsewhere would be written over.
    """
    for path in folder.iterdir():
        if path.is_symlink() or not path.is_file():
            raise ArtifactError(
                f"{path} is not a regular file", hint="Remove it, or --force starts afresh."
            )
    checkpoint = folder / CHECKPOINT
    if not _is_there(checkpoint) or (folder / _RESULT).exists():
        return False
    return not run_key.differences(read_header(checkpoint, kind="checkpoint", verify=True))


def resumable(checkpoint: Path, out: Path, run_key: RunKey, *, force: bool) -> bool:
    """Whether a checkpoint continues this run; `UsageError` if it has other settings, unforced.

    Forced, the run starts afresh: no checkpoint is looked at, be it damaged.
    """
    if force or not _is_there(checkpoint):
        return False
    _check_same(out, read_header(checkpoint, kind="checkpoint", verify=True), run_key)
    return True


def resume_or_clear(
    folder: Path, out: Path, run_key: RunKey, *, force: bool, group: Group = SINGLE_PROCESS
) -> bool:
    """Return whether the checkpoint in the run folder continues this run; if not, clear the folder.

    Rank zero decides for its group. All processes then read the checkpoint, so they must see the
    same folder, on one machine or a shared file system. Errors as `resumable`.
    """

    def decide() -> bool:
        resumes = resumable(folder / CHECKPOINT, out, run_key, force=force)
        if not resumes:
            clear(folder)
        return resumes

    decision: bool = on_rank_zero(group, decide)
    return decision


def _is_there(path: Path) -> bool:
    """Whether there is anything of this name, be it a link that leads nowhere."""
    return path.exists() or path.is_symlink()


def _check_same(out: Path, header: Header, run_key: RunKey) -> None:
    differences = run_key.differences(header)
    if differences:
        raise UsageError(
            f"{out} exists with other settings: {'; '.join(differences[:4])}",
            hint="--force starts it afresh; --out writes elsewhere.",
        )


def up_to_date(
    folder: Path,
    out: Path,
    kind: str,
    run_key: RunKey,
    *,
    force: bool,
    group: Group = SINGLE_PROCESS,
) -> dict[str, Any] | None:
    """Return the result of the finished run if `out` is up to date, None if it is to be made.

    The first process of a group looks; errors as `finished`.
    """

    def look() -> dict[str, Any] | None:
        if force or begun(folder, run_key):  # forced, no checkpoint is looked at, be it damaged
            return None
        header = finished(out, kind, run_key, force=False)
        return None if header is None else repeated(folder, header, out)

    found: dict[str, Any] | None = on_rank_zero(group, look)
    return found


def repeated(folder: Path, header: Header, out: Path) -> dict[str, Any]:
    """Return the result of the finished run whose output is up to date."""
    result = {"seconds": None} | read_json(folder / _RESULT) | header.metrics
    return result | {"out": str(out), "up_to_date": True}


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Keep what a finished run told, for the next time: with this it is finished."""
    write_json(folder / _RESULT, result)


def clear(folder: Path) -> None:
    """Remove everything in a run folder but the lock."""
    for entry in folder.iterdir():
        if entry.name == "lock":
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file atomically, for people and later commands to read."""
    write_atomic(path, [json.dumps(value, indent=2).encode() + b"\n"])


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of ours; empty if it is missing or damaged: it only helps."""
    try:
        value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


class MetricsLog:
    """`metrics.jsonl`: one JSON object a line, appended while training."""

    def __init__(self, path: Path, *, step: int, group: Group = SINGLE_PROCESS) -> None:
        """Open the log and cut it back to the records up to `step`, where the run goes on.

        Only the first process of a group writes.
        """
        self.path, self._writes = path, group.is_rank_zero
        self._began = time.perf_counter()
        if self._writes:
            self._cut(step)

    def _cut(self, step: int) -> None:
        path = self.path
        lines = path.read_bytes().splitlines() if path.exists() else []
        kept: list[dict[str, Any]] = []
        for line in lines if step else []:  # step 0 is judged, and told, again
            try:
                record = json.loads(line)
                if record["step"] > step:
                    break
            except (ValueError, TypeError, KeyError, RecursionError):
                break  # the line that a kill cut short; nothing follows it
            kept.append(record)
        write_atomic(path, [json.dumps(record).encode() + b"\n" for record in kept])
        self._began -= kept[-1]["seconds"] if kept else 0.0

    @property
    def seconds(self) -> float:
        """Seconds of work on this run, what earlier processes logged included."""
        return time.perf_counter() - self._began

    def append(self, step: int, **figures: float) -> None:
        """Add a record."""
        if not self._writes:
            return
        record = {"step": step, "seconds": round(self.seconds, 3), **figures}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())  # before a checkpoint that goes on from here
