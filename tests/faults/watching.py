"""Events of a process that an audit hook sees: writes, connections, unpickling, code."""

import json
import os
import sys
from pathlib import Path
from typing import Any

_CODE = {"exec", "compile", "pickle.find_class", "marshal.loads", "marshal.load"}
_WRITES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
_WRITES |= {"os.chmod", "os.chown", "os.utime", "shutil.rmtree", "shutil.move", "shutil.copyfile"}
_TWO = {"os.rename", "os.link", "os.symlink", "shutil.move", "shutil.copyfile"}
"""Events that name two paths."""


def watch(report: str) -> None:
    """Write a JSON line into `report` for each event of this process that tests ask about.

    Imports are not events, although they run code from installed files.
    """
    descriptor = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    busy = [False]

    def report_event(kind: str, **more: Any) -> None:
        os.write(descriptor, json.dumps({"kind": kind, **more}).encode() + b"\n")

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if busy[0]:
            return
        busy[0] = True
        try:
            if event in _CODE:
                if not _importing():
                    report_event("code", event=event, text=_text(event, given))
            elif event in _WRITES or (event == "open" and _writes(given)):
                named = given[: 2 if event in _TWO else 1]
                paths = [_path(item) for item in named if not isinstance(item, int)]
                report_event("write", event=event, paths=paths)
            elif event.startswith(("socket.", "urllib.", "http.", "ftplib.", "smtplib.")):
                report_event("network", event=event, given=repr(given)[:200])
            elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"):
                report_event("process", event=event, given=repr(given)[:200])
        finally:
            busy[0] = False

    sys.addaudithook(hook)


def _writes(given: tuple[Any, ...]) -> bool:
    path, mode, flags = given
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    if isinstance(mode, str):
        return any(sign in mode for sign in "wax+")
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))


def _path(item: Any) -> str:
    return os.path.abspath(os.fsdecode(os.fspath(item)))  # noqa: PTH100


def _text(event: str, given: tuple[Any, ...]) -> str:
    if event == "exec":
        code = given[0]
        return f"{getattr(code, 'co_filename', '')} {getattr(code, 'co_name', '')}"
    return repr(given)[:300]


def _importing() -> bool:
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def events(report: Path) -> list[dict[str, Any]]:
    """Read the events in a report."""
    return [json.loads(line) for line in report.read_text().splitlines()]
