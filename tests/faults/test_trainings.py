"""A killed training resumes, loses at most one save interval, and ends with the same result."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from npdraw.header import read_header
from npdraw.run_key import RunKey
from npdraw.training import session
from npdraw.training.state import State
from tests.faults.cases import Cases
from tests.faults.conftest import Chain
from tests.faults.operations import KILL, Plan, install

KILLS = 2
"""Kills per training in the short form."""

STEPS, EVERY = 16, 2

TRAININGS = {
    "train-prior": ("parse.safetensors",),
    "train-decoder": ("parse.safetensors", "prior.safetensors"),
}


def training(command: str, out: str) -> list[str]:
    """Return the arguments of a training of `STEPS` steps."""
    more = ["--steps", str(STEPS), "--save-every", str(EVERY), "--config", "tiny.toml"]
    return [command, *TRAININGS[command], *more, "--out", out]


@pytest.fixture(scope="module", params=TRAININGS)
def finished(
    request: pytest.FixtureRequest, chain: Chain, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """Return a training that was not killed: the command and its output."""
    folder = chain.copy(tmp_path_factory.mktemp("finished"), *TRAININGS[request.param])
    chain.run(*training(request.param, "whole"), folder=folder)
    return request.param, folder / "whole"


def test_killed_at_any_moment(
    finished: tuple[str, Path],
    chain: Chain,
    tmp_path: Path,
    scale: int,
    records: Callable[[Path], list[dict[str, Any]]],
) -> None:
    command, whole = finished
    rng, expected = random.Random(command), read_header(whole).digest
    folder, kills, resumed, tries = chain.copy(tmp_path, *TRAININGS[command]), 0, [], 0
    while kills < KILLS * scale:
        tries += 1
        out = folder / f"{tries}"
        running = chain.cases.start(*training(command, out.name), folder=folder)
        checkpoint = folder / f"{out.name}.run" / "checkpoint.safetensors"
        # Kill it after a random number of saves, when it can resume and before it ends.
        wanted = rng.randrange(1, STEPS // EVERY)
        while running.process.exitcode is None:
            if checkpoint.exists() and _step(checkpoint) >= wanted * EVERY:
                time.sleep(0.02 * rng.random())
                break
        running.send(signal.SIGKILL)
        if running.wait().code != -signal.SIGKILL:
            continue  # it had already ended
        kills += 1
        saved = _step(checkpoint)
        ended = chain.run(*training(command, out.name), "--json", folder=folder)
        assert ended.json["resumed_from"] == saved > 0
        resumed.append(saved)
        assert read_header(out).digest == expected
        assert records(out) == records(whole)
        assert not list(folder.rglob("*.tmp"))
    assert max(resumed) < STEPS


def _step(checkpoint: Path) -> int:
    return int(read_header(checkpoint).metrics["step"])


def test_killed_at_every_operation_of_the_first_steps(
    finished: tuple[str, Path],
    cases: Cases,
    chain: Chain,
    tmp_path: Path,
    scale: int,
    records: Callable[[Path], list[dict[str, Any]]],
) -> None:
    command, whole = finished
    rng = random.Random(command)
    for _ in range(KILLS * scale):
        folder, at = chain.copy(tmp_path / "k", *TRAININGS[command]), rng.randrange(5, 300)
        plan = Plan(str(folder), at, KILL)
        words = training(command, "x")
        ended = cases.run(*words, folder=folder, faults=[(install, (plan,))])
        assert ended.code in (0, -signal.SIGKILL), ended.shown
        chain.run(*words, folder=folder)
        assert read_header(folder / "x").digest == read_header(whole).digest
        assert records(folder / "x") == records(whole)
        assert not list(folder.rglob("*.tmp"))
        for path in folder.glob("x*"):
            _remove(path)


def killed_instead_of_saving(step: int) -> None:
    """Kill the process where it would save `step`, which is already in its log."""
    save = session.save_checkpoint

    def watched(path: Path, state: State, run_key: RunKey) -> None:
        if state.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        save(path, state, run_key)

    session.save_checkpoint = watched


def test_killed_between_a_line_of_the_log_and_its_checkpoint(
    finished: tuple[str, Path],
    chain: Chain,
    tmp_path: Path,
    records: Callable[[Path], list[dict[str, Any]]],
) -> None:
    command, whole = finished
    logged = [record["step"] for record in records(whole)]
    step = logged[1]
    assert step % EVERY == 0 and step < STEPS
    folder = chain.copy(tmp_path, *TRAININGS[command])
    faults = [(killed_instead_of_saving, (step,))]
    ended = chain.cases.run(*training(command, "x"), folder=folder, faults=faults)
    assert ended.code == -signal.SIGKILL, ended.shown
    assert _step(folder / "x.run" / "checkpoint.safetensors") == step - EVERY
    assert [record["step"] for record in records(folder / "x")] == logged[:2]  # one ahead
    chain.run(*training(command, "x"), folder=folder)
    assert read_header(folder / "x").digest == read_header(whole).digest
    assert records(folder / "x") == records(whole)


def _remove(path: Path) -> None:
    if path.is_dir():
        for entry in path.iterdir():
            entry.unlink()
        path.rmdir()
    else:
        path.unlink()


def test_twenty_starts_at_once(chain: Chain, tmp_path: Path) -> None:
    folder = chain.copy(tmp_path, "parse.safetensors")
    words = training("train-prior", "x")
    running = [chain.cases.start(*words, "--json", folder=folder) for _ in range(20)]
    ended = [case.wait() for case in running]
    codes = sorted(case.code for case in ended)
    assert codes.count(7) + codes.count(0) == 20
    worked = [case for case in ended if case.code == 0 and not case.json.get("up_to_date")]
    assert len(worked) == 1
    assert codes.count(7) > 0
    for case in ended:
        if case.code == 7:
            assert case.json["error"]["code"] == "busy"
    assert chain.run(*words, "--json", folder=folder).json["up_to_date"]


def test_the_lock_is_free_after_a_kill(chain: Chain, tmp_path: Path) -> None:
    folder = chain.copy(tmp_path, "parse.safetensors")
    running = chain.cases.start(
        "train-prior", "parse.safetensors", "--steps", "100000", "--out", "x", folder=folder
    )
    while not (folder / "x.run/checkpoint.safetensors").exists():
        time.sleep(0.01)
    busy = chain.cases.run("train-prior", "parse.safetensors", "--out", "x", folder=folder)
    assert busy.code == 7, busy.shown
    running.send(signal.SIGKILL)
    running.wait()
    free = chain.cases.run("train-prior", "parse.safetensors", "--out", "x", folder=folder)
    assert free.code == 2  # other settings
    assert json.loads((folder / "x.run/config.json").read_text())["prior"]["steps"] == 100_000
