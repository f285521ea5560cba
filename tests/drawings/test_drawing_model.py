"""Python's door to a trained model: the same figures and drawings as the commands."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import npdraw
from npdraw.artifacts import read_artifact
from npdraw.config import BATCH_SIZE, ParseConfig
from npdraw.drawings.drawing_model import DrawingModel
from npdraw.drawings.preprocess import check_levels
from npdraw.drawings.strokes import fingerprint
from npdraw.errors import ArtifactError, UsageError
from npdraw.inputs.models import drawings_of
from npdraw.model.latents import Latents


@pytest.fixture(scope="module")
def model(trained: Any) -> DrawingModel:
    return npdraw.load(trained.model, precision="fp32")  # as the stages of the tests


@pytest.fixture
def test_images(stages: Any) -> np.ndarray:
    return np.load(stages.npz)["test"]


def test_import_loads_nothing_heavy() -> None:
    code = "import sys, npdraw; print({'torch', 'numpy'} & sys.modules.keys() or 'light')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "light\n"


def test_samples_are_those_of_the_command(
    model: DrawingModel, stages: Any, trained: Any, tmp_path: Path
) -> None:
    stages.sample(trained.model, tmp_path / "drawn", seeds=range(3, 9))
    expected = drawings_of(read_artifact(tmp_path / "drawn/drawings.safetensors", kind="drawings"))
    assert fingerprint(model.sample(6, seed=3)) == fingerprint(expected)
    assert fingerprint(model.sample(1, seed=5)) == fingerprint(expected[2:3])
    assert fingerprint(model.sample(6, 3, temperature=0.2)) != fingerprint(expected)


def test_the_bound_is_that_of_the_command(
    model: DrawingModel, stages: Any, trained: Any, test_images: np.ndarray
) -> None:
    bounds = model.nll(test_images, samples=3)
    expected = stages.eval_nll(trained.model, samples=3)
    assert float(bounds.mean()) == pytest.approx(expected["nll"], rel=1e-6)
    assert float(bounds.std()) > 0


def test_parses_are_those_of_the_stage(model: DrawingModel, stages: Any, trained: Any) -> None:
    images = np.load(stages.npz)["train"]
    expected = drawings_of(read_artifact(trained.parse, kind="parse"))
    assert fingerprint(model.parse(images)) == fingerprint(expected)


def test_encodings_are_likeliest_or_sampled(model: DrawingModel, test_images: np.ndarray) -> None:
    x = model.preprocess(test_images)
    with torch.no_grad():
        q = model.network.encode(x)
    likeliest = model.encode(x)
    assert torch.equal(likeliest.whether, torch.sigmoid(q.whether) > 0.5)
    painted = likeliest.whether
    assert torch.equal(likeliest.what[painted], q.what.squeeze(2).argmax(2)[painted])
    assert torch.equal(likeliest.where[painted], q.where.argmax(2)[painted])
    assert not likeliest.what[~painted].any()
    drawn = [model.encode(x, seed=seed) for seed in range(8)]
    often = torch.stack([z.whether for z in drawn]).float().mean(0)
    assert (often - torch.sigmoid(q.whether)).abs().mean() < 0.15
    assert len({fingerprint(z) for z in drawn}) > 1
    assert fingerprint(model.encode(x, seed=0)) == fingerprint(drawn[0])
    one = model.encode(x[:5], seed=0)
    assert fingerprint(one) == fingerprint(drawn[0][:5])


def test_pictures_of_any_number_of_drawings(model: DrawingModel) -> None:
    z = model.sample(BATCH_SIZE + 3)
    canvases = model.paint(z)
    images = model.decode(canvases)
    assert canvases.shape == (BATCH_SIZE + 3, 2, 8, 8) and images.shape == (BATCH_SIZE + 3, 1, 8, 8)
    assert 0 <= float(images.min()) < float(images.max()) <= 1
    assert torch.equal(canvases[:3], model.paint(z[:3]))
    torch.testing.assert_close(images[:3], model.decode(canvases[:3]), atol=1e-5, rtol=0)


def test_completions_of_nothing_and_of_everything(model: DrawingModel) -> None:
    given, steps = model.sample(1, seed=4), model.layout.steps
    nothing, everything = torch.zeros(steps).bool(), torch.ones(steps).bool()
    assert fingerprint(model.complete(given, nothing, 5, 2)) == fingerprint(model.sample(5, 2))
    found = model.complete(given, everything, 3, 0)
    assert all(fingerprint(found[i : i + 1]) == fingerprint(given) for i in range(3))
    half = torch.arange(steps) >= steps // 2
    found = model.complete(given, half, 3, 0, particles=8)
    again = model.complete(given, half, 1, 1, particles=8)
    assert fingerprint(found[1:2]) == fingerprint(again)
    assert torch.equal(found.whether[:, half], given.whether[:, half].expand(3, -1))


def test_grey_values_are_binarised_as_by_eval_nll(model: DrawingModel) -> None:
    grey = torch.full((2, 8, 8), 128, dtype=torch.uint8)
    seen = model.preprocess(grey, seed=3)
    assert set(seen.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(seen, model.preprocess(grey, seed=3))
    assert not torch.equal(seen, model.preprocess(grey, seed=4))
    assert torch.equal(model.preprocess(seen), seen)


def test_arrays_that_are_not_images_are_refused(model: DrawingModel) -> None:
    for images, words in (
        (torch.zeros(2, 9, 9), "images of shape [2, 1, 9, 9]; this model has [N, 1, 8, 8]"),
        (torch.zeros(8, 8), "images of shape"),
        (torch.zeros(0, 8, 8), "N at least 1"),
        (torch.full((1, 8, 8), 1.5), "neither uint8 nor floats"),
        (torch.full((1, 8, 8), torch.nan), "neither uint8 nor floats"),
        (torch.zeros(1, 8, 8, dtype=torch.int64), "neither uint8 nor floats"),
    ):
        with pytest.raises(UsageError) as caught:
            model.preprocess(images)
        assert words in caught.value.message


def test_drawings_and_canvases_of_another_model_are_refused(model: DrawingModel) -> None:
    z, steps = model.sample(2), model.layout.steps
    everywhere = torch.ones(2, steps).bool()
    short = z[:, 1:]
    for wrong, words in (
        (lambda: model.paint(short), f"drawings of shape [2, {steps - 1}]"),
        (lambda: model.paint(z[:0]), "N at least 1"),
        (
            lambda: model.paint(Latents(everywhere, z.where, z.what + len(model.parts[0]))),
            f"this model has 0..{len(model.parts[0]) - 1}",
        ),
        (lambda: model.paint(Latents(everywhere, z.where - 1, z.what)), "where of the drawings"),
        (lambda: model.decode(torch.zeros(1, 2, 9, 8)), "this model has [N, 2, 8, 8]"),
        (lambda: model.decode(torch.zeros(2, 8, 8)), "canvases of shape [2, 8, 8]"),
        (lambda: model.decode(torch.zeros(0, 2, 8, 8)), "N at least 1"),
    ):
        with pytest.raises(UsageError) as caught:
            wrong()
        assert words in caught.value.message
    nowhere = Latents(z.whether & False, z.where - 1, z.what + 1000)
    assert float(model.paint(nowhere).abs().sum()) == 0  # what is not painted does not count


def test_arguments_out_of_range_are_refused(model: DrawingModel) -> None:
    given, steps = model.sample(2), model.layout.steps
    mask = torch.arange(steps) < 2
    for wrong in (
        lambda: model.sample(0),
        lambda: model.sample(1, -1),
        lambda: model.sample(1, temperature=0.0),
        lambda: model.nll(torch.zeros(1, 8, 8), samples=0),
        lambda: model.complete(given, mask),
        lambda: model.complete(given[:1], mask[:1]),
        lambda: model.complete(given[:1], mask[None]),
        lambda: model.complete(given[:1], torch.arange(steps)),
        lambda: model.complete(given[:1], mask, 0),
        lambda: model.complete(given[:1], mask, 1, -1),
        lambda: model.complete(given[:1], mask, temperature=float("nan")),
        lambda: model.complete(given[:1], mask, particles=0),
    ):
        with pytest.raises(UsageError):
            wrong()


def test_only_values_that_the_model_explains_have_a_likelihood(model: DrawingModel) -> None:
    soft = torch.full((1, 8, 8), 0.5)
    assert model.encode(soft).whether.shape[0] == 1
    for evaluate in (model.nll, model.classify):
        with pytest.raises(UsageError, match=r"between the 2 that|has no classes"):
            evaluate(soft)
    with pytest.raises(UsageError, match="between the 2 that the model explains") as caught:
        model.nll(soft)
    assert "uint8" in caught.value.hint
    levels = ParseConfig(image_size=8, part_size=4, stride=4, binarize=False)
    check_levels(torch.arange(256) / 255, levels)
    with pytest.raises(UsageError, match="between the 256"):
        check_levels(torch.tensor([0.3, 100.5 / 255]), levels)


def test_models_are_found_by_name(shipped: Path) -> None:
    assert npdraw.load("mnist").path == shipped / "mnist.safetensors"
    with pytest.raises(ArtifactError, match="no shipped model of that name"):
        npdraw.load("mnits")
    with pytest.raises(UsageError, match="no CUDA device"):
        if torch.cuda.is_available():
            raise UsageError("there is no CUDA device")
        npdraw.load("mnist", device="cuda")
