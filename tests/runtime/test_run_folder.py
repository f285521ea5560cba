"""The folder beside an output: who holds it, what is finished, what the log says."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from npdraw.artifacts import write_artifact
from npdraw.errors import ArtifactError, BusyError, UsageError
from npdraw.run_key import RunKey
from npdraw.runtime.metrics_log import MetricsLog
from npdraw.runtime.run_folder import (
    clear,
    earlier_result,
    finished,
    is_unfinished,
    locked,
    read_json,
    resumable,
    run_folder,
    write_json,
)

IDENTITY = RunKey(
    {"preset": "glyphs", "prior": {"steps": 4, "channels": (1, 2)}},
    {"name": "npz", "digest": "a" * 64},
    {"parse": "b" * 64},
    0,
)


def write(path: Path, run_key: RunKey = IDENTITY, kind: str = "prior") -> None:
    write_artifact(
        path,
        kind,
        {"x": torch.zeros(2)},
        run_key=run_key,
        metrics={"steps": 4},
    )


HOLDER = """
import sys, time
from pathlib import Path
from npdraw.runtime.run_folder import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_an_output_belongs_to_one_process_until_it_is_gone(tmp_path: Path) -> None:
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


def test_a_file_and_the_links_to_it_are_one_output(tmp_path: Path) -> None:
    out, link = tmp_path / "x.safetensors", tmp_path / "links" / "y.safetensors"
    link.parent.mkdir()
    link.symlink_to(Path("..") / out.name)
    assert run_folder(link) == run_folder(out)
    with locked(out), pytest.raises(BusyError), locked(link):
        pass
    with locked(link), pytest.raises(BusyError), locked(out):
        pass
    write(link)
    assert link.is_symlink() and out.is_file()


@pytest.mark.parametrize("kind", ["pipe", "link", "loop", "folder"])
@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoint.safetensors", "other"])
def test_a_run_folder_holds_regular_files_alone(kind: str, name: str, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "x.safetensors", tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    with locked(out) as folder:
        odd(folder / name, kind, elsewhere)
        with pytest.raises(ArtifactError, match=f"{name} is not a regular file") as caught:
            is_unfinished(folder, IDENTITY)
        assert "--force" in caught.value.hint
        clear(folder)  # as --force does
        assert [path.name for path in folder.iterdir()] == ["lock"]
        assert not is_unfinished(folder, IDENTITY)
    assert elsewhere.read_text() == "precious"


@pytest.mark.parametrize("kind", ["pipe", "link", "loop", "folder"])
def test_a_lock_is_a_regular_file(kind: str, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "x.safetensors", tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    run_folder(out).mkdir()
    odd(run_folder(out) / "lock", kind, elsewhere)
    with pytest.raises(UsageError, match=r"cannot write .*\.run: "), locked(out):
        pass
    assert elsewhere.read_text() == "precious"


def odd(path: Path, kind: str, elsewhere: Path) -> None:
    """Make what is no regular file."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(elsewhere if kind == "link" else path.name)


@pytest.mark.parametrize("kind", ["file", "loop", "nowhere"])
def test_a_run_folder_that_is_none(kind: str, tmp_path: Path) -> None:
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


def test_json_of_ours_that_is_none_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    for text in ("[" * 100_000, "[1]", "{", "\x80", ""):
        path.write_text(text, encoding="latin-1")
        assert read_json(path) == {}
    path.unlink()
    os.mkfifo(path)
    assert read_json(path) == {}


def test_a_lock_sweeps_what_a_kill_left(tmp_path: Path) -> None:
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


def test_finished_is_what_has_the_same_settings(tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    assert finished(out, "prior", IDENTITY, force=False) is None
    write(out)
    header = finished(out, "prior", IDENTITY, force=False)
    assert header is not None
    assert header.metrics == {"steps": 4}
    assert finished(out, "prior", IDENTITY, force=True) is None

    before = out.read_bytes()
    changed = {"preset": "glyphs", "prior": {"steps": 5, "channels": (1, 2)}}
    others = {
        "prior.steps 4, now 5": RunKey(changed, IDENTITY.dataset, IDENTITY.inputs, 0),
        "seed 0, now 1": RunKey(IDENTITY.config, IDENTITY.dataset, IDENTITY.inputs, 1),
        "inputs.parse bbbbbb, now cccccc": RunKey(
            IDENTITY.config, IDENTITY.dataset, {"parse": "c" * 64}, 0
        ),
        "inputs.parse bbbbbb, now none": RunKey(IDENTITY.config, IDENTITY.dataset, {}, 0),
        "dataset.digest aaaaaa, now dddddd": RunKey(
            IDENTITY.config, {"name": "npz", "digest": "d" * 64}, IDENTITY.inputs, 0
        ),
    }
    for difference, run_key in others.items():
        with pytest.raises(UsageError) as caught:
            finished(out, "prior", run_key, force=False)
        assert caught.value.message == f"{out} exists with other settings: {difference}"
        assert "--force" in caught.value.hint
        assert finished(out, "prior", run_key, force=True) is None
    assert out.read_bytes() == before


def test_finished_refuses_what_is_no_artifact_of_its_kind(tmp_path: Path, flip: Any) -> None:
    out = tmp_path / "x.safetensors"

    def wrong_kind() -> None:
        write(out, kind="parse")

    def flipped() -> None:
        write(out)
        flip(out, -1)

    def truncated() -> None:
        write(out)
        out.write_bytes(out.read_bytes()[:-3])

    def empty() -> None:
        out.write_bytes(b"")

    def text() -> None:
        out.write_text("a letter to a friend")

    for damage in (wrong_kind, flipped, truncated, empty, text):
        damage()
        before = out.read_bytes()
        with pytest.raises(ArtifactError) as caught:
            finished(out, "prior", IDENTITY, force=False)
        assert str(out) in caught.value.message
        assert caught.value.hint == "--force replaces it."
        assert finished(out, "prior", IDENTITY, force=True) is None
        assert out.read_bytes() == before


def test_a_checkpoint_of_other_settings_is_not_resumed(tmp_path: Path) -> None:
    checkpoint, out = tmp_path / "c", tmp_path / "x.safetensors"
    assert not resumable(checkpoint, out, IDENTITY, force=False)
    write(checkpoint, kind="checkpoint")
    assert resumable(checkpoint, out, IDENTITY, force=False)
    other = RunKey(IDENTITY.config, IDENTITY.dataset, IDENTITY.inputs, 1)
    with pytest.raises(UsageError, match=r"x\.safetensors exists with other settings: seed 0"):
        resumable(checkpoint, out, other, force=False)
    assert not resumable(checkpoint, out, other, force=True)


def test_clear_leaves_only_the_lock(tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    out.touch()
    with locked(out) as folder:
        (folder / "old.png").touch()
        (folder / "deep").mkdir()
        (folder / "deep" / "older.png").touch()
        clear(folder)
        assert [path.name for path in folder.iterdir()] == ["lock"]
        with pytest.raises(BusyError), locked(out):
            pass
    assert out.exists()


def test_json_only_helps(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "r.json"
    assert read_json(path) == {}
    write_json(path, {"a": 1 / 3, "b": [1]})
    assert read_json(path) == {"a": 1 / 3, "b": [1]}
    for text in ('{"a": ', "[1]", ""):
        path.write_text(text)
        assert read_json(path) == {}
    path.write_bytes(b"\xff\xfe")
    assert read_json(path) == {}


def test_a_finished_run_repeats_its_result(tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    write(out)
    write_json(tmp_path / "result.json", {"seconds": 3.0, "steps": 99})
    header = finished(out, "prior", IDENTITY, force=False)
    assert header is not None
    # What the artifact says of itself wins over the note beside it.
    expected = {"seconds": 3.0, "steps": 4, "out": str(out), "up_to_date": True}
    assert earlier_result(tmp_path, header, out) == expected


def test_a_log_is_cut_back_to_where_the_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, step=0)
    for step in (0, 10, 20, 30):
        log.append(step, nats=step / 2)
    lines = path.read_text().splitlines(keepends=True)
    assert [json.loads(line)["step"] for line in lines] == [0, 10, 20, 30]
    assert json.loads(lines[2])["nats"] == 10.0

    for step, left in ((25, 3), (20, 3), (19, 2), (1, 1), (0, 0), (30, 4)):
        path.write_text("".join(lines))
        MetricsLog(path, step=step).append(99, nats=1.0)
        kept = path.read_text().splitlines(keepends=True)
        assert kept[:-1] == lines[:left]
        assert json.loads(kept[-1])["step"] == 99


def test_a_torn_line_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = ['{"step": 0, "seconds": 1.0}\n', '{"step": 5, "seconds": 7.5}\n']
    path.write_text("".join(whole) + '{"step": 6, "sec')
    log = MetricsLog(path, step=10)
    assert path.read_text() == "".join(whole)
    assert 7.5 <= log.seconds < 8.5  # the time of the earlier process counts
    log.append(7)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 5, 7]
    assert json.loads(path.read_text().splitlines()[-1])["seconds"] >= 7.5


def test_a_new_log_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, step=0)
    assert path.read_text() == ""
    assert 0 <= log.seconds < 1


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
    with pytest.raises(UsageError, match="not the name of a PNG"):
        stages.sample(trained.model, parse, grid=True, force=True)
    assert parse.read_bytes() == before


@pytest.mark.parametrize("force", [False, True])
def test_an_output_is_a_file(force: bool, stages: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it is a folder"):
        stages.parse(tmp_path, force=force)
    with pytest.raises(UsageError, match="does not name a file"):
        stages.parse(Path(), force=force)
