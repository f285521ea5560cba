"""An artifact reads back as it was written; what could not be read back is not written."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from npdraw.artifacts import (
    Expected,
    check_tensors,
    read_artifact,
)
from npdraw.header import read_header
from tests.artifacts.contents import FIELDS, TENSORS, refused, write


def test_what_is_read_is_what_was_written(file: Path) -> None:
    artifact = read_artifact(file, kind="prior")
    check_tensors(
        artifact,
        {
            name: Expected(value.shape, [str(value.dtype).removeprefix("torch.")])
            for name, value in TENSORS.items()
        },
    )
    assert artifact.path == file
    assert artifact.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        got = artifact.tensors[name]
        assert (got.dtype, got.shape) == (tensor.dtype, tensor.shape), name
        assert torch.equal(got, tensor), name
        assert got.is_contiguous()
    header = artifact.header
    assert (header.kind, header.schema, header.seed) == ("prior", 1, 3)
    assert header.config == {"preset": "glyphs", "parse": {"parts": 2, "channels": [8, 16]}}
    assert (header.dataset, header.inputs) == (FIELDS["dataset"], FIELDS["inputs"])
    assert header.metrics == FIELDS["metrics"]
    assert header == read_header(file) == read_header(file, kind="prior", verify=True)


def test_the_digest_is_returned_and_depends_on_everything(tmp_path: Path) -> None:
    digest = write(tmp_path / "a")
    assert digest == read_header(tmp_path / "a").digest == write(tmp_path / "b")
    others = [
        {"kind": "model"},
        {"seed": 4},
        {"config": {}},
        {"dataset": {}},
        {"inputs": {}},
        {"metrics": {}},
        {"tensors": {name: TENSORS[name] for name in sorted(TENSORS)[1:]}},
        {"tensors": TENSORS | {"adam.step": torch.tensor(8.0)}},
        {"tensors": TENSORS | {"adam.step": torch.tensor([7.0])}},
        {"tensors": TENSORS | {"whether": TENSORS["whether"].to(torch.uint8)}},
        {"tensors": {name.replace("bank", "tank"): TENSORS[name] for name in TENSORS}},
    ]
    digests = {write(tmp_path / "c", **other) for other in others}
    assert len(digests | {digest}) == len(others) + 1


def test_the_bytes_are_those_of_safetensors(file: Path) -> None:
    with safetensors.safe_open(file, "pt") as reader:
        metadata = reader.metadata()
    assert metadata.keys() == {"npdraw"}
    assert file.read_bytes() == safetensors.torch.save(TENSORS, metadata)


def test_a_release_of_safetensors_with_another_layout_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = safetensors.torch.save
    monkeypatch.setattr(safetensors.torch, "save", lambda tensors, _: save(tensors, {"a": "b"}))
    with pytest.raises(ValueError, match="lays out files differently"):
        write(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_equal_content_gives_equal_bytes_in_any_order(file: Path, tmp_path: Path) -> None:
    def backwards(values: Any) -> Any:
        if isinstance(values, dict):
            return {key: backwards(values[key]) for key in reversed(values)}
        return values

    write(
        tmp_path / "other", tensors=backwards(TENSORS), **{k: backwards(FIELDS[k]) for k in FIELDS}
    )
    assert (tmp_path / "other").read_bytes() == file.read_bytes()


def test_views_parameters_and_shared_memory_are_written_as_values(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "row": base[1],
        "turned": base.t(),
        "wide": torch.ones(1).expand(5),
        "weight": torch.nn.Parameter(base),
    }
    write(tmp_path / "a", tensors=tensors)
    got = read_artifact(tmp_path / "a", kind="prior").tensors
    assert all(torch.equal(got[name], tensor) for name, tensor in tensors.items())


def test_an_artifact_may_hold_no_tensors(tmp_path: Path) -> None:
    write(tmp_path / "a", tensors={})
    assert read_artifact(tmp_path / "a", kind="prior").tensors == {}


def test_loaded_tensors_do_not_change_with_the_file(file: Path) -> None:
    artifact = read_artifact(file, kind="prior")
    with file.open("r+b") as stream:
        stream.write(b"\xff" * file.stat().st_size)
        stream.truncate(1)
    assert all(torch.equal(artifact.tensors[name], TENSORS[name]) for name in TENSORS)
    artifact.tensors["whether"].zero_()  # and can be changed


def test_the_header_is_read_without_torch_or_numpy(file: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from npdraw.header import read_header
print(read_header(Path({str(file)!r}), kind="prior", verify=True).metrics)
print(sorted({{"torch", "numpy", "safetensors"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["{'images': 90, 'nats': 1.25}", "[]"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["prior", "checkpoint"])
def test_a_tensor_that_is_not_finite_is_not_written(
    tmp_path: Path, kind: str, dtype: torch.dtype, value: float
) -> None:
    tensors = TENSORS | {"bad": torch.tensor([0, value], dtype=dtype)}
    message = refused(lambda: write(tmp_path / "a", kind=kind, tensors=tensors))
    assert message == f"cannot write {tmp_path / 'a'}: its tensor bad is not finite"
    assert list(tmp_path.iterdir()) == []


def test_a_metric_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    message = refused(lambda: write(tmp_path / "a", metrics={"nats": float("nan")}))
    assert message == f"cannot write {tmp_path / 'a'}: its metric nats is nan"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"tensors": {"a": torch.zeros(1, dtype=torch.float64)}},
        {"tensors": {"": torch.zeros(1)}},
        {"tensors": {"__metadata__": torch.zeros(1)}},
        {"tensors": {"line\n": torch.zeros(1)}},
        {"tensors": {"x" * 257: torch.zeros(1)}},
        {"inputs": {"parse": "short"}},
        {"seed": 1.5},
        {"metrics": {"flag": True}},
        {"config": {"rate": float("inf")}},
    ],
)
def test_content_that_could_not_be_read_back_is_a_value_error(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"."):
        write(tmp_path / "a", **changes)
    assert list(tmp_path.iterdir()) == []
