"""A model exported for sharing: the same model with rounded weights, in half the bytes."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from npdraw.artifacts import read_artifact, write_artifact
from npdraw.errors import ArtifactError, UsageError
from npdraw.header import read_header
from npdraw.inputs.models import read_model
from npdraw.run_key import RunKey
from npdraw.stages.export import export


def made_by(model: Path, out: Path, dtype: str = "bf16", *, force: bool = False) -> dict[str, Any]:
    return export(model, dtype=dtype, out=out, force=force)


def test_weights_are_rounded_and_come_back_in_fp32(made: Any, tmp_path: Path) -> None:
    out = tmp_path / "there/x.safetensors"
    result = made_by(made.model, out)
    original, exported = read_model(made.model)[0], read_model(out)[0]
    rounded = 0
    for (name, before), after in zip(
        original.state_dict().items(), exported.state_dict().values(), strict=True
    ):
        assert after.dtype == torch.float32
        assert torch.equal(after, before.bfloat16().float()), name
        rounded += int((after != before).sum())
    assert rounded > 1000
    assert torch.equal(exported.brush.bank, original.brush.bank)
    assert not exported.training

    stored = read_artifact(out, kind="model").tensors
    assert {name for name, t in stored.items() if t.dtype == torch.float32} == {"bank"}
    saved = made.model.stat().st_size - out.stat().st_size
    weights = sum(t.numel() for name, t in stored.items() if name != "bank")
    assert saved == pytest.approx(2 * weights, abs=500)  # the headers differ slightly
    assert result == {
        "dtype": "bf16",
        "bytes": out.stat().st_size,
        "digest": read_header(out, verify=True).digest,
        "out": str(out),
    }


def test_the_header_is_that_of_the_model_and_names_it(made: Any, tmp_path: Path) -> None:
    made_by(made.model, tmp_path / "x")
    before, after = read_header(made.model), read_header(tmp_path / "x")
    assert after.inputs == {**before.inputs, "model": before.digest}
    assert after.inputs["parse"] == read_header(made.parse).digest
    for field in ("kind", "config", "dataset", "seed", "metrics"):
        assert getattr(after, field) == getattr(before, field)
    made_by(tmp_path / "x", tmp_path / "again")
    assert read_header(tmp_path / "again").inputs["model"] == after.digest


def test_it_is_as_good_as_the_model(stages: Any, trained: Any, tmp_path: Path) -> None:
    out = tmp_path / "x"
    made_by(trained.model, out)
    before, after = (
        stages.eval_nll(path, source=stages.source)["nll"] for path in (trained.model, out)
    )
    assert before == pytest.approx(after, abs=0.5)
    assert before != after


def test_equal_commands_give_equal_bytes(made: Any, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    digests = {made_by(made.model, out)["digest"] for out in (one, two)}
    assert one.read_bytes() == two.read_bytes()
    assert len(digests) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}  # and nothing else


def test_fp32_keeps_every_bit(made: Any, tmp_path: Path) -> None:
    result = made_by(made.model, tmp_path / "x", "fp32")
    before, after = (read_artifact(p, kind="model").tensors for p in (made.model, tmp_path / "x"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert result["dtype"] == "fp32"


def test_a_repeated_export_is_up_to_date_and_other_settings_need_force(
    made: Any, trained: Any, tmp_path: Path
) -> None:
    out = tmp_path / "x"
    first = made_by(made.model, out)
    written = out.stat().st_mtime_ns
    assert made_by(made.model, out) == {**first, "up_to_date": True}
    assert "up_to_date" not in made_by(made.model, out, force=True)
    assert out.stat().st_mtime_ns > written
    written = out.stat().st_mtime_ns

    with pytest.raises(UsageError, match="weights of another type, now fp32") as other_dtype:
        made_by(made.model, out, "fp32")
    with pytest.raises(UsageError, match=r"exists with other settings: .*inputs\.model") as other:
        made_by(trained.model, out)
    for raised in (other_dtype, other):
        assert "--force" in raised.value.hint
        assert raised.value.exit_code == 2
    assert out.stat().st_mtime_ns == written
    assert "up_to_date" not in made_by(made.model, out, "fp32", force=True)
    assert read_artifact(out, kind="model").tensors["decoder.stem.bias"].dtype == torch.float32
    made_by(trained.model, out, force=True)
    assert read_header(out).inputs["model"] == read_header(trained.model).digest


def test_inputs_and_other_files_are_not_overwritten(made: Any, tmp_path: Path) -> None:
    model, out = tmp_path / "model", tmp_path / "x"
    shutil.copy(made.model, model)
    with pytest.raises(UsageError, match="is an input of this command"):
        made_by(model, model, force=True)
    out.write_text("a letter")
    with pytest.raises(ArtifactError, match="is not an artifact") as raised:
        made_by(model, out)
    assert raised.value.hint == "--force replaces it."
    assert out.read_text() == "a letter"
    made_by(model, out, force=True)
    assert read_header(out, verify=True).kind == "model"


def test_only_valid_models_are_exported(made: Any, tmp_path: Path, flip: Any) -> None:
    with pytest.raises(ArtifactError, match="is a prior, expected a model"):
        made_by(made.prior, tmp_path / "x")
    model = tmp_path / "model"
    shutil.copy(made.model, model)
    flip(model, -1)
    with pytest.raises(ArtifactError, match="do not match its digest"):
        made_by(model, tmp_path / "x")
    artifact = read_artifact(made.model, kind="model")
    header = artifact.header
    bank = {"bank": artifact.tensors["bank"]}
    write_artifact(model, "model", bank, run_key=RunKey.of(header), metrics=header.metrics)
    with pytest.raises(ArtifactError, match="does not fit its settings"):
        made_by(model, tmp_path / "x")
    assert not (tmp_path / "x").exists()
