"""INT and TERM at any moment, even during imports: work saved, the right code, no process left."""

import json
import os
import pty
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from npdraw.errors import STOPPING
from npdraw.header import read_header
from npdraw.stages import sample
from tests.faults.cases import Cases
from tests.faults.conftest import Chain

STOPS = 1
"""Stops per command and signal in the short form."""

TINY = ("--config", "tiny.toml")

LONG = {
    "parse": ("parse", "--data", "npz:bars.npz", *TINY, "--out", "x"),
    "train-prior": ("train-prior", "parse.safetensors", *TINY, "--steps", "20", "--out", "x"),
    "train-decoder": (
        *("train-decoder", "parse.safetensors", "prior.safetensors", *TINY, "--steps", "12"),
        *("--out", "x"),
    ),
    "eval-nll": ("eval-nll", "model.safetensors", "--samples", "200", "--out", "x"),
    "sample": ("sample", "model.safetensors", "--seeds", "0-149", "--out", "x"),
    "run": (
        *("run", "--data", "npz:bars.npz", *TINY, "--steps", "6"),
        *("--samples", "20", "--out", "x"),
    ),
}
"""Commands that take a while, each with artifacts of `Chain` as its input."""


def outcome(folder: Path) -> dict[str, str]:
    """Return the digest of each artifact and the metrics of each result in a folder."""
    outputs = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and ".run" not in str(path.relative_to(folder)):
            if path.suffix == ".safetensors" or path.name == "x":
                try:
                    outputs[path.name] = read_header(path, verify=True).digest
                    continue
                except Exception:
                    pass
            if path.suffix == ".json" or path.name == "x":
                result = json.loads(path.read_text())
                drop = ("seconds", "resumed_from")
                outputs[path.name] = str({k: v for k, v in result.items() if k not in drop})
            elif path.suffix == ".png":
                outputs[path.name] = str(hash(path.read_bytes()))
    return outputs


@pytest.fixture(scope="module", params=LONG)
def whole(
    request: pytest.FixtureRequest, chain: Chain, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, float, dict[str, str]]:
    """Return a command that is not stopped: its name, its seconds, and its outputs."""
    folder = chain.copy(tmp_path_factory.mktemp("whole"), *Chain.NAMES)
    ended = chain.run(*LONG[request.param], folder=folder)
    return request.param, ended.seconds, outcome(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_stopped_at_any_moment(
    number: int,
    whole: tuple[str, float, dict[str, str]],
    chain: Chain,
    tmp_path: Path,
    scale: int,
) -> None:
    command, seconds, expected = whole
    rng = random.Random(f"{command} {number}")
    for attempt in range(STOPS * scale):
        folder = chain.copy(tmp_path / str(attempt), *Chain.NAMES)
        running = chain.cases.start(*LONG[command], "--json", folder=folder)
        while not running.ready and running.process.exitcode is None:
            time.sleep(0.002)
        time.sleep(seconds * rng.random())
        running.send(number)
        ended = running.wait()
        assert ended.code in (0, 128 + number), ended.shown
        assert "Traceback" not in ended.err, ended.shown
        if ended.code:
            assert ended.json["error"]["code"] == "stopped"
            assert "Hint: " in ended.err and LONG[command][0] in ended.err
            assert not list(folder.rglob("*.tmp"))
        chain.run(*LONG[command], folder=folder)
        assert outcome(folder) == expected


@pytest.mark.parametrize("number", STOPPING, ids=["INT", "TERM", "HUP"])
def test_stopped_while_it_imports(number: int, chain: Chain, tmp_path: Path, scale: int) -> None:
    """Start whole processes, because forks import nothing; torch takes a second or more."""
    rng = random.Random(f"imports {number}")
    for attempt in range(STOPS * scale):
        folder = chain.copy(tmp_path / str(attempt), *Chain.NAMES)
        process = subprocess.Popen(
            [sys.executable, "-c", START, *LONG["train-decoder"], "--json"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"  # Python's own start is not under test
        time.sleep(2.0 * rng.random())
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode in (0, 128 + number), (process.returncode, out, err)
        assert "Traceback" not in err
        if process.returncode:
            assert json.loads(out)["error"]["code"] == "stopped"
            assert err.startswith("Error: stopped")
        assert _alive_in(process.pid) == []


START = """
from tests.faults.cases import hold_signals
hold_signals()
print("started", flush=True)
from npdraw.__main__ import main
main()
"""
ROOT = Path(__file__).parents[2]


def _alive_in(session: int) -> list[str]:
    """Return the commands of the processes of a session."""
    names = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            names.append(stat.parent.name)
    return names


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_the_cursor_is_restored(number: int, chain: Chain, tmp_path: Path) -> None:
    folder = chain.copy(tmp_path, *Chain.NAMES)
    words = ["train-prior", "parse.safetensors", "--steps", "100000", "--out", "x"]
    terminal, other_end = pty.openpty()
    running = chain.cases.start(
        *words,
        folder=folder,
        environment={"TERM": "xterm"},
        faults=[(_sit_at, (os.ttyname(other_end),))],
    )
    shown = _read(terminal, lambda text: b"\x1b[?25l" in text and b"train-prior" in text)
    running.send(number)
    os.close(other_end)  # so that the terminal ends with the process
    shown += _read(terminal, lambda text: False)
    os.close(terminal)
    assert running.wait().code == 128 + number
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")
    assert b"To resume: npdraw train-prior" in shown


def _sit_at(terminal: str) -> None:
    """Attach stdin, stdout and stderr to a terminal."""
    opened = os.open(terminal, os.O_RDWR)
    for number in range(3):
        os.dup2(opened, number)
    os.close(opened)
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115


def _read(terminal: int, enough: object) -> bytes:
    """Read the output of a terminal until `enough` accepts it or the program ends."""
    text, until = b"", time.monotonic() + 60
    while time.monotonic() < until and not enough(text):  # type: ignore[operator]
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                text += os.read(terminal, 65536)
            except OSError:
                break
    return text


def test_a_second_signal_takes_effect_at_once(chain: Chain, tmp_path: Path) -> None:
    folder = chain.copy(tmp_path, *Chain.NAMES)
    words = ["train-prior", "parse.safetensors", "--steps", "100000", "--out", "x"]
    running = chain.cases.start(*words, folder=folder)
    while not (folder / "x.run/checkpoint.safetensors").exists():
        time.sleep(0.01)
    running.send(signal.SIGTERM)
    running.send(signal.SIGTERM)
    ended = running.wait(10)
    assert ended.code == 143, ended.shown
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("number", STOPPING, ids=["INT", "TERM", "HUP"])
def test_stopped_while_an_object_is_deleted(number: int, chain: Chain, tmp_path: Path) -> None:
    """Python ignores exceptions that are raised in `__del__`."""
    folder = chain.copy(tmp_path, *Chain.NAMES)
    faults = [(_signal_from_del, (number,))]
    ended = chain.cases.run("sample", "model.safetensors", "--json", folder=folder, faults=faults)
    assert ended.code == 128 + number, ended.shown
    assert ended.json["error"]["code"] == "stopped"
    assert "Error: stopped" in ended.err and "Traceback" not in ended.err, ended.shown


class _Dying:
    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self.number)


def _signal_from_del(number: int) -> None:
    """Delete an object that sends a signal once the stage is done."""
    drawn = sample.sample

    def drawn_and_dying(*given: object, **more: object) -> object:
        result = drawn(*given, **more)  # type: ignore[arg-type]
        _Dying(number)
        return result

    sample.sample = drawn_and_dying  # type: ignore[assignment]


def test_cases_are_single_processes(cases: Cases, tmp_path: Path) -> None:
    running = cases.start("--version", folder=tmp_path)
    pid = running.pid
    running.wait()
    assert _alive_in(pid) == []
