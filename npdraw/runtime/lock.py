"""The lock of an output: only one process at a time works on it.

Imports no torch, because a command takes the lock before it imports torch: if twenty are started at
once, nineteen of them report it immediately.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from npdraw.errors import BusyError, UsageError
from npdraw.files import file_lock, sweep_folder, sweep_temporaries
from npdraw.runtime.group import environment

_ours: set[Path] = set()
"""Run folders already locked by this process's command; its stages skip locking."""


def run_folder(out: Path) -> Path:
    """Return the run folder of `out`, `OUT.run/`, which lies beside it.

    For a link it lies beside the target, which is the file that is written.
    """
    target = Path(os.path.realpath(out)) if out.is_symlink() else out
    return target.with_name(target.name + ".run")


def check_output(out: Path, inputs: Sequence[Path]) -> None:
    """Raise `UsageError` if `out` cannot be written as a file, or is one of the inputs."""
    if not out.name:
        raise UsageError("--out does not name a file", hint="Name a file with --out.")
    if out.exists() and not out.is_file():
        what = "a folder" if out.is_dir() else "not a regular file"
        raise UsageError(f"cannot write {out}: it is {what}", hint="Name a file with --out.")
    if any(out.exists() and path.exists() and out.samefile(path) for path in inputs):
        raise UsageError(
            f"{out} is an input of this command and would be overwritten",
            hint="Choose another --out.",
        )


@contextmanager
def command_lock(out: Path | None, *inputs: Path, dry_run: bool = False) -> Iterator[None]:
    """Hold the lock of an output for a whole command, before anything slow is imported.

    Nothing is locked if there is no output, if an input is missing, for a dry run, or in a process
    other than rank zero. A thread that wants the output of another thread gets `BusyError` too.
    Errors as for `lock`.
    """
    cannot_run = dry_run or not all(path.exists() for path in inputs)
    if out is None or cannot_run or not environment().is_rank_zero:
        yield
        return
    check_output(out, inputs)
    with _locked(out) as folder:
        place = _place(folder)
        _ours.add(place)
        try:
            yield
        finally:
            _ours.remove(place)


@contextmanager
def lock(out: Path, inputs: Sequence[Path]) -> Iterator[Path]:
    """Hold the lock of an output and yield its run folder, without the leftovers of killed runs.

    `inputs` are files that must not be overwritten. A stage shares the lock of its command. The
    kernel frees the lock when the process ends, in whatever way. Folders made here are removed
    again if they are empty in the end.

    Raises:
        BusyError: another process holds the lock.
        UsageError: see `check_output`; or the folder cannot be written.
    """
    check_output(out, inputs)
    folder = run_folder(out)
    if _place(folder) in _ours:
        yield folder
        return
    with _locked(out):
        yield folder


@contextmanager
def _locked(out: Path) -> Iterator[Path]:
    """Hold the lock of an output and yield its run folder, whoever else has it in this process."""
    folder = run_folder(out)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(file_lock(folder / "lock"))
        except BlockingIOError as error:
            raise BusyError(
                f"another npdraw is working on {out}",
                hint="Wait for it, or choose another --out.",
            ) from error
        except OSError as error:
            reason = error.strerror
            if isinstance(error, FileExistsError):
                reason = "it exists and is not a folder"
            raise UsageError(
                f"cannot write {folder}: {reason}", hint="Choose another place with --out."
            ) from error
        sweep_temporaries(out)
        sweep_folder(folder)
        try:
            yield folder
        finally:
            _leave(folder, made)


def _place(folder: Path) -> Path:
    return Path(os.path.realpath(folder))  # unlike `resolve` it ends for links in a circle


def _leave(folder: Path, made: Sequence[Path]) -> None:
    """Remove the lock and the folders made for it, unless the run folder holds something else."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == ["lock"]:
            (folder / "lock").unlink()
            for path in dict.fromkeys((folder, *made)):
                path.rmdir()
