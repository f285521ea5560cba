"""A training session: what it holds while a stage trains, and what it leaves behind."""

import json
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from npdraw.artifacts import read_artifact
from npdraw.config import Config
from npdraw.errors import BusyError
from npdraw.header import read_header
from npdraw.run_key import RunKey
from npdraw.runtime.group import Group
from npdraw.runtime.run_folder import locked
from npdraw.runtime.settings import Runtime
from npdraw.training.session import (
    open_board,
    resume_or_start,
    training_session,
    write_finished,
)
from tests.boards import shown
from tests.training.tiny_training import copied, equal, steps, training

RUN_KEY = RunKey({"preset": "glyphs", "prior": {"steps": 9}}, {"name": "npz"}, {}, 5)

Open = Callable[..., Any]


@pytest.fixture
def session_of(stages: Any) -> Open:
    """Return a function that opens a session for an output."""

    def open_session(out: Path, **runtime: Any) -> Any:
        return training_session(
            out,
            "prior",
            Config(),
            RUN_KEY,
            inputs=(),
            device=torch.device("cpu"),
            runtime=Runtime(device="cpu", precision="fp32", threads=1, **runtime),
            progress=stages.Recorder(),
        )

    return open_session


def test_it_holds_the_lock_and_the_signals_until_the_end(session_of: Open, tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with session_of(tmp_path / "x") as session:
        assert session.finished is None
        assert (session.seed, session.folder) == (5, tmp_path / "x.run")
        assert signal.getsignal(signal.SIGINT) != handler
        with pytest.raises(BusyError), locked(tmp_path / "x"):
            pass
    assert signal.getsignal(signal.SIGINT) == handler
    with locked(tmp_path / "x"):
        pass


def test_it_starts_with_a_clear_folder_and_resumes_from_what_it_saved(
    session_of: Open, tmp_path: Path
) -> None:
    (tmp_path / "x.run").mkdir()
    (tmp_path / "x.run/samples-000000.png").touch()
    with session_of(tmp_path / "x") as session:
        state = training()
        log = resume_or_start(session, state, source="npz:bars.npz")
        assert not (session.folder / "samples-000000.png").exists()
        config = json.loads((session.folder / "config.json").read_text())
        assert config == {**RUN_KEY.config, "source": "npz:bars.npz"}
        steps(state, 2)
        log.append(2, loss=1.0)
        log.append(3, loss=0.5)  # after the checkpoint, so the resumed run logs it again
        state.step = 2
        session.save(state)
    with session_of(tmp_path / "x") as session:
        resumed = training()
        log = resume_or_start(session, resumed)
        assert resumed.step == 2
        assert equal(copied(resumed), copied(state))
        records = [json.loads(line) for line in log.path.read_text().splitlines()]
        assert [record["step"] for record in records] == [2]
    with session_of(tmp_path / "x", force=True) as session:
        fresh = training()
        resume_or_start(session, fresh)
        assert fresh.step == 0


def test_a_board_is_kept_by_rank_zero_until_the_end(session_of: Open, tmp_path: Path) -> None:
    with session_of(tmp_path / "x") as session:
        assert resume_or_start(session, training()).board is None
    threads = threading.active_count()
    with session_of(tmp_path / "x", tensorboard=True) as session:
        resume_or_start(session, training()).append(0, loss=1.0)
        assert shown(session.folder / "tensorboard").curves()[0]["loss"] == 1.0
        assert threading.active_count() == threads + 1
    assert threading.active_count() == threads

    with session_of(tmp_path / "y", tensorboard=True) as session:
        assert open_board(replace(session, group=Group(rank=1, size=2)), 0) is None
        assert not (session.folder / "tensorboard").exists()


def test_a_finished_training_is_up_to_date(session_of: Open, tmp_path: Path) -> None:
    out, tensors = tmp_path / "x", {"weight": torch.arange(4.0)}
    with session_of(out) as session:
        state = training()
        log = resume_or_start(session, state)
        steps(state, 1)
        session.save(state)
        result = write_finished(session, log, tensors, {"nats": 2.5}, 0, ("loss", 1))
    known = {"resumed_from": 0, "nats": 2.5, "gain_if_doubled": None, "out": str(out)}
    assert result == {"seconds": result["seconds"], **known}
    assert torch.equal(read_artifact(out, kind="prior").tensors["weight"], tensors["weight"])
    assert read_header(out).metrics == {"nats": 2.5}  # no times: they would change its bytes
    with session_of(out) as session:
        assert session.finished == result | {"up_to_date": True}
    with session_of(out, force=True) as session:
        assert session.finished is None
