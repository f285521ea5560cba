"""Any exception becomes one line, a hint and an exit code."""

import errno
import shlex
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import typer

from npdraw.errors import (
    DISK_FULL,
    FAILING,
    NpdrawError,
    ResourceError,
    StoppedError,
    Terminated,
    UsageError,
    is_out_of_memory,
)
from npdraw.runtime.group import environment

FORBIDDEN = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
)
GRACE = 10.0
"""Seconds that other ranks leave rank zero to print an error that all of them met."""

_KILLED = "If none printed an error, one was killed, perhaps because memory ran out."


class BugError(NpdrawError):
    """An exception that npdraw did not foresee."""

    code = "bug"


class LostError(NpdrawError):
    """Another process of torchrun has ended, so this one cannot continue."""

    code = "lost"


def explain(error: BaseException, command: str, arguments: Sequence[str]) -> NpdrawError:
    """Return the error to print for `error`, which ended `command` with these arguments."""
    if isinstance(error, StoppedError):
        hint = f"{error.hint} {_again('resume', arguments)}".strip()
        number = error.exit_code - 128
        return StoppedError(error.message, hint=hint, signal_number=number)
    if isinstance(error, NpdrawError):
        return error
    if isinstance(error, KeyboardInterrupt | Terminated):
        return _interrupted(error, arguments)
    if isinstance(error, typer.TyperException):
        return _usage(error, command)
    if environment().size > 1 and _is_about_others(error):
        return LostError(
            "another process of this group has ended",
            hint=f"{_KILLED} {_again('resume', arguments)}",
        )
    return _resources(error, arguments) or BugError(
        f"this is a bug of npdraw: {type(error).__name__}: {error}",
        hint="Please report it. NPDRAW_DEBUG=1 shows the traceback.",
    )


def _interrupted(error: BaseException, arguments: Sequence[str]) -> StoppedError:
    message, hint = "stopped", _again("start again", arguments)
    nothing_kept = arguments[:1] == ["eval-nll"] and not _has(arguments, "--out")
    if nothing_kept:
        hint = f"With --out FILE, a stopped evaluation can be resumed. {hint}"
    if (
        isinstance(error, Terminated) and environment().size > 1
    ):  # by torchrun, for an unknown reason
        message = "stopped, or another process of this group has ended"
        hint = f"{_KILLED} {_again('start again' if nothing_kept else 'resume', arguments)}"
    number = error.number if isinstance(error, Terminated) else signal.SIGINT
    return StoppedError(message, hint=hint, signal_number=number)


def _again(purpose: str, arguments: Sequence[str]) -> str:
    # --force would discard what was saved.
    forced = purpose != "resume"
    kept = [argument for argument in arguments if forced or argument != "--force"]
    group = environment()
    if group.size == 1:
        start = "npdraw"
    elif group.size == group.local_size:
        start = f"torchrun --standalone --nproc-per-node {group.size} -m npdraw"
    else:
        start = "torchrun ... -m npdraw"
    return f"To {purpose}: {start} {shlex.join(kept)}"


def _has(arguments: Sequence[str], flag: str) -> bool:
    return any(word == flag or word.startswith(f"{flag}=") for word in arguments)


def check_one_process(names: Sequence[str]) -> None:
    """Raise `UsageError` if torchrun started several processes of a command that uses one."""
    together = ("parse", "train-prior", "train-decoder", "eval-nll", "run")
    if environment().size > 1 and names[1:2] and names[1] not in together:
        raise UsageError(
            f"{' '.join(names)} runs in one process, not in {environment().size}",
            hint="Start it without torchrun.",
        )


def should_report(error: NpdrawError) -> bool:
    """Return whether this process prints its error. Ranks other than zero may be ended here.

    torchrun terminates all processes once one has ended. Rank zero ignores that while it prints its
    error. The others wait to be terminated: one that is not met an error that rank zero did not.
    """
    group = environment()
    if group.size == 1:
        return True
    if group.is_rank_zero:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return True
    if error.code != "stopped":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(GRACE)
    return error.code not in ("stopped", "elsewhere", "lost")


def _is_about_others(error: BaseException) -> bool:
    """Return whether torch.distributed says that it cannot reach another process."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return "DistError" in names or (
        isinstance(error, RuntimeError) and "gloo" in str(error).lower()
    )


def _usage(error: typer.TyperException, command: str) -> UsageError:
    """Return typer's error about the arguments, with the nearest name in the hint."""
    context = getattr(error, "ctx", None)
    page = context.command_path if context else f"npdraw {command}"
    options = getattr(error, "possibilities", None)
    if options:
        message, near = error.message, f"Did you mean {options[0]}? "
    else:
        message, _, near = error.format_message().partition(". Did you mean ")
        near = near and f"Did you mean {near} "
    _, _, extra = message.partition("unexpected extra argument(s) (")
    folder = extra.rstrip(".)")
    if command in ("parse", "run") and folder and Path(folder).is_dir():
        near = f"A folder of pictures is named with --data folder:{folder}. "
    message = message.replace("Value error, ", "").rstrip(".")
    return UsageError(message, hint=f"{near}See: {page} --help")


def _resources(error: BaseException, arguments: Sequence[str]) -> NpdrawError | None:
    """Return the error for a full disk, full memory or a forbidden path."""
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        where = f" {error.filename}" if error.filename else ""
        return ResourceError(
            f"the disk is full: cannot write{where}: {error.strerror}",
            hint="Free some space and run the same command again.",
        )
    if isinstance(error, OSError) and error.errno in FORBIDDEN and error.filename:
        return UsageError(
            f"cannot use {error.filename}: {error.strerror}", hint="Choose another path."
        )
    if isinstance(error, OSError) and error.errno in FAILING:
        where = f" {error.filename}" if error.filename else ""
        return ResourceError(
            f"cannot read or write{where}: {error.strerror}", hint=_again("try again", arguments)
        )
    if is_out_of_memory(error):
        return ResourceError("out of memory", hint=_less_memory(arguments))
    return None


def _less_memory(arguments: Sequence[str]) -> str:
    """Return advice for a command that ran out of memory outside a batch.

    In a batch the advice is to lower its size (`explain_out_of_memory`).
    """
    if arguments[:1] == ["parse"]:
        return "Lower --limit or --parts."
    return "Close other programs, or use a smaller model."
