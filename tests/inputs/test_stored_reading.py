"""How pictures were read, and their classes, are stored, checked and followed by later commands."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from npdraw.artifacts import Artifact
from npdraw.drawings.drawing_model import open_model
from npdraw.drawings.named import drawing_of_picture, named_drawing
from npdraw.errors import ArtifactError, DataError, UsageError
from npdraw.header import read_header
from npdraw.inputs.images import reading_of, same_images
from npdraw.inputs.models import read_model, read_parse
from npdraw.reading import Reading
from tests.datasets.own_pictures import drawing, drawings
from tests.inputs.test_invalid_models import rewrite
from tests.tiny_stages import tiny_runtime

INVERTED = Reading("white", invert=True, fit="pad", white=200.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Dark strokes on a light ground; those of class b are paler."""
    drawings(tmp_path / "own" / "a", 20, ground=200, ink=0)
    drawings(tmp_path / "own" / "b", 20, ground=200, ink=60)
    return tmp_path / "own"


def parsed(stages: Any, folder: Path, **settings: Any) -> Artifact:
    out = folder.parent / "parse.safetensors"
    stages.configured(parse=settings).parse(out, source=f"folder:{folder}", reading=INVERTED)
    return read_parse(out)


@pytest.mark.parametrize("shift", [0, 1])
def test_a_parse_holds_the_reading_and_the_labels(shift: int, stages: Any, folder: Path) -> None:
    artifact = parsed(stages, folder, shift=shift)
    record = artifact.header.dataset
    assert record["reading"] == INVERTED.record()
    assert reading_of(artifact.header) == INVERTED
    assert record["classes"] == ["a", "b"]
    again = same_images(
        artifact.header,
        artifact.path,
        None,
        folder,
        stages.configured(parse={"shift": shift}).config.parse,
        stages.Recorder(),
    )
    assert again.dataset == record
    assert again.labels is not None
    assert torch.equal(again.labels, artifact.tensors["labels"])
    assert artifact.tensors["labels"].dtype == torch.int16
    assert len(again.labels) == len(again.images) == len(artifact.tensors["whether"])
    # The ink of class a is 255 once it is inverted, that of class b is (200 - 60) / 200 of it.
    assert again.images.amax((1, 2, 3))[again.labels == 1].max() <= 179
    assert again.images.amax((1, 2, 3))[again.labels == 0].min() > 120
    assert again.held_out[:, :, 0, 0].max() == 0  # not shifted


def test_another_reading_is_another_parse(stages: Any, folder: Path) -> None:
    artifact = parsed(stages, folder)
    again = stages.configured()
    with pytest.raises(UsageError, match="reading"):
        again.parse(artifact.path, source=f"folder:{folder}", reading=Reading())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reading", {}),
        ("reading", INVERTED.record() | {"fit": "zoom"}),
        ("reading", None),
        *[("classes", value) for value in ([], ["a", "a"], "ab", [1, 2], ["a"], None)],
    ],
)
def test_malformed_records_are_refused(
    name: str, value: Any, stages: Any, folder: Path, tmp_path: Path
) -> None:
    artifact = parsed(stages, folder)
    dataset = {**artifact.header.dataset, name: value}
    rewrite(artifact.path, tmp_path / "x", lambda _: None, dataset=dataset)
    with pytest.raises(ArtifactError, match=r"does not fit its settings: .*(its data set|labels)"):
        read_parse(tmp_path / "x")


def test_labels_without_classes_are_refused(stages: Any, folder: Path, tmp_path: Path) -> None:
    artifact = parsed(stages, folder)
    dataset = {k: value for k, value in artifact.header.dataset.items() if k != "classes"}
    rewrite(artifact.path, tmp_path / "x", lambda _: None, dataset=dataset)
    with pytest.raises(ArtifactError, match=r"a tensor labels of shape .* expected none"):
        read_parse(tmp_path / "x")
    rewrite(artifact.path, tmp_path / "y", lambda tensors: tensors["labels"].sub_(1))
    with pytest.raises(ArtifactError, match=r"labels has values in -1\.\.0"):
        read_parse(tmp_path / "y")


def test_a_named_set_has_no_reading(made: Any, tmp_path: Path) -> None:
    header = read_header(made.model)
    dataset = {**header.dataset, "name": "mnist", "reading": Reading().record()}
    rewrite(made.model, tmp_path / "model", lambda _: None, dataset=dataset)
    with pytest.raises(ArtifactError, match="its data set has reading, expected none"):
        read_model(tmp_path / "model")


def test_pictures_are_read_like_those_that_a_model_was_trained_on(
    made: Any, tmp_path: Path
) -> None:
    model = open_model(made.model, tiny_runtime({}))
    dataset = {**model.header.dataset, "reading": INVERTED.record()}
    inverted = replace(model, header=replace(model.header, dataset=dataset))
    picture = drawing(0, ground=200, ink=0)
    picture.save(tmp_path / "x.png")
    content = (tmp_path / "x.png").read_bytes()
    for named in (
        drawing_of_picture(content, inverted),
        named_drawing(str(tmp_path / "x.png"), inverted, tmp_path),
    ):
        assert named.image is not None
        assert named.image[0, 0, 0].max() == 0  # the ground
        assert named.image.max() > 0
    plain = drawing_of_picture(content, model).image
    assert plain is not None and plain.mean() > 0.5


def test_pictures_that_changed_are_a_data_error(stages: Any, folder: Path) -> None:
    artifact = parsed(stages, folder)
    drawing(77, ground=200, ink=0).save(folder / "a" / "000.png")
    with pytest.raises(DataError, match=r"but .* was made from"):
        same_images(
            artifact.header,
            artifact.path,
            None,
            folder,
            stages.config.parse,
            stages.Recorder(),
        )
