"""The lock of an output: one process at a time works on it. Light: taken before torch is there.

Of twenty commands started at once, nineteen should say so at once, not after twenty imports.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from npdraw.errors import BusyError, UsageError
from npdraw.files import exclusive, sweep_folder, sweep_temporaries
from npdraw.runtime.group import environment

_ours: set[Path] = set()
"""The run folders that the command of this process has locked: its stages need not."""


def run_folder(out: Path) -> Path:
    """Return the folder that keeps what belongs to `out` but is not its content.

    That of a link is beside the file that it leads to, which is the one that is written.
    """
    target = Path(os.path.realpath(out)) if out.is_symlink() else out
    return target.with_name(target.name + ".run")


def check_output(out: Path, inputs: Sequence[Path]) -> None:
    """Raise `UsageError` if `out` cannot be a file to write, or is one of the inputs."""
    if not out.name:
        raise UsageError("--out names no file", hint="Name a file with --out.")
    if out.exists() and not out.is_file():
        what = "a folder" if out.is_dir() else "not a regular file"
        raise UsageError(f"cannot write {out}: it is {what}", hint="Name a file with --out.")
    if any(out.exists() and path.exists() and out.samefile(path) for path in inputs):
        raise UsageError(
            f"{out} is an input of this command and would be lost",
            hint="Choose another --out.",
        )


@contextmanager
def alone(out: Path | None, *inputs: Path, dry_run: bool = False) -> Iterator[None]:
    """Hold the lock of an output for a whole command, from before its imports.

    Nothing is locked without an output or an input, for a dry run, and by another process of a
    group than the first. Errors as `lock`.
    """
    senseless = dry_run or not all(path.exists() for path in inputs)
    if out is None or senseless or not environment().is_rank_zero:
        yield
        return
    with lock(out, inputs) as folder:
        place = _place(folder)
        _ours.add(place)
        try:
            yield
        finally:
            _ours.remove(place)


@contextmanager
def lock(out: Path, inputs: Sequence[Path]) -> Iterator[Path]:
    """Hold the lock of an output and yield its run folder, swept of what killed runs left.

    `inputs` are files that must not be written over. The lock is the kernel's, so it is free again
    when the process is gone, however it went. A stage has the lock of its command. A folder that
    holds nothing at the end is gone again, and those made for it.

    Raises:
        BusyError: another process has it.
        UsageError: as `check_output`, or the folder cannot be written.
    """
    check_output(out, inputs)
    folder = run_folder(out)
    if _place(folder) in _ours:
        yield folder
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive(folder / "lock"))
        except BlockingIOError as error:
            raise BusyError(
                f"another npdraw is working on {out}", hint="Wait for it, or choose another --out."
            ) from error
        except OSError as error:
            reason = error.strerror
            if isinstance(error, FileExistsError):
                reason = "it is there and is not a folder"
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
    """Remove the lock and what was made for it, unless there is something else in there now."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == ["lock"]:
            (folder / "lock").unlink()
            for path in dict.fromkeys((folder, *made)):
                path.rmdir()
