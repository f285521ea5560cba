"""Features are trained on labels, written as an artifact, kept while up to date."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from npdraw.artifacts import read_artifact
from npdraw.config import Config, ParseConfig
from npdraw.datasets import embedded
from npdraw.errors import ArtifactError, DataError, DivergedError, UsageError
from npdraw.inputs.features import read_features
from npdraw.presets import preset
from npdraw.stages import train_features as stage
from npdraw.training import classify
from tests.tiny_stages import Recorder, tiny_runtime

TINY = Config(data="npz", parse=ParseConfig(image_size=8, part_size=4, stride=4))


def train(out: Path, source: str = "glyphs", config: Config | None = None, **given: Any) -> Any:
    runtime = {name: given.pop(name) for name in ("force",) if name in given}
    settings: dict[str, Any] = {"steps": 2, "seed": 0, "progress": Recorder(), **given}
    return stage.train_features(
        config or preset("glyphs"),
        source=source,
        root=out.parent,
        out=out,
        runtime=tiny_runtime(runtime),
        **settings,
    )


def test_features_of_glyphs(tmp_path: Path) -> None:
    out, progress = tmp_path / "features.safetensors", Recorder()
    result = train(out, steps=20, progress=progress)
    assert result["classes"] == 20
    assert result["images"] == 2000
    assert result["accuracy"] > 0.1  # guessing reaches 0.05
    assert progress.tasks == [("train-features", 20, {"scale": 128})]
    artifact = read_artifact(out, kind="features")
    header = artifact.header
    assert header.metrics == {name: result[name] for name in ("accuracy", "classes", "images")}
    assert header.config == {
        "preset": "glyphs",
        "parse": {"image_size": 28, "channels": 1, "binarize": True},
        "features": {"steps": 20},
    }
    assert header.dataset["classes"] == list(embedded.CHARACTERS)
    assert (header.dataset["name"], header.dataset["train"]) == ("glyphs", 20_000)
    assert read_features(out, 1, torch.device("cpu")).digest == header.digest


def test_the_same_command_is_up_to_date_and_repeats_its_bytes(tmp_path: Path) -> None:
    out = tmp_path / "features.safetensors"
    first, content = train(out), out.read_bytes()
    again = train(out)
    assert again == {**first, "up_to_date": True}
    with pytest.raises(UsageError, match=r"exists with other settings: features\.steps 2, now 3"):
        train(out, steps=3)
    train(out, force=True)
    assert out.read_bytes() == content
    train(out, seed=1, force=True)
    assert out.read_bytes() != content
    out.write_bytes(content[:-1])
    with pytest.raises(ArtifactError, match="is damaged"):
        train(out)


def archive(path: Path, **arrays: Any) -> str:
    rng = np.random.default_rng(0)
    images = {split: rng.integers(0, 256, (8, 8, 8), dtype=np.uint8) for split in ("train", "test")}
    np.savez(path, **images, **arrays)
    return f"npz:{path}"


def test_labels_of_own_arrays_are_used_and_recorded(tmp_path: Path) -> None:
    labels = {"y_train": np.arange(8) % 2, "y_test": np.arange(8) % 2}
    source, digests = archive(tmp_path / "x.npz", **labels), set()
    for changed in (labels, {**labels, "y_train": 1 - labels["y_train"]}):
        out = tmp_path / f"{len(digests)}.safetensors"
        train(out, archive(tmp_path / "x.npz", **changed), TINY)
        digests.add(read_artifact(out, kind="features").header.dataset["labels"])
    assert len(digests) == 2
    del labels["y_test"]
    source = archive(tmp_path / "x.npz", **labels)
    with pytest.raises(DataError, match="has no labels"):
        train(tmp_path / "y.safetensors", source, TINY)
    labels = {"y_train": np.zeros(8, int), "y_test": np.zeros(8, int)}
    with pytest.raises(DataError, match="have the same label"):
        train(tmp_path / "y.safetensors", archive(tmp_path / "x.npz", **labels), TINY)


def test_a_data_set_without_labels_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "cifar10.npz", train=images, test=images)
    with pytest.raises(DataError, match=r"cifar10\.npz has no train_labels") as error:
        train(tmp_path / "y.safetensors", "cifar10", preset("cifar10"))
    assert "train_labels=..., test_labels=..." in error.value.hint
    (tmp_path / "cifar10.npz").unlink()  # the published files need not even be there
    with pytest.raises(DataError, match="in pickles, which are never unpickled"):
        train(tmp_path / "y.safetensors", "cifar10", preset("cifar10"))
    assert not (tmp_path / "y.safetensors").exists()


def labelled(path: Path, train_labels: list[int], test_labels: list[int]) -> str:
    """Save six random images for training and for the test with these labels."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(0, 256, (6, 8, 8), dtype=np.uint8) for name in ("train", "test")}
    np.savez(path, **arrays, y_train=train_labels, y_test=test_labels)
    return f"npz:{path}"


def test_a_class_without_training_images_is_an_error(tmp_path: Path) -> None:
    source = labelled(tmp_path / "x.npz", [0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 1, 0])
    with pytest.raises(
        DataError, match="test images of the class 3, of which there were no training"
    ):
        train(tmp_path / "f.safetensors", source, TINY)


def test_a_loss_that_is_not_a_number_has_a_hint_that_can_be_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classify.F, "cross_entropy", lambda x, _: x.sum() * float("nan"))
    with pytest.raises(DivergedError) as caught:
        train(tmp_path / "f.safetensors")
    assert "--seed" in caught.value.hint and "learning rate" not in caught.value.hint
