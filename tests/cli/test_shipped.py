"""Shipped models on the command line: found by name, used, listed and checked."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from npdraw.cli import execute, resolve
from npdraw.errors import UsageError
from npdraw.inputs.shipped import find_features

Capture = pytest.CaptureFixture[str]


def result_of(capsys: Capture, *arguments: str, code: int = 0) -> Any:
    assert execute([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_file_wins_then_the_name(folder: Path, shipped: Path) -> None:
    file = shipped / "mnist.safetensors"
    assert resolve.model(Path("mnist")) == file
    assert resolve.model(None) is None
    (folder / "mnist").mkdir()  # not a file
    assert resolve.model(Path("mnist")) == file
    (folder / "omniglot").touch()
    assert resolve.model(Path("omniglot")) == Path("omniglot")


@pytest.mark.parametrize("path", ["no/mnits", "mnits.safetensors", "there", "", "lib/mnist"])
def test_other_paths_are_left_to_the_reader(path: str, folder: Path, shipped: Path) -> None:
    (folder / "there").mkdir()
    assert resolve.model(Path(path)) == Path(path)


@pytest.mark.parametrize("command", ["sample", "eval-nll", "export", "info"])
def test_a_misspelt_name_suggests_the_right_one(
    command: str, folder: Path, shipped: Path, capsys: Capture
) -> None:
    error = result_of(capsys, command, "mnits", code=3)["error"]
    assert error["message"] == "there is no file mnits, and no shipped model of that name"
    assert error["hint"] == "Did you mean 'mnist'? Known: glyphs, mnist, omniglot."
    for word in ("MNIST", "mnist.safetensors"):
        assert "'mnist'" in result_of(capsys, command, word, code=3)["error"]["hint"]
    # Without any there is nothing to suggest, and the reader says how models are made.
    for path in shipped.iterdir():
        path.unlink()
    assert resolve.model(Path("mnits")) == Path("mnits")


def test_outputs_of_a_shipped_model_go_to_runs(folder: Path, shipped: Path) -> None:
    file = shipped / "mnist.safetensors"
    for path in (file, Path(os.path.relpath(file)), folder / "runs/../lib/shipped" / file.name):
        assert resolve.folder(path, None) == Path("runs/mnist")
    # Only the files that are found by name: what else lies there is a file like any other.
    for other in ("other.safetensors", "mnist.md"):
        assert resolve.folder(shipped / other, None) == shipped
    (folder / "mine.safetensors").symlink_to(file)
    assert resolve.folder(Path("mine.safetensors"), None) == Path()
    with pytest.raises(UsageError, match="but mnist is named") as raised:
        resolve.folder(file, "glyphs")
    assert raised.value.hint == "Omit --preset or mnist."


def test_a_shipped_model_is_sampled_exported_and_described(
    folder: Path, shipped: Path, capsys: Capture
) -> None:
    before = {path: path.read_bytes() for path in shipped.iterdir()}
    sampled = result_of(capsys, "sample", "glyphs", "--grid", "--seeds", "0-3", "--quiet")
    assert (sampled["images"], sampled["out"]) == (4, "runs/glyphs/samples.png")
    exported = result_of(capsys, "export", "glyphs")
    assert exported["out"] == "runs/glyphs/export.safetensors"
    described = result_of(capsys, "info", "glyphs", "--verify")
    made_from = result_of(capsys, "info", exported["out"])["inputs"]
    assert made_from == {"model": described["digest"]}
    assert {path: path.read_bytes() for path in shipped.iterdir()} == before
    names = {path.name for path in (folder / "runs/glyphs").iterdir()}
    assert names == {"samples.png", "export.safetensors"}


def test_a_shipped_model_finds_its_images_by_their_name(
    folder: Path, shipped: Path, capsys: Capture
) -> None:
    few = ("--images", "4", "--samples", "2", "--quiet")
    assert result_of(capsys, "eval-nll", "glyphs", *few)["images"] == 4
    error = result_of(capsys, "eval-nll", "mnist", *few, code=4)["error"]
    assert "mnist" in error["message"]
    assert "npdraw data download mnist" in error["hint"]
    assert not (folder / "runs").exists()


def test_ls_shows_the_shipped_models(folder: Path, shipped: Path, capsys: Capture) -> None:
    listed = result_of(capsys, "data", "ls")
    digest = result_of(capsys, "info", "mnist")["digest"]
    file = shipped / "mnist.safetensors"
    assert set(listed["models"]) == {"glyphs", "mnist", "omniglot"} < set(listed["sets"])
    assert listed["models"]["mnist"] == {
        "state": "ready",
        "problem": "",
        "bytes": file.stat().st_size,
        "data": "mnist",
        "metrics": {"elbo": 42.5},
        "digest": digest,
        "path": str(file),
    }
    assert execute(["data", "ls"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if str(file) in line)
    assert line.split() == ["mnist", "ready", "0.0", "MB", "mnist", "42.50", "nats", str(file)]


def test_without_shipped_models_ls_says_so(
    folder: Path, shipped: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("npdraw.inputs.shipped.SHIPPED", (folder / "nowhere",))
    assert result_of(capsys, "data", "ls")["models"] == {}
    assert execute(["data", "ls"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "shipped models: none"


def test_doctor_checks_every_byte_of_the_shipped_models(
    folder: Path, shipped: Path, flip: Callable[[Path, int], None], capsys: Capture
) -> None:
    assert set(result_of(capsys, "data", "doctor")["models"]) == {"glyphs", "mnist", "omniglot"}
    flip(shipped / "mnist.safetensors", -1)
    assert result_of(capsys, "data", "ls")["models"]["mnist"]["state"] == "ready"  # not read whole
    error = result_of(capsys, "data", "doctor", code=3)["error"]
    assert error["message"].startswith("the shipped model mnist: ")
    assert "do not match its digest" in error["message"]
    error = result_of(capsys, "sample", "mnist", "--quiet", code=3)["error"]
    assert "do not match its digest" in error["message"]
    assert error["hint"].startswith("Install npdraw again")  # training would not mend it
    (folder / "data").mkdir()
    (folder / "data/omniglot.npz").write_bytes(b"not an archive")
    error = result_of(capsys, "data", "doctor", code=4)["error"]
    assert "omniglot is damaged" in error["message"]
    assert "the shipped model mnist" in error["message"]


def test_ls_lists_a_damaged_model_as_such(folder: Path, shipped: Path, capsys: Capture) -> None:
    (shipped / "mnist.safetensors").write_bytes(b"")
    models = result_of(capsys, "data", "ls")["models"]
    assert models["mnist"]["state"] == "damaged"
    assert "it is empty" in models["mnist"]["problem"]
    assert models["mnist"]["digest"] is None
    assert models["glyphs"]["state"] == "ready"
    assert execute(["data", "ls"]) == 0


def test_only_models_have_names(folder: Path, shipped: Path, capsys: Capture) -> None:
    error = result_of(capsys, "train-prior", "mnist", code=3)["error"]
    assert error["message"] == "there is no file mnist"


def test_a_report_is_of_a_folder_a_file_or_a_name(
    folder: Path, shipped: Path, capsys: Capture
) -> None:
    result = result_of(capsys, "report", "omniglot")  # its test images are not here
    assert (result["runs"], result["out"]) == (["omniglot"], "runs/omniglot/report.html")
    assert "images" in result["missing"]["omniglot"]
    assert result_of(capsys, "report", "omniglot")["up_to_date"] is True
    (folder / "mnist").mkdir()  # a folder wins: it may be a run
    error = result_of(capsys, "report", "mnist", code=3)["error"]
    assert error["message"].startswith("mnist is not a run: it has none of parse.safetensors")
    (folder / "mnist/model.safetensors").write_bytes((shipped / "glyphs.safetensors").read_bytes())
    assert result_of(capsys, "report", "mnist", "glyphs")["out"] == "mnist/report.html"
    beside = result_of(capsys, "report", "mnist/model.safetensors", "--force")
    assert (beside["runs"], beside["out"]) == (["mnist"], "mnist/report.html")
    for words, path in ([], "runs/glyphs"), (["nothing/there"], "nothing/there"):
        error = result_of(capsys, "report", *words, code=3)["error"]
        assert error["message"].startswith(f"no run at {path}: ")
    assert result_of(capsys, "report", "omniglto", code=3)["error"]["hint"].startswith("Did you")
    assert result_of(capsys, "report", "mnist", "--preset", "glyphs", code=2)
    assert len(list(shipped.iterdir())) == 6  # nothing was written there


def test_doctor_checks_every_byte_of_the_shipped_features(
    folder: Path,
    shipped: Path,
    flip: Callable[[Path, int], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    assert shipped.is_dir()
    found = find_features("glyphs")
    assert found is not None
    features = folder / "features"
    features.mkdir()
    shutil.copy(found, features)
    for module in ("npdraw.inputs.shipped", "npdraw.header"):
        monkeypatch.setattr(f"{module}.SHIPPED_FEATURES", (features,))
    assert result_of(capsys, "data", "doctor")["ok"] is True
    flip(features / "glyphs.safetensors", -1)
    error = result_of(capsys, "data", "doctor", code=3)["error"]
    assert "glyphs.safetensors is damaged: its bytes do not match" in error["message"]
    assert error["hint"].startswith("Install npdraw again")
