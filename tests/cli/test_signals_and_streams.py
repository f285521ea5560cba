"""Signals, and streams that are closed or full, for commands in processes of their own."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from npdraw.errors import STOPPING

WAITING = """
import sys, time
from types import SimpleNamespace
from npdraw.__main__ import main
def parse(*_, **__):
    print("ready", file=sys.stderr, flush=True)
    time.sleep(60)
sys.modules["npdraw.stages.parse"] = SimpleNamespace(parse=parse)
sys.modules["npdraw.runtime.settings"] = SimpleNamespace(Runtime=SimpleNamespace)
sys.argv = ["npdraw", "parse", "--force", "--json"]
main()
"""


@pytest.mark.parametrize("number", STOPPING)
def test_signals_end_a_command_with_their_code(number: signal.Signals, folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert json.loads(out)["error"]["code"] == "stopped"
    assert err == "Error: stopped\nHint: To start again: npdraw parse --force --json\n"


def test_a_command_started_by_nohup_ignores_the_end_of_the_terminal(folder: Path) -> None:
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)" + WAITING
    process = subprocess.Popen(
        [sys.executable, "-c", ignoring], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("data ls >&-", 0),
        ("data ls --json >&- 2>&-", 0),
        ("--help >&- <&-", 0),
        ("parse --preset mnst 2>&-", 2),
        ("parse --preset mnst --json >&-", 2),
        ("parse --data npz:no.npz 2>&-", 4),
        ("data ls >/dev/full", 5),
        ("data ls --json >/dev/full", 5),
        ("data ls --json >/dev/full 2>&1", 5),
    ],
)
def test_streams_that_are_closed_or_full(words: str, code: int, folder: Path) -> None:
    done = subprocess.run(
        f"{shlex.quote(sys.executable)} -m npdraw {words}",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    for shown in (done.stdout, done.stderr):
        assert "Traceback" not in shown and "Exception" not in shown and "bug" not in shown


def test_nobody_reads_the_result(folder: Path) -> None:
    for arguments, code in (
        (["data", "ls"], 0),
        (["data", "ls", "--json"], 0),
        (["--help"], 0),
        (["parse", "--help"], 0),
        (["parse", "--preset", "mnst", "--json"], 2),
    ):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [sys.executable, "-m", "npdraw", *arguments],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        os.close(writer)
        assert done.returncode == code
        assert [line[:7] for line in done.stderr.splitlines()] == ["Error: ", "Hint: D"][:code]
