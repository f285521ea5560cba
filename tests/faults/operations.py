"""File operations of a case: counted, recorded, made to fail, or the point where it is killed.

The package uses files through a handful of functions. `install` replaces them by functions that ask
a `Plan` first and then do the same. Only files in the folder of the case count.
"""

import builtins
import errno
import io
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KILL = -1
"""Instead of an error number: kill the process at this operation."""


@dataclass
class Plan:
    """What happens at which operation, counted from 1."""

    folder: str
    fail_at: int = 0
    number: int = errno.EIO
    """The error of that operation, or `KILL`."""
    room: int | None = None
    """Bytes that fit on the disk, besides the files that exist at the start."""
    journal: str | None = None
    """File to record each operation in, as a JSON line: kind, path and details."""
    count: int = 0
    used: dict[str, int] = field(default_factory=dict)
    """Bytes written to each new file."""

    def meet(self, kind: str, path: str, **more: Any) -> None:
        """Count an operation, and let it fail if the plan says so."""
        self.count += 1
        if self.journal is not None:
            line = json.dumps({"kind": kind, "path": path, **more}).encode() + b"\n"
            descriptor = _os_open(self.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(descriptor, line)
            _os_close(descriptor)
        if self.count == self.fail_at:
            if self.number == KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(self.number, os.strerror(self.number), path)

    def take(self, path: str, size: int) -> None:
        """Use `size` bytes of the free space, or fail as on a full disk."""
        if self.room is not None:
            if sum(self.used.values()) + size > self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            self.used[path] = self.used.get(path, 0) + size

    def watches(self, path: Any) -> bool:
        """Return whether a path lies in the folder, or is the folder."""
        return isinstance(path, str | os.PathLike) and f"{_full(path)}/".startswith(
            f"{self.folder}/"
        )


_os_open, _os_close, _io_open = os.open, os.close, io.open


def _full(path: Any) -> str:
    return os.path.abspath(os.fspath(path))  # noqa: PTH100


class _File:
    """An open file whose reads and writes ask the plan first."""

    def __init__(self, file: Any, path: str, plan: Plan) -> None:
        self._file, self._path, self._plan = file, path, plan

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Any:
        self._plan.meet("read", self._path)
        return iter(self._file)

    def read(self, *given: Any) -> Any:
        self._plan.meet("read", self._path)
        return self._file.read(*given)

    def readinto(self, buffer: Any) -> Any:
        self._plan.meet("read", self._path)
        return self._file.readinto(buffer)

    def write(self, data: Any) -> int:
        size = len(data.encode()) if isinstance(data, str) else memoryview(data).nbytes
        self._plan.meet("write", self._path, size=size)
        self._plan.take(self._path, size)
        return int(self._file.write(data))


def install(plan: Plan) -> None:
    """Replace functions of the standard library by ones that ask `plan` first."""
    descriptors: dict[int, str] = {}

    def open_descriptor(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        watched = plan.watches(path)
        if watched:
            plan.meet("open", _full(path), new=bool(flags & os.O_CREAT))
        descriptor = _os_open(path, flags, mode, **more)
        if watched:
            descriptors[descriptor] = _full(path)
        return descriptor

    def close(descriptor: int) -> None:
        descriptors.pop(descriptor, None)
        _os_close(descriptor)

    def open_file(path: Any, mode: str = "r", *given: Any, **more: Any) -> Any:
        if isinstance(path, int):
            name = descriptors.get(path)
            file = _io_open(path, mode, *given, **more)
            return file if name is None else _File(file, name, plan)
        if not plan.watches(path):
            return _io_open(path, mode, *given, **more)
        plan.meet("open", _full(path), new=mode[0] in "wax")
        file = _io_open(path, mode, *given, **more)
        descriptors[file.fileno()] = _full(path)
        return _File(file, _full(path), plan)

    def asking(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def ask(path: Any, *given: Any, **more: Any) -> Any:
            name = descriptors.get(path, "") if isinstance(path, int) else path
            if plan.watches(name) and isinstance(name, str | os.PathLike):
                others = [_full(item) for item in given if isinstance(item, str | os.PathLike)]
                plan.meet(kind, _full(name), to=others)
                result = function(path, *given, **more)
                _account(plan, kind, _full(name), others)
                return result
            return function(path, *given, **more)

        return ask

    os.open, os.close = open_descriptor, close  # type: ignore[assignment]
    io.open = builtins.open = open_file  # type: ignore[assignment]
    for name in ("fsync", "replace", "unlink", "mkdir", "rmdir", "scandir", "listdir"):
        setattr(os, name, asking(name, getattr(os, name)))


def _account(plan: Plan, kind: str, path: str, others: list[str]) -> None:
    """Update the bytes used on the disk when a file is moved or removed."""
    if kind == "unlink":
        plan.used.pop(path, None)
    elif kind == "replace":
        plan.used[others[0]] = plan.used.pop(path, 0)


def counted(path: str, plan: Plan) -> None:
    """Install a plan; when the process ends, write the number of operations to `path`."""
    install(plan)
    leave = os._exit

    def exit_counted(code: int) -> None:
        Path(path).write_text(str(plan.count))
        leave(code)

    os._exit = exit_counted  # type: ignore[assignment]
