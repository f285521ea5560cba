"""The entry point of the command line: `npdraw`, and `python -m npdraw`.

Signals are handled before anything else is imported, because imports take longer than some
commands: an exception raised during an import may surface as another one, or not at all.
"""

import json
import os
import shlex
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from npdraw.errors import STOPPING, Terminated, UsageError

_SHOW_CURSOR = "\x1b[?25h"


def main() -> NoReturn:
    """Run the command that the process was started with and exit with its code."""
    _open_streams()
    for number in STOPPING:
        # nohup ignores SIGHUP, which must stay so.
        if number.name != "SIGHUP" or signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _stop)
    sys.unraisablehook = _unraisable

    try:
        from npdraw.cli import main as run  # noqa: PLC0415
    except UsageError as error:  # npdraw does not run on this system
        _end(error.code, error.message, error.hint, error.exit_code)

    try:
        run()
    except KeyboardInterrupt:  # outside the code that would have caught it
        _leave(signal.SIGINT)
    except Terminated as error:
        _leave(error.number)


def _open_streams() -> None:
    """Open closed standard streams on /dev/null, so that a training under cron does not fail."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """Raise the exception that ends the command in order; during an import, end it here."""
    if _importing(frame):
        _leave(number)
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)


def _unraisable(lost: "sys.UnraisableHookArgs") -> None:
    """End the command when the exception of `_stop` was raised where Python drops exceptions.

    In a destructor, for example, Python would print it and continue as if no signal had come.
    """
    if isinstance(lost.exc_value, Terminated):
        _leave(lost.exc_value.number)
    if isinstance(lost.exc_value, KeyboardInterrupt):
        _leave(signal.SIGINT)
    sys.__unraisablehook__(lost)


def _leave(number: int) -> NoReturn:
    """Print that the command was stopped and end the process."""
    again = f"To start again: npdraw {shlex.join(sys.argv[1:])}"
    _end("stopped", "stopped", again, 128 + number)


def _end(code: str, message: str, hint: str, exit_code: int) -> NoReturn:
    """Print an error as the command line does, without importing it, and end the process."""
    if os.environ.get("RANK", "0") != "0":
        os._exit(exit_code)  # only rank zero prints
    shown = _SHOW_CURSOR if sys.stderr.isatty() else ""
    text = f"{shown}Error: {message}\nHint: {hint}\n"
    with suppress(OSError):  # a closed terminal
        os.write(2, text.encode(errors="backslashreplace"))
    if "--json" in sys.argv:
        error = {"code": code, "message": message, "hint": hint}
        result = {"ok": False, "command": sys.argv[1], "error": error}
        with suppress(OSError):
            os.write(1, json.dumps(result).encode() + b"\n")
    os._exit(exit_code)


def _importing(frame: FrameType | None) -> bool:
    """Return whether an import is under way in `frame` or a caller of it."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


if __name__ == "__main__":
    main()
