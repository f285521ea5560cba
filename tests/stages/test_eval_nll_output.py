"""Stage 4: a result file is kept, replaced or refused; models are checked."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from npdraw.errors import ArtifactError, DataError, UsageError
from npdraw.header import read_header
from npdraw.model.npdraw import NPDraw


def test_a_result_file_is_kept_while_it_is_up_to_date(
    stages: Any, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "deep" / "eval.json"
    result = stages.eval_nll(trained.model, out=out)
    assert result.pop("out") == str(out)
    assert json.loads(out.read_text()) == result
    before = out.read_bytes()
    monkeypatch.setattr(NPDraw, "encode", None)  # would fail if it were called
    again = stages.eval_nll(trained.model, out=out)
    assert again == {
        **result,
        "out": str(out),
        "up_to_date": True,
        "resumed_from": stages.test,
    }

    for changed in (
        {"samples": 2},
        {"seed": 1},
        {"images": 3},
        {"estimator": "published"},
    ):
        with pytest.raises(UsageError, match="with other settings") as caught:
            stages.eval_nll(trained.model, out=out, **changed)
        assert str(out) in caught.value.message
        assert "--force" in caught.value.hint
        assert out.read_bytes() == before
    monkeypatch.undo()
    forced = stages.eval_nll(trained.model, out=out, samples=2, force=True)
    assert "up_to_date" not in stages.eval_nll(trained.model, out=out, samples=2, force=True)
    assert json.loads(out.read_text())["nll"] == forced["nll"] != result["nll"]
    assert stages.eval_nll(trained.model, out=out, samples=2)["up_to_date"] is True


def test_a_result_never_replaces_an_artifact(stages: Any, trained: Any, tmp_path: Path) -> None:
    prior = tmp_path / "prior.safetensors"
    shutil.copy(trained.prior, prior)
    folder = tmp_path / "prior.safetensors.run"
    shutil.copytree(trained.prior.with_name(f"{trained.prior.name}.run"), folder)
    kept = {path: path.read_bytes() for path in (prior, *folder.iterdir())}
    for force in (False, True):
        with pytest.raises(UsageError, match="is an artifact"):
            stages.eval_nll(trained.model, out=prior, force=force)
    assert {path: path.read_bytes() for path in kept} == kept


def test_another_model_is_another_setting(
    stages: Any, made: Any, trained: Any, tmp_path: Path
) -> None:
    out = tmp_path / "eval.json"
    stages.eval_nll(made.model, out=out)
    with pytest.raises(UsageError, match="with other settings"):
        stages.eval_nll(trained.model, out=out)


@pytest.mark.parametrize("content", ["{}", "[]", '{"nll": 80.1}', "a letter", ""])
def test_a_foreign_file_is_not_overwritten(
    content: str, stages: Any, made: Any, tmp_path: Path
) -> None:
    out = tmp_path / "eval.json"
    out.write_text(content)
    with pytest.raises(UsageError, match="is not a result of eval-nll"):
        stages.eval_nll(made.model, out=out)
    assert out.read_text() == content
    stages.eval_nll(made.model, out=out, force=True)
    assert json.loads(out.read_text())["split"] == "test"


def test_the_model_file_alone_is_enough(stages: Any, trained: Any, tmp_path: Path) -> None:
    shutil.copy(trained.model, tmp_path / "m")  # no parse, no prior, nothing beside it
    with pytest.raises(DataError, match="whose path is not known here") as caught:
        stages.eval_nll(tmp_path / "m")
    assert "--data npz:PATH" in caught.value.hint
    alone = stages.eval_nll(tmp_path / "m", source=stages.source)
    assert alone["nll"] == stages.eval_nll(trained.model)["nll"]
    assert alone["settings"]["model"] == read_header(trained.model).digest


def test_files_that_are_not_models_are_refused(
    stages: Any, made: Any, tmp_path: Path, flip: Any
) -> None:
    shutil.copy(made.model, tmp_path / "flipped")
    flip(tmp_path / "flipped", -1)
    for path, reason in (
        (made.prior, "is a prior, expected a model"),
        (tmp_path / "flipped", "is damaged"),
        (tmp_path / "no", "there is no file"),
    ):
        with pytest.raises(ArtifactError, match=reason) as caught:
            stages.eval_nll(path)
        assert caught.value.exit_code == 3


def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    stages: Any, made: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    seen = stages.Recorder()
    with pytest.raises(UsageError, match="cannot write"):
        stages.eval_nll(made.model, out=tmp_path / "file" / "e.json", progress=seen)
    assert seen.tasks == []


def test_another_precision_is_another_result(stages: Any, made: Any, tmp_path: Path) -> None:
    out = tmp_path / "e.json"
    stages.eval_nll(made.model, out=out, precision="fp32")
    with pytest.raises(UsageError, match="other settings"):
        stages.eval_nll(made.model, out=out, precision="bf16")
    forced = stages.eval_nll(made.model, out=out, precision="bf16", force=True)
    assert forced["settings"]["precision"] == "bf16"
