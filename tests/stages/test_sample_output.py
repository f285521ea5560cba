"""Stage 5: files that sampling may replace, and those it must not touch."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from npdraw.artifacts import read_artifact
from npdraw.errors import UsageError


def test_a_sheet_is_redrawn_only_if_it_would_differ(
    stages: Any, made: Any, trained: Any, tmp_path: Path
) -> None:
    out = tmp_path / "a.png"
    sample = partial(stages.sample, out=out, grid=True)
    assert "up_to_date" not in sample(made.model, seeds=range(9))
    before = out.stat().st_mtime_ns
    assert sample(made.model, seeds=range(9))["up_to_date"] is True
    assert out.stat().st_mtime_ns == before
    for other in (
        partial(sample, made.model, seeds=range(9), force=True),
        partial(sample, made.model, seeds=range(8)),
        partial(sample, made.model, seeds=range(8), canvas=True),
        partial(sample, made.model, seeds=range(8), temperature=0.5),
        partial(sample, made.model, seeds=range(8), temperature=0.5, precision="bf16"),
        partial(sample, trained.model, seeds=range(8), temperature=0.5),
    ):
        assert "up_to_date" not in other()
        assert out.stat().st_mtime_ns > before
        before = out.stat().st_mtime_ns


def test_a_foreign_picture_is_not_overwritten(stages: Any, made: Any, tmp_path: Path) -> None:
    out = tmp_path / "holiday.png"
    Image.new("L", (5, 5), 7).save(out)
    foreign = out.read_bytes()
    for content in (foreign, b"not a picture", b""):
        out.write_bytes(content)
        with pytest.raises(UsageError, match="not a picture that npdraw made") as caught:
            stages.sample(made.model, out, grid=True)
        assert caught.value.exit_code == 2
        assert "--force" in caught.value.hint
        assert out.read_bytes() == content
    stages.sample(made.model, out, grid=True, force=True)
    stages.sample(made.model, out, grid=True, seeds=range(5))  # ours now
    with Image.open(out) as picture:
        assert json.loads(picture.info["npdraw"])["seeds"] == [0, 1, 2, 3, 4]


def test_a_foreign_folder_is_not_overwritten(stages: Any, made: Any, tmp_path: Path) -> None:
    out = tmp_path / "holiday"
    out.mkdir()
    (out / "000001.png").write_text("my picture")
    with pytest.raises(UsageError, match="holds other files"):
        stages.sample(made.model, out)
    assert [path.name for path in out.iterdir()] == ["000001.png"]
    assert (out / "000001.png").read_text() == "my picture"
    with pytest.raises(UsageError, match="is not a folder") as caught:
        stages.sample(made.model, out / "000001.png")
    assert "--grid" in caught.value.hint
    with pytest.raises(UsageError, match="a folder"):
        stages.sample(made.model, out, grid=True, force=True)
    assert (out / "000001.png").read_text() == "my picture"


def test_a_folder_of_other_settings_is_refused_unless_forced(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    out = tmp_path / "s"
    stages.sample(made.model, out, seeds=range(5))
    for name in ("notes.txt", "portrait.png"):
        (out / name).write_text("of somebody else")
    stages.sample(made.model, out, seeds=range(5))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for changed in ({"seeds": [7]}, {"temperature": 0.5}, {"canvas": True}):
        with pytest.raises(UsageError, match="with other settings: sample"):
            stages.sample(made.model, out, **{"seeds": range(5), **changed})
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    stages.sample(made.model, out, seeds=[7, 2], force=True)
    names = sorted(path.name for path in out.iterdir())
    kept = ["drawings.safetensors", "notes.txt", "portrait.png"]
    assert names == ["000002.png", "000007.png", *kept]
    drawings = read_artifact(out / "drawings.safetensors", kind="drawings")
    assert drawings.tensors["seeds"].tolist() == [7, 2]


def test_other_pictures_of_npdraw_in_the_folder_are_kept(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    out, sheet = tmp_path / "s", tmp_path / "sheet.png"
    stages.sample(made.model, sheet, grid=True, seeds=range(2))
    out.mkdir()
    shutil.copy(sheet, out / "favourite.png")
    with pytest.raises(UsageError, match=r"holds other files, such as favourite\.png"):
        stages.sample(made.model, out, seeds=range(3))
    assert [path.name for path in out.iterdir()] == ["favourite.png"]
    for seeds in (range(3), range(3), [7, 12_345_678], [2]):
        stages.sample(made.model, out, seeds=seeds, force=True)
        assert (out / "favourite.png").read_bytes() == sheet.read_bytes()
    assert {path.name for path in out.iterdir()} == {
        "000002.png",
        "drawings.safetensors",
        "favourite.png",
    }


def test_a_sample_does_not_overwrite_another_picture_of_its_name(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    out = tmp_path / "s"
    stages.sample(made.model, out, seeds=range(3))
    stages.sample(made.model, tmp_path / "sheet.png", grid=True, seeds=range(3))
    Image.new("L", (5, 5), 7).save(tmp_path / "holiday.png")
    for other in (tmp_path / "holiday.png", tmp_path / "sheet.png", out / "000002.png"):
        shutil.copy(other, out / "000001.png")
        with pytest.raises(UsageError, match=r"holds other files, such as 000001\.png"):
            stages.sample(made.model, out, seeds=range(3))
        assert (out / "000001.png").read_bytes() == other.read_bytes()
    stages.sample(made.model, out, seeds=range(3), force=True)
    stages.sample(made.model, out, seeds=range(3))


def test_an_interrupted_folder_is_completed_and_foreign_pictures_are_kept(
    stages: Any, trained: Any, tmp_path: Path
) -> None:
    out = tmp_path / "s"
    stages.sample(trained.model, out, seeds=[3, 1])
    (out / "drawings.safetensors").unlink()  # as after a kill
    stages.sample(trained.model, out, seeds=[3, 2])
    assert sorted(path.name for path in out.iterdir()) == [
        "000002.png",
        "000003.png",
        "drawings.safetensors",
    ]
    foreign = out / "000001.png"
    Image.new("L", (2, 2)).save(foreign)
    before = foreign.read_bytes()
    stages.sample(trained.model, out, seeds=[5], force=True)
    assert foreign.read_bytes() == before


@pytest.mark.parametrize("grid", [True, False])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    grid: bool, stages: Any, made: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    seen = stages.Recorder()
    with pytest.raises(UsageError, match="would lie below a file"):
        stages.sample(made.model, tmp_path / "file" / "s.png", grid=grid, progress=seen)
    assert seen.tasks == []
