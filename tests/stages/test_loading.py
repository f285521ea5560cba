"""Between artifacts and models: strict about names, shapes and settings."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from npdraw.artifacts import read_artifact, write_artifact
from npdraw.config import as_dict
from npdraw.errors import ArtifactError, UsageError
from npdraw.model.latents import Latents
from npdraw.stages.loading import (
    drawing_tensors,
    drawings_of,
    later_config,
    layout_of,
    read_model,
    read_parse,
    read_prior,
    stored_config,
)

READERS = {"parse": read_parse, "prior": read_prior, "model": read_model}
A_TENSOR = {"parse": "whether", "prior": "norm.weight", "model": "decoder.stem.bias"}


def rewrite(
    source: Path, out: Path, change: Callable[[dict[str, Tensor]], None], **fields: Any
) -> None:
    """Write an artifact again with other tensors or header fields, its digest right."""
    kind = next(kind for kind in READERS if source.name.startswith(kind))
    artifact = read_artifact(source, kind=kind)
    change(artifact.tensors)
    header = artifact.header
    write_artifact(
        out,
        kind,
        artifact.tensors,
        config=fields.get("config", header.config),
        dataset=fields.get("dataset", header.dataset),
        inputs=header.inputs,
        seed=header.seed,
        metrics=header.metrics,
    )


@pytest.mark.parametrize("kind", READERS)
def test_every_tensor_must_be_there_in_its_shape_and_no_other(
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
def test_weights_come_back_as_they_were_stored(kind: str, made: Any) -> None:
    if kind == "parse":
        return
    stored = read_artifact(getattr(made, kind), kind=kind).tensors
    model = READERS[kind](getattr(made, kind))[0]
    assert stored.keys() - model.state_dict().keys() == {"bank"}
    for name, value in model.state_dict().items():
        assert torch.equal(value, stored[name])
    assert torch.equal(model.bank, stored["bank"])
    parse = read_parse(made.parse)
    assert torch.equal(stored["bank"], parse.tensors["bank"])


@pytest.mark.parametrize("kind", READERS)
def test_a_file_of_another_kind_is_refused(kind: str, made: Any) -> None:
    for other in READERS.keys() - {kind}:
        with pytest.raises(ArtifactError) as caught:
            READERS[kind](getattr(made, other))
        assert f"is a {other}, expected a {kind}" in caught.value.message


@pytest.mark.parametrize("kind", READERS)
def test_damage_anywhere_is_found(kind: str, made: Any, tmp_path: Path, flip: Any) -> None:
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


def test_settings_that_nobody_knows_are_an_artifact_error(made: Any, tmp_path: Path) -> None:
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


def test_stored_settings_come_back(stages: Any, made: Any) -> None:
    model = read_artifact(made.model, kind="model")
    assert stored_config(model) == stages.config
    assert as_dict(stored_config(model)) == as_dict(stages.config)
    prior = stored_config(read_artifact(made.prior, kind="prior"))
    assert (prior.parse, prior.prior) == (stages.config.parse, stages.config.prior)
    assert prior.decoder != stages.config.decoder  # not stored: the preset's


def test_later_stages_may_change_only_what_is_theirs(made: Any) -> None:
    parse = read_artifact(made.parse, kind="parse")
    prior = read_artifact(made.prior, kind="prior")
    assert later_config(parse, {"prior": {"steps": 9}}, "prior").prior.steps == 9
    config = later_config(parse, {"decoder": {"steps": 9}, "prior": {"width": 32}}, "prior")
    assert (config.decoder.steps, config.prior.width) == (9, 32)
    assert later_config(prior, {"decoder": {"steps": 9}}, "decoder").decoder.steps == 9
    assert later_config(prior, {"prior": {"steps": 4}}, "decoder").prior.steps == 4  # no change
    for artifact, changes, section, fixed in (
        (parse, {"parse": {"parts": 9}}, "prior", "parse"),
        (prior, {"parse": {"parts": 9}}, "decoder", "parse"),
        (prior, {"prior": {"steps": 9}}, "decoder", "prior"),
    ):
        with pytest.raises(UsageError) as caught:
            later_config(artifact, changes, section)
        assert f"[{fixed}] are fixed by {artifact.path}" in caught.value.message
        assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match="stepz"):
        later_config(parse, {"prior": {"stepz": 9}}, "prior")
    with pytest.raises(UsageError, match="painter"):
        later_config(parse, {"painter": {"steps": 9}}, "prior")


def test_drawings_are_stored_small_and_canonical(made: Any, tmp_path: Path) -> None:
    whether = torch.tensor([[True, False, True, False]])
    z = Latents(whether, torch.tensor([[3, 2, 0, 1]]), torch.tensor([[4095, 6, 0, 7]]))
    stored = drawing_tensors(z)
    assert (stored["whether"].dtype, stored["what"].dtype) == (torch.bool, torch.int16)
    assert stored["what"].tolist() == [[4095, 0, 0, 0]]
    assert stored["where"].tolist() == [[3, 0, 0, 0]]

    parse = read_parse(made.parse)
    z = drawings_of(parse)
    assert (z.where.dtype, z.what.dtype) == (torch.int64, torch.int64)
    for name, tensor in drawing_tensors(z).items():
        assert torch.equal(tensor, parse.tensors[name])


def test_the_layout_is_that_of_the_settings(stages: Any) -> None:
    layout = layout_of(stages.config.parse)
    assert (layout.height, layout.width) == (8, 8)
    assert (layout.part_size, layout.stride, layout.jitter) == (4, 4, 2)
