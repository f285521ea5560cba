"""Features are found, read and checked: their file, their images, their names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from npdraw.artifacts import write_artifact
from npdraw.datasets import parse_source
from npdraw.errors import ArtifactError, UsageError
from npdraw.inputs.features import chosen_features, read_features
from npdraw.inputs.shipped import find_features
from npdraw.quality.classifier import Classifier
from npdraw.quality.features import features_of
from npdraw.run_key import RunKey

CPU = torch.device("cpu")
DATASET = {"name": "glyphs", "image_shape": [1, 28, 28], "classes": ["a", "b"]}


def write(path: Path, *, kind: str = "features", weights: Any = None, **dataset: Any) -> str:
    """Write random features; return their digest."""
    torch.manual_seed(0)
    tensors = Classifier(1, 2).state_dict() if weights is None else weights
    run_key = RunKey({}, {**DATASET, **dataset}, {}, 0)
    return write_artifact(path, kind, tensors, run_key=run_key, metrics={"accuracy": 0.5})


def test_features_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    digest = write(path)
    read = read_features(path, 1, CPU)
    assert (read.digest, read.image_size, read.name) == (
        digest,
        28,
        "features of x.safetensors (glyphs)",
    )
    torch.manual_seed(0)
    images = torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8)
    torch.manual_seed(0)
    expected = Classifier(1, 2).features(images.float() / 255)
    torch.testing.assert_close(features_of(read, images, CPU), expected)


def test_damage_anywhere_is_detected(tmp_path: Path, flip: Callable[[Path, int], None]) -> None:
    path = tmp_path / "x.safetensors"
    for at in range(0, 500_000, 90_001):
        write(path)
        flip(path, at)
        with pytest.raises(ArtifactError):
            read_features(path, 1, CPU)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="is damaged") as error:
        read_features(path, 1, CPU)
    assert error.value.hint == f"Make it again: npdraw train-features --out {path} --force"
    path.unlink()
    with pytest.raises(ArtifactError, match="there is no file") as error:
        read_features(path, 1, CPU)
    assert error.value.hint == "Make it: npdraw train-features"


@pytest.mark.parametrize(
    ("dataset", "problem"),
    [
        ({"image_shape": [1, 28]}, "image_shape of its data set is [1, 28]"),
        ({"image_shape": [1, 28, 32]}, "image_shape"),
        ({"image_shape": [2, 28, 28]}, "image_shape"),
        ({"image_shape": [1, 512, 512]}, "image_shape"),
        ({"image_shape": [1, 28.0, 28]}, "image_shape"),
        ({"image_shape": None}, "image_shape"),
        ({"classes": ["a"]}, "classes of its data set are ['a']"),
        ({"classes": 2}, "classes"),
        ({"classes": ["a", "b", "c"]}, "its tensor head.bias has shape [2], expected [3]"),
    ],
)
def test_what_does_not_fit_its_settings_is_refused(
    dataset: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    write(path, **dataset)
    with pytest.raises(ArtifactError, match="does not fit its settings") as error:
        read_features(path, 1, CPU)
    assert problem in error.value.message


def test_other_kinds_tensors_and_colours_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write(path, kind="prior")
    with pytest.raises(ArtifactError, match="is a prior, expected a file of features"):
        read_features(path, 1, CPU)
    write(path, weights={"surplus": torch.zeros(1)})
    with pytest.raises(ArtifactError, match=r"it has no tensor head\.bias"):
        read_features(path, 1, CPU)
    write(path)
    with pytest.raises(ArtifactError, match="that are grey, those to compare are in colour"):
        read_features(path, 3, CPU)


def test_a_misspelt_name_suggests_the_right_one() -> None:
    with pytest.raises(
        UsageError, match="'inceptoin' is neither a kind of features nor a file"
    ) as error:
        chosen_features("inceptoin", parse_source("glyphs"), 1, CPU)
    assert error.value.hint == "Did you mean 'inception'? Known: imagenet, inception, own."


def test_own_features_are_those_of_the_data_set(tmp_path: Path) -> None:
    for name, channels in (("glyphs", 1), ("mnist", 1), ("mnist-static", 1), ("cifar10", 3)):
        found = chosen_features("own", parse_source(name), channels, CPU)
        assert found.name == f"own features ({name.removesuffix('-static')})"
    path = find_features("glyphs")
    assert path is not None
    named = chosen_features(str(path), parse_source("mnist"), 1, CPU)
    assert named.name == "own features (glyphs)"
    with pytest.raises(UsageError, match="npdraw comes without features for folder:mine") as error:
        chosen_features("own", parse_source("folder:mine"), 1, CPU)
    assert "--features imagenet" in error.value.hint
    assert "npdraw train-features --data folder:mine --out FILE" in error.value.hint
