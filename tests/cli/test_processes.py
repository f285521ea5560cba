"""What the processes of torchrun say: the first one all of it, the others what only they know."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from npdraw.cli import console, execute, failures
from npdraw.errors import (
    ArtifactError,
    BusyError,
    DivergedError,
    ResourceError,
    StoppedError,
    UsageError,
)
from npdraw.stages.group import ElsewhereError

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
    yield as_rank
    signal.signal(signal.SIGTERM, handler)  # a failing command of several ignores it


def raising(error: BaseException) -> Any:
    def stage(*_: Any, **__: Any) -> None:
        raise error

    return stage


def test_results_and_progress_come_from_the_first(
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
        UsageError("m"),
        BusyError("m"),
        DivergedError("m"),
        StoppedError("m", signal_number=15),
        ElsewhereError("m", exit_code=7),
        failures.Terminated(),
        RuntimeError("[/gloo/transport/tcp/pair.cc:1] Connection closed by peer"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_all_meet_is_told_once(
    error: BaseException,
    become: Become,
    fake_stage: Any,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_stage("parse", raising(error))
    become(1)
    code = execute(["parse", "--json"])
    assert code == getattr(error, "exit_code", 143 if type(error) is failures.Terminated else 1)
    assert capsys.readouterr() == ("", "")
    become(0)
    assert execute(["parse", "--json"]) == code
    assert json.loads(capsys.readouterr().out)["ok"] is False


@pytest.mark.parametrize("error", [ArtifactError("m"), ResourceError("m"), ValueError("m")])
def test_what_another_process_alone_meets_is_told_on_stderr(
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
    assert shown.err.startswith("Error (process 1 of 2): ")


def test_a_process_that_lost_another_says_so(become: Become) -> None:
    error = RuntimeError("[/gloo/transport/tcp/pair.cc:544] Connection closed by peer")
    assert failures.explain(error, "parse", ["parse"]).code == "bug"
    become(0)
    told = failures.explain(error, "parse", ["parse"])
    assert (told.code, told.exit_code) == ("lost", 1)
    assert "another process" in told.message
    assert failures.explain(RuntimeError("shapes"), "parse", ["parse"]).code == "bug"


@pytest.mark.parametrize(
    ("size", "local_size", "start"),
    [(2, 2, "torchrun --nproc-per-node 2 -m npdraw"), (4, 2, "torchrun ... -m npdraw")],
)
def test_the_way_to_go_on_is_that_of_the_start(
    size: int, local_size: int, start: str, become: Become
) -> None:
    become(0, size, local_size)
    told = failures.explain(StoppedError("m"), "parse", ["parse", "--force", "--limit", "9"])
    assert told.hint == f"To go on: {start} parse --limit 9"


@pytest.mark.parametrize("words", [["sample"], ["info", "x"], ["data", "ls"]])
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


def test_the_others_show_no_bar(become: Become) -> None:
    become(1)
    with console.progress(quiet=False) as reporter:
        assert type(reporter) is console.Silent
    become(0)
    with console.progress(quiet=False) as reporter:
        assert type(reporter) is console.Lines


TELLING = """
import os, signal, sys
from types import SimpleNamespace
os.environ.update(RANK="0", WORLD_SIZE="2", LOCAL_RANK="0", LOCAL_WORLD_SIZE="2")
from npdraw.cli import console, main
from npdraw.errors import BusyError
def parse(*_, **__):
    raise BusyError("busy")
show = console.show_error
def slowly(*given, **named):
    os.kill(os.getpid(), signal.SIGTERM)  # torchrun's, as the other process has ended
    show(*given, **named)
console.show_error = slowly
sys.modules["npdraw.stages.parse"] = SimpleNamespace(parse=parse)
sys.modules["npdraw.stages.runtime"] = SimpleNamespace(Runtime=SimpleNamespace)
sys.argv = ["npdraw", "parse", "--json"]
main()
"""


def test_an_error_is_told_to_its_end(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TELLING], capture_output=True, text=True, check=False
    )
    assert done.returncode == 7
    assert json.loads(done.stdout)["error"]["code"] == "busy"
