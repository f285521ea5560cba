"""A page is written although files of a run are missing or damaged, and it says which."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from npdraw.artifacts import read_artifact, write_artifact
from npdraw.errors import ArtifactError
from npdraw.report import report
from npdraw.report.outputs import USAGE_SAMPLES
from npdraw.report.runs import find_runs, read_sheet
from npdraw.run_key import RunKey
from tests.report.pages import RUNTIME, Page, damage, log_of


def test_a_model_file_and_the_files_that_belong_to_it(
    run: Path,
    stages: Any,
    copy: Callable[[str], Path],
    written: Callable[..., Page],
    tmp_path: Path,
) -> None:
    alone = tmp_path / "alone" / "mine.safetensors"
    alone.parent.mkdir()
    shutil.copy(run / "model.safetensors", alone)
    page = written(alone)
    assert "mine: no training log of the prior and the model." in page.missing
    assert "the test images (npz) are not available" in page.missing
    result = report([alone], root=tmp_path, out=tmp_path / "alone.html", runtime=RUNTIME)
    missing = result["missing"]["mine"]
    assert "bank" not in missing  # the model contains the bank
    problem = "the results of npdraw train-prior are not stored with the model"
    assert missing["prior"] == problem
    assert missing["evaluation"] == (
        f"no eval.json in {alone.parent}; "
        f"make it with npdraw eval-nll {alone} --out {alone.parent / 'eval.json'}"
    )
    assert [entry["label"] for entry in page.drawings] == [f"Sample {n}" for n in range(4)]
    assert f"of {USAGE_SAMPLES} samples" in page.content.decode()
    # Next to its own parse, prior and evaluation it is the whole run; those of others are ignored.
    whole = copy("whole")
    assert written(whole / "model.safetensors").content == written(whole).content
    (other,) = find_runs([whole / "model.safetensors"])
    assert other.evaluation and other.pieces["parse"].header
    changed = copy("changed")
    artifact = read_artifact(changed / "parse.safetensors", kind="parse")
    header = artifact.header
    write_artifact(
        changed / "parse.safetensors", "parse", artifact.tensors,
        run_key=RunKey(header.config, header.dataset, {}, header.seed + 1), metrics=header.metrics,
    )  # fmt: skip
    (read,) = find_runs([changed / "model.safetensors"])
    problem = "the results of npdraw parse are not stored with the model"
    assert read.pieces["parse"].problem == problem
    assert "but this run has" in written(changed).content.decode()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda r: (r / "prior.safetensors").unlink(), "not finished yet"),
        (lambda r: damage(r / "prior.safetensors"), "prior.safetensors is damaged"),
        (lambda r: damage(r / "model.safetensors"), "model.safetensors is damaged"),
        (lambda r: damage(r / "parse.safetensors"), "parse.safetensors is damaged"),
        (lambda r: (r / "parse.safetensors").unlink(), "missing"),
        (
            lambda r: (r / "eval.json").unlink(),
            "no eval.json in FOLDER; make it with npdraw eval-nll",
        ),
        (lambda r: (r / "eval.json").write_text('{"nll": 3'), "eval.json is damaged"),
        (lambda r: (r / "eval.json").write_text('{"nll": [], "settings": {}}'), "is damaged"),
        (lambda r: log_of(r, "model").unlink(), "no training log of the model"),
        (
            lambda r: damage(log_of(r, "model")),
            "unreadable lines in the training log of the model: 1",
        ),
        (lambda r: shutil.rmtree(log_of(r, "prior").parent), "No sample sheets of the prior"),
        (lambda r: damage(sorted(log_of(r, "prior").parent.glob("*.png"))[0]), "sheet is damaged"),
    ],
)
def test_missing_or_damaged_files_are_reported(
    harm: Callable[[Path], Any], words: str, copy: Callable[[str], Path],
    written: Callable[..., Page], tmp_path: Path,
) -> None:  # fmt: skip
    run = copy("hurt")
    harm(run)
    page = written(run)
    shown = page.missing + " ".join(cell for row in page.rows for cell in row)
    assert words in shown + page.content.decode()
    assert str(tmp_path) not in page.content.decode()
    assert "</html>" in page.content.decode()


def test_every_piece_of_a_run_may_be_missing(
    copy: Callable[[str], Path], written: Callable[..., Page]
) -> None:
    run = copy("poor")
    for path in sorted(run.iterdir()):
        if path.name != "model.safetensors.run":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = written(run)  # a training that was started
    assert "No model to draw with: not finished yet." in page.missing
    assert page.drawings == []
    assert "step" in page.texts["figcaption"][-1]
    assert page.row("wake")  # its settings are known
    shutil.rmtree(run / "model.safetensors.run")
    with pytest.raises(ArtifactError) as caught:
        find_runs([run])
    named = "parse.safetensors, prior.safetensors, model.safetensors, eval.json"
    assert caught.value.message == f"{run} is not a run: it has none of {named}"
    (run / "eval.json").mkdir()
    assert "eval.json is damaged" in written(run).content.decode()
    for wrong in (run / "none", run / "none.safetensors"):
        with pytest.raises(ArtifactError, match="neither a folder with any of"):
            find_runs([wrong])
    hurt = copy("hurt") / "model.safetensors"
    damage(hurt)
    with pytest.raises(ArtifactError, match="is damaged"):
        find_runs([hurt])
    with pytest.raises(ArtifactError, match="prior"):
        find_runs([hurt.with_name("prior.safetensors")])


def test_sheets_that_are_not_pictures_are_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "samples-000000.png"
    assert read_sheet(path) is None
    path.write_bytes(b"\x89PNG\r\n\x1a\n<script>")
    assert read_sheet(path) is None
    Image.new("L", (8193, 1)).save(path)
    assert read_sheet(path) is None
    Image.new("L", (64, 64)).save(path)
    assert read_sheet(path) == path.read_bytes()
    assert read_sheet(path, 10) is None
