"""The output of a stage, `OUT`, and its run folder `OUT.run/`: settings, log, checkpoint, result.

Running the same command again resumes it, or reports that its output is up to date; output made
with other settings is replaced only with --force (docs/interface.md, rule 7). Every stage goes
through the same steps:

1. `locked`: hold the lock of the output; another process that wants it gets `BusyError`.
2. `up_to_date`: if the output is finished, return the result of that run and stop here.
3. `resume_or_clear`: continue from the checkpoint of this run, or start in an empty run folder.
4. Work, saving the checkpoint and appending to the log (`metrics_log`); on a signal, save and stop.
5. Write the output, and only then `write_result`: with the result the run is finished.

A kill at any moment leaves either the old output or the new one, and a run folder from which the
same command continues.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from npdraw.errors import ArtifactError, UsageError
from npdraw.files import write_atomic
from npdraw.header import Header, read_header
from npdraw.run_key import RunKey
from npdraw.runtime.board import BOARD
from npdraw.runtime.distributed import on_rank_zero
from npdraw.runtime.group import SINGLE_PROCESS, Group
from npdraw.runtime.lock import lock, run_folder

CHECKPOINT = "checkpoint.safetensors"
"""Name in the run folder of what is done so far."""

_RESULT = "result.json"
"""Name in the run folder of the result of the finished run."""


@contextmanager
def locked(out: Path, *inputs: Path, group: Group = SINGLE_PROCESS) -> Iterator[Path]:
    """Hold the lock of an output and yield its run folder; in a group rank zero holds the lock.

    `inputs` and errors as for `lock`.
    """
    with ExitStack() as stack:
        on_rank_zero(group, lambda: str(stack.enter_context(lock(out, inputs))))
        yield run_folder(out)


def finished(out: Path, kind: str, run_key: RunKey, *, force: bool) -> Header | None:
    """Return the header of `out` if it is up to date, or None if it has to be made.

    Raises:
        UsageError: it exists with other settings, and `force` is not given.
        ArtifactError: it exists but is not such an artifact, and `force` is not given.
    """
    if force or not out.exists():
        return None
    try:
        header = read_header(out, kind=kind, verify=True)
    except ArtifactError as error:
        raise ArtifactError(error.message, hint="--force replaces it.") from error
    _check_same(out, header, run_key)
    return header


def is_unfinished(folder: Path, run_key: RunKey) -> bool:
    """Return whether the run folder holds an unfinished run with this key.

    A run started with `force` therefore resumes without it, whatever its output is meanwhile.

    Raises:
        ArtifactError: the checkpoint is damaged, or the folder holds a link or a special file,
            through which a file elsewhere would be overwritten.
    """
    entries = list(folder.iterdir())
    board = folder / BOARD
    if board.is_dir() and not board.is_symlink():
        entries.remove(board)
        entries += board.iterdir()
    for path in entries:
        if path.is_symlink() or not path.is_file():
            raise ArtifactError(
                f"{path} is not a regular file", hint="Remove it, or use --force to start again."
            )
    checkpoint = folder / CHECKPOINT
    if not _exists(checkpoint) or (folder / _RESULT).exists():
        return False
    return not run_key.differences(read_header(checkpoint, kind="checkpoint", verify=True))


def resumable(checkpoint: Path, out: Path, run_key: RunKey, *, force: bool) -> bool:
    """Return whether a checkpoint continues this run; with `force` it is not read, even if damaged.

    Raises:
        UsageError: it has other settings.
        ArtifactError: it is damaged.
    """
    if force or not _exists(checkpoint):
        return False
    _check_same(out, read_header(checkpoint, kind="checkpoint", verify=True), run_key)
    return True


def resume_or_clear(
    folder: Path, out: Path, run_key: RunKey, *, force: bool, group: Group = SINGLE_PROCESS
) -> bool:
    """Return whether the checkpoint in the run folder continues this run; else clear the folder.

    Rank zero decides for its group. All processes then read the checkpoint, so they must see the
    same folder, on one machine or a shared file system. Errors as for `resumable`.
    """

    def decide() -> bool:
        resumes = resumable(folder / CHECKPOINT, out, run_key, force=force)
        if not resumes:
            clear(folder)
        return resumes

    decision: bool = on_rank_zero(group, decide)
    return decision


def _exists(path: Path) -> bool:
    """Return whether the path exists, even if it is a dangling link."""
    return path.exists() or path.is_symlink()


def _check_same(out: Path, header: Header, run_key: RunKey) -> None:
    differences = run_key.differences(header)
    if differences:
        raise UsageError(
            f"{out} exists with other settings: {'; '.join(differences[:4])}",
            hint="Use --force to start again, or --out to write elsewhere.",
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
    """Return the result of the finished run if `out` is up to date, or None if it has to be made.

    Rank zero decides for its group. Errors as for `finished` and `is_unfinished`.
    """

    def check() -> dict[str, Any] | None:
        if force or is_unfinished(folder, run_key):  # with force the checkpoint is not read
            return None
        header = finished(out, kind, run_key, force=False)
        return None if header is None else earlier_result(folder, header, out)

    result: dict[str, Any] | None = on_rank_zero(group, check)
    return result


def earlier_result(folder: Path, header: Header, out: Path) -> dict[str, Any]:
    """Return the result of the finished run that wrote `out`, marked as up to date."""
    result = {"seconds": None} | read_json(folder / _RESULT) | header.metrics
    return result | {"out": str(out), "up_to_date": True}


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Save the result of a run, which marks it as finished; `up_to_date` returns it."""
    write_json(folder / _RESULT, result)


def clear(folder: Path) -> None:
    """Remove everything in a run folder except the lock."""
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
    """Read a JSON file of npdraw; return {} if it is missing or damaged, as none is essential."""
    try:
        value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
