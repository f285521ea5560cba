"""How pictures were read, and their classes, are stored, checked and followed by later commands."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from npdraw.artifacts import Artifact
from npdraw.datasets import Source
from npdraw.drawings.drawing_model import open_model
from npdraw.drawings.named import drawing_of_picture, named_drawing
from npdraw.errors import ArtifactError, DataError, UsageError
from npdraw.header import read_header
from npdraw.inputs.images import deformed, reading_of, same_images, training_images
from npdraw.inputs.models import read_model, read_parse
from npdraw.reading import Reading
from npdraw.training import decoder_step
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


@pytest.mark.parametrize(
    ("reading", "channels", "ground"),
    [
        (Reading("white"), 1, [255]),
        (Reading("white", invert=True), 1, [0]),
        (Reading("#ff8000"), 3, [255, 128, 0]),
        (Reading("#ff8000", invert=True), 3, [0, 127, 255]),
        (None, 3, [0, 0, 0]),
    ],
)
def test_shifted_copies_have_the_ground_around_them(
    reading: Reading | None, channels: int, ground: list[int], stages: Any, tmp_path: Path
) -> None:
    drawings(tmp_path / "own", 20, mode="RGB", ground=(255, 128, 0), ink=(0, 0, 0))
    config = replace(
        stages.config.parse, image_size=28, shift=2, channels=channels, binarize=channels == 1
    )
    source = Source("folder", tmp_path / "own")
    images = training_images(
        source, tmp_path, config, None, stages.Recorder(), reading=reading
    ).train
    count = len(images) // 25
    down_right, up_left = images[:count], images[-count:]
    expected = torch.tensor(ground, dtype=torch.uint8)[:, None, None].expand(-1, 2, 28)
    for image in down_right:
        assert torch.equal(image[:, :2], expected) and torch.equal(image[..., :2].mT, expected)
    for image in up_left:
        assert torch.equal(image[:, -2:], expected) and torch.equal(image[..., -2:].mT, expected)


def test_deformed_images_have_the_ground_around_them() -> None:
    white = torch.ones(5, 3, 8, 8)
    white[:, 1] = 0.25
    maps = torch.eye(2) * torch.linspace(1, 3, 5)[:, None, None]  # the last is a third as large
    again = deformed(white, maps, torch.tensor([1.0, 0.25, 1.0]))
    torch.testing.assert_close(again, white)
    assert deformed(white, maps)[-1, :, 0].max() == 0


def test_a_training_deforms_pictures_on_their_ground(
    stages: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawings(tmp_path / "own", 30, ground=255, ink=0)
    own = stages.configured(
        parse={"binarize": False, "parts": 4},
        decoder={"deform": 0.3, "encoder_channels": 8},
    )
    source, reading = f"folder:{tmp_path / 'own'}", Reading("white")
    paths = [tmp_path / name for name in ("parse", "prior", "model")]
    own.parse(paths[0], source=source, reading=reading)
    own.train_prior(*paths[:2])
    grounds: list[Any] = []

    def seen(images: torch.Tensor, maps: torch.Tensor, ground: Any) -> torch.Tensor:
        grounds.append(ground)
        return deformed(images, maps, ground)

    monkeypatch.setattr(decoder_step, "deformed", seen)
    own.train_decoder(*paths)
    assert grounds and all(ground.tolist() == [1.0] for ground in grounds)
