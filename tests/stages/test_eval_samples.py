"""Samples are compared with test images: figures, what defines them, errors, result files."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from npdraw.cli import execute
from npdraw.errors import UsageError
from npdraw.inputs.shipped import find_features, find_model
from npdraw.quality.features import features_of
from npdraw.stages import eval_samples as stage
from npdraw.training import classify
from tests.tiny_stages import Recorder, Stages, squares, tiny_runtime

FIGURES = ("frechet_distance", "kid", "precision", "recall", "density", "coverage")
GLYPHS = str(find_features("glyphs"))


def evaluate(model: Path, root: Path, **given: Any) -> dict[str, Any]:
    runtime = {name: given.pop(name) for name in ("force",) if name in given}
    settings: dict[str, Any] = {
        "source": None,
        "samples": 12,
        "images": None,
        "features": GLYPHS,
        "two_sample": False,
        "seed": 0,
        "out": None,
        "progress": Recorder(),
        **given,
    }
    return stage.eval_samples(model, root=root, runtime=tiny_runtime(runtime), **settings)


def test_samples_of_shipped_glyphs(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert workdir.is_dir()
    command = ["eval-samples", "glyphs", "--samples", "60", "--images", "80", "--precision", "fp32"]
    results = []
    for _ in range(2):
        assert execute([*command, "--json", "--quiet"]) == 0
        results.append(json.loads(capsys.readouterr().out))
    first, again = results
    assert {**first, "seconds": 0} == {**again, "seconds": 0}
    for figures in (first, first["floor"]):
        assert all(isinstance(figures[name], float) for name in FIGURES)
        assert figures["kid_se"] is None  # of one block
        assert 0 <= figures["precision"] <= 1
    assert first["floor"]["frechet_distance"] < first["frechet_distance"]
    assert (first["samples"], first["images"], first["training_images"]) == (60, 80, 60)
    assert (first["split"], first["sample_seeds"], first["seed"]) == ("test", "0-59", 0)
    assert first["features"] == "own features (glyphs)"
    assert first["resizing"] == "none"
    assert first["pixels"] == "binary, images drawn once, P(1) = value / 255, seed 0"

    assert execute([*command, "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "Fréchet distance" in out
    assert "FID" not in out
    assert first["features_digest"][:12] in out


def test_a_model_that_draws_training_images_reaches_the_floor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Samples are replaced by the training images that make the floor.
    compared: list[Any] = []
    images = stage._images

    def remember(*given: Any) -> Any:
        compared.append(images(*given))
        return compared[-1]

    monkeypatch.setattr(stage, "_images", remember)
    monkeypatch.setattr(stage, "_samples", lambda *_: compared[-1].training)
    result = evaluate(find_model("glyphs"), tmp_path, samples=40, images=50, features="own")
    assert {name: result[name] for name in result["floor"]} == result["floor"]
    # And by the test images themselves.
    monkeypatch.setattr(stage, "_samples", lambda *_: compared[-1].test)
    result = evaluate(find_model("glyphs"), tmp_path, samples=50, images=50, features="own")
    assert result["frechet_distance"] < 1e-6
    assert (result["precision"], result["recall"], result["coverage"]) == (1, 1, 1)


def test_pixels_of_samples_are_drawn(stages: Stages, made: Any, tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []

    def remember(extractor: Any, images: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(images)
        return features_of(extractor, images, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "features_of", remember)
        evaluate(made.model, tmp_path, source=stages.source)
        evaluate(made.model, tmp_path, source=stages.source)
        other = evaluate(made.model, tmp_path, source=stages.source, seed=1)
    assert other["sample_seeds"] == "12-23"
    drawn, test, training = seen[:3]
    assert (len(drawn), len(test), len(training)) == (12, stages.test, 12)
    for images in (drawn, test, training):
        assert images.dtype == torch.uint8
        assert set(images.unique().tolist()) <= {0, 255}
    assert torch.equal(seen[3], drawn)
    assert torch.equal(seen[4], test)
    assert not torch.equal(seen[6], drawn)  # other seeds, other pixels
    assert not torch.equal(seen[7], test)


def test_colour_models_keep_256_values(stages: Stages, tmp_path: Path) -> None:
    images = squares(60, 0)
    colour = stages.configured(parse={"channels": 3, "binarize": False}).from_images(
        tmp_path / "squares.npz", images, squares(24, 1)
    )
    paths = [tmp_path / f"{kind}.safetensors" for kind in ("parse", "prior", "model")]
    colour.parse(paths[0])
    colour.train_prior(paths[0], paths[1])
    colour.train_decoder(*paths)
    result = evaluate(paths[2], tmp_path, features=str(find_features("cifar10")))
    assert result["pixels"] == "256 values"
    assert result["resizing"] == "8 x 8 to 32 x 32, bilinear"
    with pytest.raises(UsageError, match="npdraw comes without features for npz:"):
        evaluate(paths[2], tmp_path, features="own")


def test_the_two_sample_test_is_reported(
    stages: Stages, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classify, "APART_STEPS", 2)
    result = evaluate(made.model, tmp_path, source=stages.source, two_sample=True)
    assert 0 <= result["two_sample"] <= 1
    assert result["two_sample_se"] <= 0.5 / np.sqrt(12)
    assert result["settings"]["two_sample"] is True
    assert "two_sample" not in evaluate(made.model, tmp_path, source=stages.source)


def test_too_few_are_an_error(stages: Stages, made: Any, tmp_path: Path) -> None:
    for given in ({"samples": 5}, {"images": 3}):
        with pytest.raises(UsageError, match="are too few to compare"):
            evaluate(made.model, tmp_path, source=stages.source, **given)
    with pytest.raises(UsageError, match="--images 25, but there are 24"):
        evaluate(made.model, tmp_path, source=stages.source, images=25)


def test_a_result_file_is_kept_replaced_or_refused(
    stages: Stages, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "deep" / "quality.json"
    result = evaluate(made.model, tmp_path, source=stages.source, out=out)
    assert json.loads(out.read_text()) == {k: v for k, v in result.items() if k != "out"}
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    monkeypatch.setattr(stage, "_samples", None)  # would fail if it were called
    again = evaluate(made.model, tmp_path, source=stages.source, out=out)
    assert again == {**result, "up_to_date": True}
    monkeypatch.undo()
    for changed in ({"samples": 13}, {"seed": 1}, {"images": 9}, {"two_sample": True}):
        with pytest.raises(UsageError, match=r"exists with other settings: [a-z]"):
            evaluate(made.model, tmp_path, source=stages.source, out=out, **changed)
    forced = evaluate(made.model, tmp_path, source=stages.source, out=out, seed=1, force=True)
    assert json.loads(out.read_text())["seed"] == forced["seed"] == 1
    prior = tmp_path / "prior.safetensors"
    shutil.copy(made.prior, prior)
    with pytest.raises(UsageError, match="is an artifact"):
        evaluate(made.model, tmp_path, source=stages.source, out=prior, force=True)


def test_images_are_compared_in_random_order(tmp_path: Path) -> None:
    # Files are sorted in ways that the blocks of KID, and evenly spaced positions, would show.
    chosen: list[torch.Tensor] = []

    def remember(images: torch.Tensor, *_: Any) -> torch.Tensor:
        return torch.arange(len(images)).view(-1, 1, 1, 1).expand_as(images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "to_levels", remember)
        patch.setattr(
            stage, "features_of", lambda _, images, *rest: chosen.append(images[:, 0, 0, 0])
        )
        patch.setattr(stage, "_figures", lambda *_: {})
        evaluate(find_model("glyphs"), tmp_path, samples=40, images=200, features="own")
    _, test, training = (positions / 255 for positions in chosen)
    spaced = torch.arange(200) * 10
    assert test.sort().values.tolist() == spaced.tolist()
    assert test.tolist() != spaced.tolist()
    assert len(set(training.tolist())) == 40
    assert {int(position) % 2 for position in training} == {0, 1}
