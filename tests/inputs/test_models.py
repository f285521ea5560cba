"""From artifacts to models and back: weights, settings and drawings are unchanged."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from npdraw.artifacts import read_artifact
from npdraw.config import as_dict
from npdraw.errors import ArtifactError, UsageError
from npdraw.inputs import models as loading
from npdraw.inputs.brushes import brush_of, table_shapes
from npdraw.inputs.models import (
    drawing_tensors,
    drawings_of,
    later_config,
    layout_of,
    new_model,
    new_prior,
    read_model,
    read_parse,
    read_prior,
    stored_config,
)
from npdraw.model.latents import Latents
from tests.tiny_stages import INK

READERS = {"parse": read_parse, "prior": read_prior, "model": read_model}


@pytest.mark.parametrize("kind", READERS)
def test_weights_come_back_as_they_were_stored(kind: str, made: Any) -> None:
    if kind == "parse":
        return
    stored = read_artifact(getattr(made, kind), kind=kind).tensors
    model = READERS[kind](getattr(made, kind))[0]
    assert stored.keys() - model.state_dict().keys() == {"bank"}
    for name, value in model.state_dict().items():
        assert torch.equal(value, stored[name])
    assert torch.equal(model.brush.bank, stored["bank"])
    parse = read_parse(made.parse)
    assert torch.equal(stored["bank"], parse.tensors["bank"])


@pytest.mark.parametrize("kind", READERS)
def test_a_file_of_another_kind_is_refused(kind: str, made: Any) -> None:
    for other in READERS.keys() - {kind}:
        with pytest.raises(ArtifactError) as caught:
            READERS[kind](getattr(made, other))
        assert f"is a {other}, expected a {kind}" in caught.value.message


@pytest.mark.parametrize("plain", [True, False], ids=["parts", "ink"])
@pytest.mark.parametrize("build", [new_prior, new_model])
def test_weightless_models_have_the_shapes_of_real_ones(
    build: Any, plain: bool, stages: Any
) -> None:
    config = stages.config if plain else stages.configured(parse=INK).config
    shapes = table_shapes(config.parse)
    tables = {name: torch.rand(shape) for name, shape in shapes.items()}
    real = build(config, brush_of(config.parse, tables)).state_dict()
    with loading._Weightless():
        tables = {name: torch.empty(shape) for name, shape in shapes.items()}
        empty = build(config, brush_of(config.parse, tables)).state_dict()
    assert {name: weight.shape for name, weight in empty.items()} == {
        name: weight.shape for name, weight in real.items()
    }
    assert {weight.device.type for weight in empty.values()} == {"meta"}
    assert not torch.empty(1).is_meta


def test_reading_a_model_imports_few_modules(made: Any) -> None:
    code = f"""
import sys
from pathlib import Path
from npdraw.inputs.models import read_model
before = set(sys.modules)
read_model(Path({str(made.model)!r}))
print(len(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20


def test_stored_settings_come_back(stages: Any, made: Any) -> None:
    model = read_artifact(made.model, kind="model")
    assert stored_config(model) == stages.config
    assert as_dict(stored_config(model)) == as_dict(stages.config)
    prior = stored_config(read_artifact(made.prior, kind="prior"))
    assert (prior.parse, prior.prior) == (stages.config.parse, stages.config.prior)
    assert prior.decoder != stages.config.decoder  # not stored: the preset's


def test_a_stage_may_change_only_its_own_and_later_sections(made: Any) -> None:
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
