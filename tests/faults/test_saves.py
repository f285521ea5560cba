"""A save is all or nothing, even when killed at any point or when the power fails."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from npdraw.artifacts import read_artifact, write_artifact
from npdraw.run_key import RunKey
from npdraw.runtime.run_folder import locked
from tests.faults.cases import Cases
from tests.faults.operations import KILL, Plan, counted, install
from tests.faults.power import Power, journal

RUN_KEY = RunKey({}, {}, {}, 0)
KILLS = 10
"""Kills at random moments, in the short form."""


def save(path: str, value: int) -> str:
    """Write an artifact of three tensors, half a megabyte in total."""
    tensors = {f"t{i}": torch.full((40_000,), value + i) for i in range(3)}
    return write_artifact(Path(path), "checkpoint", tensors, run_key=RUN_KEY, metrics={})


def save_once(path: str, plan: Plan) -> None:
    install(plan)
    save(path, 1)


def save_forever(path: str) -> None:
    for value in range(1_000_000):
        save(path, value % 2)


def save_counted(path: str, plan: Plan, tally: str) -> None:
    counted(tally, plan)
    save(path, 1)


@pytest.fixture
def digests(tmp_path: Path) -> tuple[str, str]:
    """The digests of the two artifacts that `save` writes."""
    return save(str(tmp_path / "digest"), 0), save(str(tmp_path / "digest"), 1)


def test_killed_at_every_operation(cases: Cases, tmp_path: Path, digests: tuple[str, str]) -> None:
    folder = tmp_path / "at"
    folder.mkdir()
    out = folder / "x.safetensors"
    counting = (save_counted, (str(out), Plan(str(folder)), str(tmp_path / "tally")))
    assert cases.run("--version", folder=folder, faults=[counting]).code == 0
    operations = int((tmp_path / "tally").read_text())
    assert operations >= 6  # open, write, sync, replace, open and sync the folder
    loaded = []
    for at in range(1, operations + 1):
        assert save(str(out), 0) == digests[0]
        killing = (save_once, (str(out), Plan(str(folder), at, KILL)))
        assert cases.run("--version", folder=folder, faults=[killing]).code == -signal.SIGKILL
        loaded.append(read_artifact(out, kind="checkpoint").header.digest)
    assert loaded == sorted(loaded, key=digests.index)  # the old one first, then the new one
    assert set(loaded) == set(digests)
    with locked(out):
        pass
    assert [path.name for path in folder.iterdir()] == ["x.safetensors"]  # everything else is swept


def test_killed_at_any_moment(
    cases: Cases, tmp_path: Path, digests: tuple[str, str], scale: int
) -> None:
    out, rng = tmp_path / "y.safetensors", random.Random(0)
    save(str(out), 0)
    for _ in range(KILLS * scale):
        running = cases.start("--version", folder=tmp_path, faults=[(save_forever, (str(out),))])
        time.sleep(0.1 + 0.05 * rng.random())
        running.send(signal.SIGKILL)
        assert running.wait().code == -signal.SIGKILL
        assert read_artifact(out, kind="checkpoint").header.digest in digests


def test_power_fails_at_every_operation(
    cases: Cases, tmp_path: Path, digests: tuple[str, str]
) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    out, written, tally = folder / "x.safetensors", tmp_path / "journal", tmp_path / "tally"
    save(str(out), 0)
    power = Power.holding({str(out): out.read_bytes()})
    plan = Plan(str(folder), journal=str(written))
    assert cases.run("--version", folder=folder, faults=[(save_once, (str(out), plan))]).code == 0
    new, done, seen = out.read_bytes(), 0, set()
    for operation in journal(written):
        size = operation.get("size", 0)
        power.do(operation, new[done : done + size])
        done += size
        for state in power.states(str(out)):
            assert state is not None
            tally.write_bytes(state)
            seen.add(read_artifact(tally, kind="checkpoint").header.digest)
    assert done == len(new)
    assert seen == set(digests)
    assert list(power.states(str(out))) == [new, new]  # what was reported as saved is safe


def test_the_mode_follows_the_umask(cases: Cases, tmp_path: Path) -> None:
    for umask, mode in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        out = tmp_path / f"{umask}.safetensors"
        saving = [(os.umask, (umask,)), (save_once, (str(out), Plan("/nowhere")))]
        cases.run("--version", folder=tmp_path, faults=saving)
        assert out.stat().st_mode & 0o777 == mode
