"""The run folder beside an output: what is finished, what resumes, what is cleared."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from npdraw.artifacts import write_artifact
from npdraw.errors import ArtifactError, BusyError, UsageError
from npdraw.run_key import RunKey
from npdraw.runtime.run_folder import (
    clear,
    earlier_result,
    finished,
    is_unfinished,
    locked,
    read_json,
    resumable,
    write_json,
)
from tests.runtime.odd_files import odd

RUN_KEY = RunKey(
    {"preset": "glyphs", "prior": {"steps": 4, "channels": (1, 2)}},
    {"name": "npz", "digest": "a" * 64},
    {"parse": "b" * 64},
    0,
)


def write(path: Path, run_key: RunKey = RUN_KEY, kind: str = "prior") -> None:
    write_artifact(
        path,
        kind,
        {"x": torch.zeros(2)},
        run_key=run_key,
        metrics={"steps": 4},
    )


@pytest.mark.parametrize("kind", ["pipe", "link", "loop", "folder"])
@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoint.safetensors", "other"])
def test_a_run_folder_holds_only_regular_files(kind: str, name: str, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "x.safetensors", tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    with locked(out) as folder:
        odd(folder / name, kind, elsewhere)
        with pytest.raises(ArtifactError, match=f"{name} is not a regular file") as caught:
            is_unfinished(folder, RUN_KEY)
        assert "--force" in caught.value.hint
        clear(folder)  # as --force does
        assert [path.name for path in folder.iterdir()] == ["lock"]
        assert not is_unfinished(folder, RUN_KEY)
    assert elsewhere.read_text() == "precious"


@pytest.mark.parametrize("kind", ["pipe", "link", "loop", "folder"])
def test_a_board_is_a_folder_of_regular_files(kind: str, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "x.safetensors", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with locked(out) as folder:
        board = folder / "tensorboard"
        board.mkdir()
        (board / "events").touch()
        assert not is_unfinished(folder, RUN_KEY)
        odd(board / "other", kind, elsewhere)
        with pytest.raises(ArtifactError, match="other is not a regular file"):
            is_unfinished(folder, RUN_KEY)
        clear(folder)
        assert [path.name for path in folder.iterdir()] == ["lock"]
        if kind != "folder":
            odd(board, kind, elsewhere)
            with pytest.raises(ArtifactError, match="tensorboard is not a regular file"):
                is_unfinished(folder, RUN_KEY)


def test_a_damaged_json_file_reads_as_empty(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    for text in ("[" * 100_000, "[1]", "{", "\x80", ""):
        path.write_text(text, encoding="latin-1")
        assert read_json(path) == {}
    path.unlink()
    os.mkfifo(path)
    assert read_json(path) == {}


def test_an_output_with_the_same_settings_is_finished(tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    assert finished(out, "prior", RUN_KEY, force=False) is None
    write(out)
    header = finished(out, "prior", RUN_KEY, force=False)
    assert header is not None
    assert header.metrics == {"steps": 4}
    assert finished(out, "prior", RUN_KEY, force=True) is None

    before = out.read_bytes()
    changed = {"preset": "glyphs", "prior": {"steps": 5, "channels": (1, 2)}}
    others = {
        "prior.steps 4, now 5": RunKey(changed, RUN_KEY.dataset, RUN_KEY.inputs, 0),
        "seed 0, now 1": RunKey(RUN_KEY.config, RUN_KEY.dataset, RUN_KEY.inputs, 1),
        "inputs.parse bbbbbb, now cccccc": RunKey(
            RUN_KEY.config, RUN_KEY.dataset, {"parse": "c" * 64}, 0
        ),
        "inputs.parse bbbbbb, now none": RunKey(RUN_KEY.config, RUN_KEY.dataset, {}, 0),
        "dataset.digest aaaaaa, now dddddd": RunKey(
            RUN_KEY.config, {"name": "npz", "digest": "d" * 64}, RUN_KEY.inputs, 0
        ),
    }
    for difference, run_key in others.items():
        with pytest.raises(UsageError) as caught:
            finished(out, "prior", run_key, force=False)
        assert caught.value.message == f"{out} exists with other settings: {difference}"
        assert "--force" in caught.value.hint
        assert finished(out, "prior", run_key, force=True) is None
    assert out.read_bytes() == before


def test_finished_refuses_anything_but_an_artifact_of_its_kind(tmp_path: Path, flip: Any) -> None:
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
            finished(out, "prior", RUN_KEY, force=False)
        assert str(out) in caught.value.message
        assert caught.value.hint == "--force replaces it."
        assert finished(out, "prior", RUN_KEY, force=True) is None
        assert out.read_bytes() == before


def test_a_checkpoint_of_other_settings_is_not_resumed(tmp_path: Path) -> None:
    checkpoint, out = tmp_path / "c", tmp_path / "x.safetensors"
    assert not resumable(checkpoint, out, RUN_KEY, force=False)
    write(checkpoint, kind="checkpoint")
    assert resumable(checkpoint, out, RUN_KEY, force=False)
    other = RunKey(RUN_KEY.config, RUN_KEY.dataset, RUN_KEY.inputs, 1)
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


def test_json_files_are_optional(tmp_path: Path) -> None:
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
    header = finished(out, "prior", RUN_KEY, force=False)
    assert header is not None
    # The metrics of the artifact take precedence over result.json.
    expected = {"seconds": 3.0, "steps": 4, "out": str(out), "up_to_date": True}
    assert earlier_result(tmp_path, header, out) == expected
