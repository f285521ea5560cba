"""The server of cases behaves as a shell does."""

import signal
from pathlib import Path

from npdraw import __version__
from tests.faults.cases import Cases
from tests.faults.conftest import Chain


def test_a_case_runs_the_command_line(cases: Cases, tmp_path: Path) -> None:
    ended = cases.run("--version", folder=tmp_path)
    assert (ended.code, ended.out, ended.err) == (0, f"npdraw {__version__}\n", "")
    wrong = cases.run("pars", folder=tmp_path)
    assert wrong.code == 2
    assert "Did you mean" in wrong.err


def test_a_case_can_be_stopped(cases: Cases, chain: Chain, tmp_path: Path) -> None:
    folder = chain.copy(tmp_path, "parse.safetensors")
    running = cases.start("train-prior", "parse.safetensors", "--steps", "100000", folder=folder)
    running.send(signal.SIGKILL)
    assert running.wait().code == -signal.SIGKILL


def test_memory_is_measured(cases: Cases, tmp_path: Path) -> None:
    usual = cases.run("--version", folder=tmp_path)
    more = cases.run("--version", folder=tmp_path, faults=[(_take, (100,))])
    assert 90 < more.more_mb - usual.more_mb < 130


def _take(megabytes: int) -> None:
    bytearray(b"x") * (megabytes << 20)
