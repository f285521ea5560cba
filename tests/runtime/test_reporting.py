"""Progress on terminals and pipes."""

import io
import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest

from npdraw.runtime import reporting


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")]
)
def test_clock(seconds: float, text: str) -> None:
    assert reporting.clock(seconds) == text


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The time in seconds, for the test to set."""
    now = [100.0]
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now[0])
    yield now


def test_a_pipe_gets_one_line_every_ten_seconds_and_one_at_the_end(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with reporting.reporting(quiet=False) as reporter:
        reporter.start("train", 100, scale=8, done=40)
        for step in range(41, 101):
            clock[0] += 0.5
            reporter.update(step, loss=93.254, elbo=-1.0)
        reporter.finish()
    # Two steps per second: the 40 that were done before do not count for the rate.
    assert capsys.readouterr().err.splitlines() == [
        "train 60/100  loss 93.25  elbo -1.00 nats  16 images/s  0:20 left",
        "train 80/100  loss 93.25  elbo -1.00 nats  16 images/s  0:10 left",
        "train 100/100  loss 93.25  elbo -1.00 nats  16 images/s  0:30",
    ]


@pytest.mark.parametrize("steps", [0, 13, 99, 100])
def test_the_end_is_reported_once(
    steps: int, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with reporting.reporting(quiet=False) as reporter:
        reporter.start("train", 100)
        for step in range(1, steps + 1):
            clock[0] += 1
            reporter.update(step)
        reporter.finish()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == -(-steps // 10) or steps == 0
    assert [f"train {steps}/100" in line for line in lines] == [False] * (len(lines) - 1) + [True]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting.reporting(quiet=True) as reporter:
        reporter.note("skipped 3 files")
        reporter.start("train", 1)
        reporter.update(1, loss=1.0)
        reporter.finish()
    assert capsys.readouterr() == ("", "")


def test_it_continues_when_nobody_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    with reporting.reporting(quiet=False) as reporter:
        reporter.note("one")
        reporter.start("train", 1)
        reporter.finish()


SHOWING = """
from npdraw.runtime import reporting
with reporting.reporting(quiet=False) as reporter:
    reporter.note("reading [/data] and [bold]x[/bold]")
    reporter.start("train", 4)
    for step in range(5):
        reporter.update(step, loss=93.254)
    reporter.finish()
    reporter.start("fail", 4)
    raise SystemExit(3)
"""


def on_terminal(**environment: str) -> str:
    """Return what the program SHOWING writes to a terminal on stderr."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", SHOWING],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", **environment},
    ) as process:
        os.close(theirs)
        seen = b""
        try:
            while chunk := os.read(ours, 65536):
                seen += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
        assert process.stdout is not None
        assert process.stdout.read() == b""
    os.close(ours)
    assert process.returncode == 3
    return seen.decode()


def test_a_terminal_gets_a_bar_and_its_cursor_back() -> None:
    seen = on_terminal()
    assert "reading [/data] and [bold]x[/bold]" in seen
    assert "4/4  loss 93.25" in seen
    assert "━" in seen
    assert "\x1b[32m" in seen or "\x1b[38;5;" in seen or "\x1b[9" in seen
    assert seen.rfind("\x1b[?25h") > seen.rfind("\x1b[?25l") > -1


def test_no_color_is_honoured() -> None:
    seen = on_terminal(NO_COLOR="1")
    assert "4/4  loss 93.25" in seen
    assert "\x1b[3" not in seen.replace("\x1b[39m", "")
    assert "\x1b[9" not in seen


def test_a_dumb_terminal_gets_plain_lines() -> None:
    assert "\x1b" not in on_terminal(TERM="dumb")
