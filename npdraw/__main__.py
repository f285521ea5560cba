"""The start of the command line: `npdraw`, and `python -m npdraw`.

Signals are looked after before anything else, because imports take longer than some commands: an
exception in the middle of one may come out as another, or nowhere.
"""

import json
import os
import shlex
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from npdraw.errors import STOPPING, Terminated

_SHOW_CURSOR = "\x1b[?25h"


def main() -> NoReturn:
    """Run the command that the process was started with and exit with its code."""
    _open_streams()
    for number in STOPPING:
        if number != signal.SIGHUP or signal.getsignal(number) == signal.SIG_DFL:  # else nohup
            signal.signal(number, _stop)
    sys.unraisablehook = _unraisable

    from npdraw.cli import main as run  # noqa: PLC0415

    try:
        run()
    except KeyboardInterrupt:  # between two lines that would have caught it
        _leave(signal.SIGINT)
    except Terminated as error:
        _leave(error.number)


def _open_streams() -> None:
    """Write to nowhere what has nowhere to go, as under cron: a closed stream stops no training."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """Raise what ends the command in order; in the middle of an import, end it here."""
    if _importing(frame):
        _leave(number)
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)


def _unraisable(lost: "sys.UnraisableHookArgs") -> None:
    """End the command when the exception of `_stop` was raised where Python drops exceptions.

    While an object is taken down, for one: the signal would be printed and forgotten.
    """
    if isinstance(lost.exc_value, Terminated):
        _leave(lost.exc_value.number)
    if isinstance(lost.exc_value, KeyboardInterrupt):
        _leave(signal.SIGINT)
    sys.__unraisablehook__(lost)


def _leave(number: int) -> NoReturn:
    """Tell that the command was stopped, as the command line does, and end the process."""
    if os.environ.get("RANK", "0") != "0":
        os._exit(128 + number)  # of several processes the first one tells
    again = f"To start again: npdraw {shlex.join(sys.argv[1:])}"
    shown = _SHOW_CURSOR if sys.stderr.isatty() else ""
    with suppress(OSError):  # a terminal that has gone
        os.write(2, f"{shown}Error: stopped\nHint: {again}\n".encode(errors="backslashreplace"))
    if "--json" in sys.argv:
        error = {"code": "stopped", "message": "stopped", "hint": again}
        told = {"ok": False, "command": sys.argv[1], "error": error}
        with suppress(OSError):
            os.write(1, json.dumps(told).encode() + b"\n")
    os._exit(128 + number)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


if __name__ == "__main__":
    main()
