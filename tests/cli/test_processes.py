"""What the processes of torchrun print: rank zero everything, the others only their own errors."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from npdraw.cli import execute, failures
from npdraw.errors import ResourceError, StoppedError, Terminated, UsageError
from npdraw.runtime import reporting
from npdraw.runtime.group import ElsewhereError

Become = Callable[..., None]


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Iterator[Become]:
    """Make this process one of several."""

    def as_rank(rank: int, size: int = 2, local_size: int = 2) -> None:
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(size))
        monkeypatch.setenv("LOCAL_RANK", str(rank % local_size))
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local_size))

    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(failures, "GRACE", 0.0)
    yield as_rank
    signal.signal(signal.SIGTERM, handler)  # a failing command of several processes changes it


def raising(error: BaseException) -> Any:
    def stage(*_: Any, **__: Any) -> None:
        raise error

    return stage


def test_results_and_progress_come_from_rank_zero(
    become: Become, fake_stage: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stage(*_: Any, progress: Any, **__: Any) -> dict[str, Any]:
        progress.note("a note")
        return {"images": 3}

    fake_stage("parse", stage)
    for rank in (0, 1):
        become(rank)
        assert execute(["parse", "--json"]) == 0
        shown = capsys.readouterr()
        assert shown.out.count("\n") == (rank == 0)
        assert shown.err == ("a note\n" if rank == 0 else "")


@pytest.mark.parametrize(
    "error",
    [
        StoppedError("m", signal_number=15),
        ElsewhereError("m", exit_code=7),
        Terminated(),
        RuntimeError("[/gloo/transport/tcp/pair.cc:1] Connection closed by peer"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_other_ranks_know_is_reported_by_rank_zero(
    error: BaseException,
    become: Become,
    fake_stage: Any,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_stage("parse", raising(error))
    become(1)
    code = execute(["parse", "--json"])
    assert code == getattr(error, "exit_code", 143 if type(error) is Terminated else 1)
    assert capsys.readouterr() == ("", "")
    become(0)
    assert execute(["parse", "--json"]) == code
    assert json.loads(capsys.readouterr().out)["ok"] is False


@pytest.mark.parametrize("error", [UsageError("m"), ResourceError("m"), ValueError("m")])
def test_an_error_of_another_rank_alone_is_printed_on_stderr(
    error: Exception,
    become: Become,
    fake_stage: Any,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_stage("parse", raising(error))
    become(1)
    assert execute(["parse", "--json"]) == getattr(error, "exit_code", 1)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("Error (process 2 of 2): ")


def test_a_process_that_lost_another_says_so(become: Become) -> None:
    error = RuntimeError("[/gloo/transport/tcp/pair.cc:544] Connection closed by peer")
    assert failures.explain(error, "parse", ["parse"]).code == "bug"
    become(0)
    shown = failures.explain(error, "parse", ["parse"])
    assert (shown.code, shown.exit_code) == ("lost", 1)
    assert "another process" in shown.message
    assert "memory" in shown.hint
    assert "To resume: torchrun --standalone --nproc-per-node 2 -m npdraw parse" in shown.hint
    terminated = failures.explain(Terminated(), "parse", ["parse"])
    assert "or another process of this group has ended" in terminated.message
    assert terminated.hint == shown.hint
    assert terminated.exit_code == 143
    assert failures.explain(KeyboardInterrupt(), "parse", ["parse"]).message == "stopped"
    assert failures.explain(RuntimeError("shapes"), "parse", ["parse"]).code == "bug"


@pytest.mark.parametrize(
    ("size", "local_size", "start"),
    [
        (2, 2, "torchrun --standalone --nproc-per-node 2 -m npdraw"),
        (4, 2, "torchrun ... -m npdraw"),
    ],
)
def test_a_command_resumes_as_it_was_started(
    size: int, local_size: int, start: str, become: Become
) -> None:
    become(0, size, local_size)
    shown = failures.explain(StoppedError("m"), "parse", ["parse", "--force", "--limit", "9"])
    assert shown.hint == f"To resume: {start} parse --limit 9"


@pytest.mark.parametrize("words", [["sample"], ["export"], ["info", "x"], ["data", "ls"]])
def test_some_commands_run_in_one_process(
    words: list[str], become: Become, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    become(0)
    assert execute([*words, "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert "runs in one process, not in 2" in error["message"]
    assert error["hint"] == "Start it without torchrun."
    become(0, 1, 1)
    execute([*words, "--json"])
    assert "one process" not in capsys.readouterr().out


def test_other_ranks_show_no_progress(become: Become) -> None:
    become(1)
    with reporting.reporting(quiet=False) as reporter:
        assert type(reporter) is reporting.Reporter
    become(0)
    with reporting.reporting(quiet=False) as reporter:
        assert type(reporter) is reporting.Lines


MEETING = """
import os, signal, sys
from types import SimpleNamespace
rank = sys.argv[1]
os.environ.update(RANK=rank, WORLD_SIZE="2", LOCAL_RANK=rank, LOCAL_WORLD_SIZE="2")
from npdraw.cli import console, main
from npdraw.errors import DataError
def parse(*_, **__):
    raise DataError("no images")
show = console.show_error
def slowly(*given, **named):
    os.kill(os.getpid(), signal.SIGTERM)  # torchrun's, because another process has ended
    show(*given, **named)
console.show_error = slowly
sys.modules["npdraw.stages.parse"] = SimpleNamespace(parse=parse)
sys.modules["npdraw.runtime.settings"] = SimpleNamespace(Runtime=SimpleNamespace)
sys.argv = ["npdraw", "parse", "--json"]
print("began", file=sys.stderr, flush=True)
main()
"""


def meet(rank: int) -> subprocess.Popen[str]:
    """Start a process of two that meets an error which both meet."""
    return subprocess.Popen(
        [sys.executable, "-c", MEETING, str(rank)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_rank_zero_prints_an_error_that_all_meet(folder: Path) -> None:
    with meet(0) as first:
        out, err = first.communicate(timeout=20)
    assert first.returncode == 4
    assert json.loads(out)["error"]["code"] == "data"
    assert err == "began\nError: no images\n"


def test_other_ranks_wait_to_be_terminated_when_they_meet_an_error(folder: Path) -> None:
    with meet(1) as other:
        assert other.stderr is not None
        assert other.stderr.readline() == "began\n"
        time.sleep(1)  # it has met its error, and waits
        other.terminate()
        assert other.communicate(timeout=5) == ("", "")
    assert other.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)


@pytest.mark.parametrize("page", [["--help"], ["parse", "--help"], ["--version"]])
def test_help_is_shown_once(
    page: list[str], become: Become, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for rank in (0, 1):
        become(rank)
        assert execute(page) == 0
        assert bool(capsys.readouterr().out) == (rank == 0)
