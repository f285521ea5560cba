"""What is printed: results for people and programs, progress on terminals and pipes."""

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from npdraw.cli import console


def test_figures_are_aligned_and_have_units() -> None:
    result = {
        "nll": 80.614,
        "nll_se": 0.2138,
        "images": 10_000,
        "out": "runs/[/data]/x",
        "files": [f"{i}.png" for i in range(20)],
        "metrics": {"canvas_mse": 0.03112, "ready": True, "none": None},
        "seed": 12345,
    }
    assert console.figures(result) == [
        "nll                 80.61 ± 0.21 nats",
        "images              10,000",
        "out                 runs/[/data]/x",
        "files               0.png, 1.png, 2.png, ..., 19.png",
        "metrics.canvas_mse  0.0311",
        "metrics.ready       yes",
        "metrics.none        -",
        "seed                12345",
    ]


def test_json_is_one_object_without_numbers_it_cannot_hold(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = {"nll": float("inf"), "list": [float("nan"), 1.5], "out": Path("a/b"), "s": "ä"}
    console.show("eval-nll", result, as_json=True)
    line, end = capsys.readouterr().out.split("\n")
    assert end == ""
    assert json.loads(line) == {
        "ok": True,
        "command": "eval-nll",
        "nll": None,
        "list": [None, 1.5],
        "out": "a/b",
        "s": "ä",
    }


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")]
)
def test_clock(seconds: float, text: str) -> None:
    assert console.clock(seconds) == text


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The time in seconds, for the test to set."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    yield now


def test_a_pipe_gets_one_line_every_ten_seconds_and_one_at_the_end(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with console.progress(quiet=False) as progress:
        progress.start("train", 100, scale=8, done=40)
        for step in range(41, 101):
            clock[0] += 0.5
            progress.update(step, loss=93.254, elbo=-1.0)
        progress.finish()
    # Two steps a second: the 40 that were done before do not count for the rate.
    assert capsys.readouterr().err.splitlines() == [
        "train 60/100  loss 93.25  elbo -1.00 nats  16 images/s  0:20 left",
        "train 80/100  loss 93.25  elbo -1.00 nats  16 images/s  0:10 left",
        "train 100/100  loss 93.25  elbo -1.00 nats  16 images/s  0:30",
        "train 100/100  loss 93.25  elbo -1.00 nats  16 images/s  0:30",
    ]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress(quiet=True) as progress:
        progress.note("skipped 3 files")
        progress.start("train", 1)
        progress.update(1, loss=1.0)
        progress.finish()
    assert capsys.readouterr() == ("", "")


def test_progress_goes_on_when_nobody_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    with console.progress(quiet=False) as progress:
        progress.note("one")
        progress.start("train", 1)
        progress.finish()


SHOWING = """
from npdraw.cli import console
with console.progress(quiet=False) as progress:
    progress.note("reading [/data] and [bold]x[/bold]")
    progress.start("train", 4)
    for step in range(5):
        progress.update(step, loss=93.254)
    progress.finish()
    progress.start("fail", 4)
    raise SystemExit(3)
"""


def on_terminal(**environment: str) -> str:
    """Return what the program SHOWING writes to a terminal on stderr."""
    ours, theirs = pty.openpty()
    known = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "TERM")}
    with subprocess.Popen(
        [sys.executable, "-c", SHOWING],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**known, "TERM": "xterm", "COLUMNS": "80", **environment},
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
