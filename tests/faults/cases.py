"""The command line, run hundreds of times in separate processes without importing torch each time.

A server imports torch once. Each case is a fork of it with its own folder, environment and faults;
it ends on its own, by a signal, or because the test kills it.
"""

import io
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

from npdraw.__main__ import main
from npdraw.errors import STOPPING

Fault = tuple[Callable[..., None], tuple[Any, ...]]
"""A function of a module and its arguments, called in the process before the command."""

PRELOADED = [
    "tests.faults.cases",
    "npdraw.cli",
    "npdraw.stages.run",
    "npdraw.stages.export",
    "torch._dynamo",  # imported when an optimiser is built
    "npdraw.inputs.shipped",
    *(f"PIL.{kind}ImagePlugin" for kind in ("Png", "Jpeg", "Gif", "Bmp", "Ppm")),
    "typer._adapters",  # imported by every command, in releases that have it
]

HANGS = 120.0
"""Seconds after which a case counts as hanging, unless a test sets another limit."""


@dataclass(frozen=True)
class Ended:
    """The result of a case: exit code (negative for a signal), both outputs, seconds, megabytes."""

    arguments: Sequence[str]
    code: int
    out: str
    err: str
    seconds: float
    more_mb: float
    """Peak resident memory above that at the start of the process."""

    @property
    def shown(self) -> str:
        """Return everything, for the message of an assertion."""
        return f"npdraw {' '.join(self.arguments)}: {self.code}\n{self.out}\n{self.err}"

    @property
    def json(self) -> dict[str, Any]:
        """Return the JSON object on stdout."""
        value: dict[str, Any] = json.loads(self.out)
        return value


@dataclass
class Running:
    """A running case."""

    arguments: Sequence[str]
    process: BaseProcess
    spool: Path
    began: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int:
        """Return its process id."""
        assert self.process.pid is not None
        return self.process.pid

    @property
    def ready(self) -> bool:
        """Return whether it runs npdraw by now, and is no longer a copy of the server."""
        return (self.spool / "usage").exists()

    def send(self, number: int) -> None:
        """Send a signal, unless the case has already ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def text(self, stream: str) -> str:
        """Return what it has written to `out` or `err` so far."""
        path = self.spool / stream
        return path.read_text(errors="replace") if path.exists() else ""

    def wait(self, timeout: float = HANGS) -> Ended:
        """Wait for its end; if it hangs, kill it and fail the test."""
        self.process.join(timeout)
        seconds = time.monotonic() - self.began
        if self.process.exitcode is None:
            self.send(signal.SIGKILL)
            raise AssertionError(f"{self.arguments} hangs after {timeout} s: {self.text('err')}")
        usage = self.spool / "usage"
        more_mb = float(usage.read_text() or 0) if usage.exists() else 0.0
        code = self.process.exitcode
        self.process.close()
        return Ended(self.arguments, code, self.text("out"), self.text("err"), seconds, more_mb)


class Cases:
    """The server and the folder its cases write to; one for all tests of a session."""

    def __init__(self, spool: Path) -> None:
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._spool, self._count = spool, 0

    def start(
        self,
        *arguments: str | Path,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        faults: Sequence[Fault] = (),
    ) -> Running:
        """Start `npdraw ARGUMENTS` in `folder`, after `faults`; returns at once."""
        self._count += 1
        spool = self._spool / str(self._count)
        spool.mkdir()
        words = [os.fspath(argument) for argument in arguments]
        own = {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", **(environment or {})}
        # The server keeps the environment it started with, so each case sets its own.
        process = self._context.Process(target=_case, args=(words, folder, own, faults, spool))
        process.start()
        return Running(words, process, spool)

    def run(
        self,
        *arguments: str | Path,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        faults: Sequence[Fault] = (),
        timeout: float = HANGS,
    ) -> Ended:
        """Run a case to its end."""
        running = self.start(*arguments, folder=folder, environment=environment, faults=faults)
        return running.wait(timeout)


def _case(
    words: list[str],
    folder: Path,
    environment: Mapping[str, str],
    faults: Sequence[Fault],
    spool: Path,
) -> None:
    """Become the command line, as if started from a shell."""
    os.setsid()
    for number in (*STOPPING, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(spool / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False))  # noqa: SIM115
    sys.stderr = io.TextIOWrapper(open(2, "wb", closefd=False), line_buffering=True)  # noqa: SIM115
    before = _resident_mb()
    sys.argv = ["npdraw", *words]
    usage = os.open(spool / "usage", os.O_WRONLY | os.O_CREAT, 0o600)
    leave = os._exit

    def measured_exit(code: int) -> NoReturn:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        os.pwrite(usage, f"{max(0.0, peak - before):.1f}".encode(), 0)
        leave(code)

    os._exit = measured_exit  # type: ignore[assignment]
    hold_signals()
    try:
        for function, given in faults:
            function(*given)
        main()
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)


def hold_signals() -> None:
    """Block signals until npdraw handles them: Python's own start is not under test."""
    listen = signal.signal

    def listen_and_unblock(number: int, handler: Any) -> Any:
        former = listen(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        return former

    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    signal.signal = listen_and_unblock


def _resident_mb() -> float:
    """Return the resident megabytes now, from which the peak is counted."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
