"""Writing files completely or not at all, and locking them.

npdraw needs POSIX (Linux, macOS): locks are `fcntl.flock`, renames replace files atomically, and
folders are synced.
"""

import errno
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from npdraw.errors import DISK_FULL, FAILING, ResourceError, UsageError

try:
    import fcntl
except ImportError as missing:
    raise UsageError(
        f"npdraw runs on Linux and macOS, not on {sys.platform}: it locks files with fcntl",
        hint="On Windows, install and run it in WSL, which is Linux.",
    ) from missing

_PACKAGE = Path(__file__).parent
SHIPPED = (_PACKAGE / "shipped", _PACKAGE.parent / "data" / "models")
"""Folders of the models that come with npdraw: in an installation, and in a checkout."""

SHIPPED_FEATURES = (_PACKAGE / "shipped_features", _PACKAGE.parent / "data" / "features")
"""The same for the classifiers whose features `npdraw eval-samples` compares."""

REINSTALL = "Install npdraw again; in a checkout: git checkout data/models data/features"
"""What to do if one of these files is damaged."""

_CANNOT_SYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}


def write_atomic(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write a file completely or not at all, creating missing folders; its mode follows the umask.

    Raises:
        ResourceError: the disk is full or fails.
        UsageError: the file cannot be written for another reason, such as missing permission.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        # Replacing a device such as /dev/null would break the machine.
        if target.exists() and not target.is_file():
            what = "a folder" if target.is_dir() else "not a regular file"
            raise UsageError(f"cannot write {path}: it is {what}", hint="Name a file with --out.")
        target.parent.mkdir(parents=True, exist_ok=True)
        # Creating the file applies the umask; reading the umask would change it for all threads.
        try:  # from here on, a signal may find the file created
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            with open(descriptor, "wb") as file:  # noqa: PTH123
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)  # noqa: PTH105
        except BaseException:
            with suppress(OSError):  # the first error is the one to report
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)
    except OSError as error:
        if exhausted := disk_error(path, error):
            raise exhausted from error
        no_folder = isinstance(error, FileExistsError | NotADirectoryError)
        reason = "it would lie below a file" if no_folder else error.strerror
        raise UsageError(
            f"cannot write {path}: {reason}",
            hint="Choose another place with --out.",
        ) from error


def disk_error(path: Path, error: OSError) -> ResourceError | None:
    """Return the error for a disk that is full or fails while `path` is written, else None."""
    if error.errno in DISK_FULL:
        return ResourceError(
            f"the disk is full: cannot write {path}: {error.strerror}",
            hint="Free some space and run the same command again.",
        )
    if error.errno in FAILING:
        return ResourceError(
            f"cannot write {path}: {error.strerror}", hint="Run the same command again."
        )
    return None


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold a lock on the file `path`, which is created; its folder must exist.

    The kernel frees the lock when the process ends, in whatever way.

    Raises:
        BlockingIOError: another process holds the lock.
        OSError: the file cannot be created or locked, or it is a link or not a regular file.
    """
    # Without O_NONBLOCK, opening a named pipe would wait for its other end.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    with open(os.open(path, flags, 0o666), "wb") as file:  # noqa: PTH123
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, f"{path.name} is not a regular file")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its last holder may just have removed the file, and someone may have created a new one.
        if not (path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))):
            raise BlockingIOError
        yield


class _NothingError(Exception):
    """Raised instead of writing anything."""


def check_writable(path: Path) -> None:
    """Raise what `write_atomic` would raise for this path, before any work is done."""

    def nothing() -> Iterator[bytes]:
        raise _NothingError
        yield b""

    with suppress(_NothingError):
        write_atomic(path, nothing())


def sweep_temporaries(path: Path) -> None:
    """Remove temporaries that interrupted writes of `path` left, but none of a running process."""
    target = Path(os.path.realpath(path))
    _sweep(target.parent, re.escape(target.name))


def sweep_folder(folder: Path) -> None:
    """Remove temporaries that interrupted writes of any file in `folder` left, as above."""
    _sweep(folder, ".+")


def _sweep(folder: Path, name: str) -> None:
    pattern = re.compile(rf"\.{name}\.([1-9][0-9]*)-[0-9a-f]{{8}}\.tmp")
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            match = pattern.fullmatch(path.name)
            if match and (int(match[1]) == os.getpid() or not _is_running(int(match[1]))):
                path.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:  # as on some network file systems
            raise
    finally:
        os.close(descriptor)
