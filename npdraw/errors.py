"""Errors that a user can act on, with their exit codes.

An exception that is not an `NpdrawError` is a bug of npdraw (exit code 1).
"""

import errno
import re
import signal
from collections.abc import Iterable
from difflib import get_close_matches

STOPPING = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)  # Windows lacks SIGHUP
)
"""Signals on which a command saves and ends: Ctrl-C, shutdown or `kill`, a closed terminal."""

FAILING = frozenset(
    getattr(errno, name)
    for name in ("EIO", "ENOMEM", "EMFILE", "ENFILE", "ESTALE", "EREMOTEIO")
    if hasattr(errno, name)  # only Linux has EREMOTEIO, Windows lacks ESTALE
)
"""Failures of the machine at any call on a file, which the user did not cause."""

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The disk is full, the user's quota is used up, or the file is too large for the system."""


class NpdrawError(Exception):
    """An error: one clear line (`message`), what to do about it (`hint`), and an exit code.

    Hints name flags of the command line; functions of Python have arguments of the same names.
    """

    code = "error"
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:
            self.add_note(f"Hint: {hint}")  # tracebacks show it below the message


class UsageError(NpdrawError):
    """An unknown name, impossible settings, or an output that exists with other settings."""

    code = "usage"
    exit_code = 2


class ArtifactError(NpdrawError):
    """An artifact that is missing, damaged, of another kind, or does not fit its inputs."""

    code = "artifact"
    exit_code = 3


class DataError(NpdrawError):
    """Images that are missing or damaged."""

    code = "data"
    exit_code = 4


class ResourceError(NpdrawError):
    """The disk or memory is full."""

    code = "resources"
    exit_code = 5


class DivergedError(NpdrawError):
    """The loss is NaN or infinite."""

    code = "diverged"
    exit_code = 6


class BusyError(NpdrawError):
    """Another process is writing the same output."""

    code = "busy"
    exit_code = 7


class StoppedError(NpdrawError):
    """Stopped by a signal, after saving; the exit code is 128 plus the signal number."""

    code = "stopped"
    exit_code = 130

    def __init__(self, message: str, *, hint: str = "", signal_number: int = 2) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = 128 + signal_number


class Terminated(BaseException):
    """TERM or HUP arrived outside a stage; no `except Exception` catches it."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.number = number


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out: Python's, or torch's on any device.

    On the CPU torch raises a plain `RuntimeError`, known only by its text.
    """
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "DefaultCPUAllocator" in str(error)
        or (isinstance(error, ImportError) and "failed to map segment" in str(error))
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint that suggests the known name nearest to `name` and lists them all.

    They are sorted, numbers in them by value.
    """
    names = sorted(
        known, key=lambda one: [int(x) if x.isdecimal() else x for x in re.split(r"(\d+)", one)]
    )
    near = get_close_matches(name, names, n=1)
    suggestion = f"Did you mean {near[0]!r}? " if near else ""
    return f"{suggestion}Known: {', '.join(names)}."
