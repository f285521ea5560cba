"""The lock of an output: one process holds it, and a killed one leaves nothing in the way."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from npdraw.errors import BusyError, UsageError
from npdraw.files import write_atomic
from npdraw.runtime.lock import command_lock, run_folder
from npdraw.runtime.run_folder import locked
from tests.runtime.odd_files import odd

HOLDER = """
import sys, time
from pathlib import Path
from npdraw.runtime.run_folder import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_process_holds_an_output_until_it_ends(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "x.safetensors"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(out)], stdout=subprocess.PIPE, text=True
    )
    with holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(BusyError, match=f"another npdraw is working on {out}") as caught:
                locked(out).__enter__()
            assert caught.value.exit_code == 7
            with locked(out.with_name("y.safetensors")) as folder:
                assert folder == out.with_name("y.safetensors.run")
        finally:
            holder.kill()
            holder.wait()
    with locked(out) as folder:
        assert folder == run_folder(out)
        assert folder.is_dir()
    with locked(out), pytest.raises(BusyError), locked(out):
        pass


def test_a_thread_does_not_share_the_output_of_another_one(tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    with command_lock(out):
        with locked(out):  # a stage of the same command
            pass
        with pytest.raises(BusyError), command_lock(out):
            pass
        with locked(out):
            pass
    with command_lock(out):
        pass


def test_a_file_and_links_to_it_share_a_lock(tmp_path: Path) -> None:
    out, link = tmp_path / "x.safetensors", tmp_path / "links" / "y.safetensors"
    link.parent.mkdir()
    link.symlink_to(Path("..") / out.name)
    assert run_folder(link) == run_folder(out)
    with locked(out), pytest.raises(BusyError), locked(link):
        pass
    with locked(link), pytest.raises(BusyError), locked(out):
        pass
    write_atomic(link, [b"x"])
    assert link.is_symlink() and out.is_file()


@pytest.mark.parametrize("kind", ["pipe", "link", "loop", "folder"])
def test_a_lock_must_be_a_regular_file(kind: str, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "x.safetensors", tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    run_folder(out).mkdir()
    odd(run_folder(out) / "lock", kind, elsewhere)
    with pytest.raises(UsageError, match=r"cannot write .*\.run: "), locked(out):
        pass
    assert elsewhere.read_text() == "precious"


@pytest.mark.parametrize("kind", ["file", "loop", "nowhere"])
def test_a_run_folder_must_be_a_folder(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    if kind == "file":
        run_folder(out).touch()
    else:
        run_folder(out).symlink_to(run_folder(out).name if kind == "loop" else "nowhere")
    with (
        pytest.raises(UsageError, match=r"\.run: it exists and is not a folder"),
        locked(out),
    ):
        pass


def test_locking_sweeps_the_leftovers_of_killed_runs(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    stale = tmp_path / f".x.safetensors.{gone.pid}-0123abcd.tmp"
    foreign = tmp_path / f".y.safetensors.{gone.pid}-0123abcd.tmp"
    alive = tmp_path / f".x.safetensors.{os.getppid()}-0123abcd.tmp"
    for path in (stale, foreign, alive):
        path.touch()
    with locked(tmp_path / "x.safetensors"):
        assert [path.exists() for path in (stale, foreign, alive)] == [False, True, True]


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write") as caught, locked(tmp_path / "file/x"):
        pass
    assert "--out" in caught.value.hint


def test_an_output_is_never_an_input(stages: Any, trained: Any, tmp_path: Path) -> None:
    parse = tmp_path / "parse.safetensors"
    stages.parse(parse)
    before = parse.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(parse)
    for out in (parse, link):
        with pytest.raises(UsageError, match="is an input"):
            stages.train_prior(parse, out, force=True)
    assert parse.read_bytes() == before
    with pytest.raises(UsageError, match=r"does not end in \.png"):
        stages.sample(trained.model, parse, grid=True, force=True)
    assert parse.read_bytes() == before


@pytest.mark.parametrize("force", [False, True])
def test_an_output_is_a_file(force: bool, stages: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it is a folder"):
        stages.parse(tmp_path, force=force)
    with pytest.raises(UsageError, match="does not name a file"):
        stages.parse(Path(), force=force)
