"""Artifacts that do not fit their settings, and settings that do not fit the code, are refused."""

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from npdraw.artifacts import read_artifact, write_artifact
from npdraw.errors import ArtifactError
from npdraw.inputs.models import read_model, read_parse, read_prior
from npdraw.run_key import RunKey

READERS = {"parse": read_parse, "prior": read_prior, "model": read_model}
A_TENSOR = {"parse": "whether", "prior": "norm.weight", "model": "decoder.stem.bias"}


def rewrite(
    source: Path, out: Path, change: Callable[[dict[str, Tensor]], None], **fields: Any
) -> None:
    """Rewrite an artifact with other tensors or header fields, with the right digest."""
    kind = next(kind for kind in READERS if source.name.startswith(kind))
    artifact = read_artifact(source, kind=kind)
    change(artifact.tensors)
    header = artifact.header
    write_artifact(
        out,
        kind,
        artifact.tensors,
        run_key=replace(RunKey.of(header), **fields),
        metrics=header.metrics,
    )


@pytest.mark.parametrize("kind", READERS)
def test_missing_misshapen_and_surplus_tensors_are_refused(
    kind: str, made: Any, tmp_path: Path
) -> None:
    source, out, name = getattr(made, kind), tmp_path / "x", A_TENSOR[kind]
    rewrite(source, out, lambda tensors: None)
    READERS[kind](out)
    changes: dict[str, Callable[[dict[str, Tensor]], Any]] = {
        name: lambda tensors: tensors.pop(name),
        f"{name} ": lambda tensors: tensors.update({name: tensors[name][:-1].clone()}),
        "surplus": lambda tensors: tensors.update({"surplus": torch.zeros(1)}),
        "bank": lambda tensors: tensors.pop("bank"),
        "bank ": lambda tensors: tensors.update(bank=tensors["bank"][:-1].clone()),
    }
    for named, change in changes.items():
        rewrite(source, out, change)
        with pytest.raises(ArtifactError, match="does not fit its settings") as caught:
            READERS[kind](out)
        assert named.strip() in caught.value.message
        assert str(out) in caught.value.message
        assert caught.value.exit_code == 3


@pytest.mark.parametrize("kind", READERS)
def test_damage_anywhere_is_detected(kind: str, made: Any, tmp_path: Path, flip: Any) -> None:
    source, out = getattr(made, kind), tmp_path / "x"
    size = source.stat().st_size
    for at in range(0, size, size // 9):
        shutil.copy(source, out)
        flip(out, at)
        with pytest.raises(ArtifactError):
            READERS[kind](out)
    for length in (0, 7, 8, size // 2, size - 1):
        out.write_bytes(source.read_bytes()[:length])
        with pytest.raises(ArtifactError):
            READERS[kind](out)
    out.unlink()
    with pytest.raises(ArtifactError, match="there is no file"):
        READERS[kind](out)


def test_unknown_settings_are_an_artifact_error(made: Any, tmp_path: Path) -> None:
    config = read_artifact(made.prior, kind="prior").header.config
    out = tmp_path / "x"
    for wrong in (
        {},
        {**config, "preset": "mnits"},
        {**config, "parse": {**config["parse"], "colour": 3}},
        {**config, "parse": {**config["parse"], "parts": "many"}},
        {**config, "parse": {**config["parse"], "parts": 0}},
        {**config, "prior": 7},
        {**config, "painter": {}},
    ):
        rewrite(made.prior, out, lambda tensors: None, config=wrong)
        with pytest.raises(ArtifactError, match="settings that this npdraw does not know"):
            read_prior(out)


HUGE = {
    "width": 65_536,
    "depth": 128,
    "heads": 1024,
    "head_width": 1024,
    "mlp_width": 65_536,
}


@pytest.mark.parametrize("kind", ["prior", "model"])
def test_a_huge_model_is_refused_before_it_is_built(kind: str, made: Any, tmp_path: Path) -> None:
    """A layer of it would have 800 GB."""
    config = read_artifact(getattr(made, kind), kind=kind).header.config
    config["prior"] = config["prior"] | HUGE
    if kind == "model":
        channels = {"encoder_channels": 65_536, "decoder_channels": [65_536] * 8}
        config["decoder"] = config["decoder"] | channels | {"decoder_patch": 2}
    rewrite(getattr(made, kind), tmp_path / "x", lambda tensors: None, config=config)
    began = time.process_time()
    with pytest.raises(ArtifactError, match="does not fit its settings"):
        READERS[kind](tmp_path / "x")
    assert time.process_time() - began < 2


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, None) for name in ("name", "train", "validation", "binarized", "digest")],
        *[("name", value) for value in ("mnits", "", 5, ["npz"], {})],
        *[("train", value) for value in (0, -1, 2**41, 1.5, True, "40")],
        *[("validation", value) for value in (0, -1, 2**41, 1.5, True, "20", [])],
        *[
            ("image_shape", value)
            for value in ([8, 8], [1, 8, 7], "1x8x8", [True, 8, 8], [1.0, 8, 8])
        ],
        *[("binarized", value) for value in (False, 1, "yes")],
        *[("digest", value) for value in ("", "0" * 63, "G" * 64, 7)],
        ("surplus", 1),
    ],
)
def test_a_malformed_record_of_the_images_is_refused(
    kind: str, name: str, value: Any, made: Any, tmp_path: Path
) -> None:
    source = getattr(made, kind)
    dataset = {**read_artifact(source, kind=kind).header.dataset, name: value}
    if value is None:
        del dataset[name]
    rewrite(source, tmp_path / "x", lambda tensors: None, dataset=dataset)
    with pytest.raises(
        ArtifactError, match=f"{name} of its data set|data set has {name}"
    ) as caught:
        READERS[kind](tmp_path / "x")
    assert str(tmp_path / "x") in caught.value.message


def test_a_partial_number_of_shifted_copies_is_refused(stages: Any, tmp_path: Path) -> None:
    shifting = stages.configured(parse={"shift": 1})
    shifting.parse(tmp_path / "parse")
    dataset = read_parse(tmp_path / "parse").header.dataset
    assert dataset["train"] == 9 * 40
    rewrite(tmp_path / "parse", tmp_path / "x", lambda _: None, dataset={**dataset, "train": 359})
    with pytest.raises(ArtifactError, match=r"train of its data set is 359, expected .* 9 of each"):
        read_parse(tmp_path / "x")


@pytest.mark.parametrize(
    ("name", "dtype", "wanted"),
    [
        ("bank", torch.bfloat16, "float32"),
        ("usage", torch.float32, "int64"),
        ("whether", torch.uint8, "bool"),
        ("where", torch.int64, "int16"),
        ("what", torch.float32, "int16"),
    ],
)
def test_a_parse_with_other_types_is_refused(
    name: str, dtype: torch.dtype, wanted: str, made: Any, tmp_path: Path
) -> None:
    rewrite(made.parse, tmp_path / "x", lambda t: t.update({name: t[name].to(dtype)}))
    with pytest.raises(ArtifactError, match=f"its tensor {name} is .*, expected {wanted}"):
        read_parse(tmp_path / "x")


@pytest.mark.parametrize(
    ("kind", "dtype"), [("prior", torch.int64), ("model", torch.uint8), ("model", torch.bool)]
)
def test_weights_are_floats_and_a_bank_is_not_rounded(
    kind: str, dtype: torch.dtype, made: Any, tmp_path: Path
) -> None:
    source, out, name = getattr(made, kind), tmp_path / "x", A_TENSOR[kind]
    rewrite(source, out, lambda t: t.update({name: t[name].bfloat16()}))
    assert READERS[kind](out)[0].state_dict()[name].dtype == torch.float32
    for tensor, other in ((name, dtype), ("bank", torch.bfloat16)):
        rewrite(source, out, lambda t: t.update({tensor: t[tensor].to(other)}))  # noqa: B023
        with pytest.raises(ArtifactError, match=f"its tensor {tensor} is .*, expected float32"):
            READERS[kind](out)


@pytest.mark.parametrize(
    ("name", "values"),
    [("bank", (-0.1, 1.1)), ("where", (-1, 4)), ("what", (-1, 8)), ("usage", (-1, 241))],
)
def test_values_out_of_range_are_refused(
    name: str, values: tuple[float, ...], made: Any, tmp_path: Path
) -> None:
    readers = [made.parse, made.prior, made.model] if name == "bank" else [made.parse]
    for source in readers:
        for value in values:

            def put(tensors: dict[str, Tensor], value: float = value) -> None:
                tensors[name].view(-1)[3] = value

            rewrite(source, tmp_path / "x", put)
            with pytest.raises(ArtifactError, match=f"its tensor {name} has values in"):
                READERS[source.stem](tmp_path / "x")


def test_a_message_about_settings_is_short(made: Any, tmp_path: Path) -> None:
    config = read_artifact(made.parse, kind="parse").header.config
    config["parse"] = {**config["parse"], "parts": list(range(10_000))}
    rewrite(made.parse, tmp_path / "x", lambda tensors: None, config=config)
    with pytest.raises(ArtifactError, match=r"parse\.parts") as caught:
        read_parse(tmp_path / "x")
    assert len(caught.value.message) < 600
