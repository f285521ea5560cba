"""The whole pipeline in colour: 256 values per pixel, a canvas half as wide as the image."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from npdraw.artifacts import read_artifact
from npdraw.errors import ArtifactError
from npdraw.inputs.models import drawings_of, layout_of, read_model
from npdraw.model.canvas import paint
from npdraw.model.parsing import parse as parse_images
from npdraw.pictures.sheet import draw

COLOUR = {
    "image_size": 16,
    "channels": 3,
    "binarize": False,
    "canvas_size": 8,
    "jitter": 1,
    "compositing": "over",
}


def squares(count: int, seed: int) -> NDArray[np.uint8]:
    """Colour images [count, 16, 16, 3] of four squares on grey, with some noise."""
    rng = np.random.default_rng(seed)
    palette = np.array([[200, 30, 30], [30, 180, 60], [20, 60, 220], [230, 220, 40]])
    coarse = palette[rng.integers(0, 4, (count, 2, 2))]
    images = coarse.repeat(8, 1).repeat(8, 2) + rng.integers(-9, 10, (count, 16, 16, 3))
    return images.clip(0, 255).astype(np.uint8)


@pytest.fixture
def colour(stages: Any, tmp_path: Path) -> Any:
    """The stages with colour images."""
    return stages.configured(parse=COLOUR).from_images(
        tmp_path / "squares.npz", squares(60, 1), squares(24, 2)
    )


def test_a_parse_is_of_the_image_at_the_size_of_the_canvas(colour: Any, tmp_path: Path) -> None:
    result = colour.parse(tmp_path / "p")
    artifact = read_artifact(tmp_path / "p", kind="parse")
    settings, bank = colour.config.parse, artifact.tensors["bank"]
    assert artifact.header.dataset["binarized"] is False
    assert artifact.header.dataset["image_shape"] == [3, 16, 16]
    assert bank.shape == (8, 3, 4, 4)
    images = squares(60, 1).astype(float)
    small = images.reshape(60, 8, 2, 8, 2, 3).mean((2, 4)).transpose(0, 3, 1, 2)
    # Parts are patches of training images, in steps of 1 / 255.
    seen = {patch.tobytes() for image in small[:40] for patch in patches(image)}
    assert {part.tobytes() for part in (bank.numpy() * 255).round().astype(np.uint8)} <= seen
    z, target = drawings_of(artifact), torch.from_numpy(small / 255).float()
    again = parse_images(
        target, bank, layout_of(settings), threshold=settings.threshold, compositing="over"
    )
    assert torch.equal(z.what, again.what) and torch.equal(z.whether, again.whether)
    canvas = paint(z, bank, layout_of(settings), "over")[:, :3]
    expected = float((canvas - target).square().mean())
    assert result["canvas_mse"] == pytest.approx(expected, rel=1e-5)
    assert result["canvas_mse"] < 0.01


def patches(image: NDArray[np.float64]) -> list[NDArray[np.uint8]]:
    """The patches [3, 4, 4] of an image [3, 8, 8] under the grid."""
    rounded = image.round().astype(np.uint8)
    return [rounded[:, y : y + 4, x : x + 4].copy() for y in (0, 4) for x in (0, 4)]


def test_from_images_to_colour_samples(colour: Any, tmp_path: Path) -> None:
    more = colour.configured(
        prior={"steps": 20},
        decoder={"steps": 60, "wake": 0.1, "learning_rate": 1e-2, "ema": 0.8},
    )
    more.parse(tmp_path / "parse.safetensors")
    more.train_prior(tmp_path / "parse.safetensors", tmp_path / "prior.safetensors")
    trained = more.train_decoder(
        tmp_path / "parse.safetensors",
        tmp_path / "prior.safetensors",
        tmp_path / "model.safetensors",
    )
    bits = 3 * 16 * 16 * math.log(2)
    assert trained["nll"] / bits < 6.5  # 8 is a uniform guess
    result = more.eval_nll(tmp_path / "model.safetensors", samples=3)
    assert result["binarization"] == "none, 256 values"
    assert result["bits_per_dim"] == pytest.approx(result["nll"] / bits)
    assert result["bits_per_dim"] < 6.5
    model, _, _ = read_model(tmp_path / "model.safetensors")
    z = draw(model.prior, [0, 1])
    with torch.no_grad():
        images = model.decode(model.paint(z))
    assert images.shape == (2, 3, 16, 16)
    assert float((images.mean((0, 2, 3)).max() - images.mean((0, 2, 3)).min()).abs()) > 0
    more.sample(tmp_path / "model.safetensors", tmp_path / "drawn", seeds=[0, 1], canvas=True)
    with Image.open(tmp_path / "drawn/000000.png") as picture:
        assert picture.mode == "RGB"
        assert picture.size == (16 + 1 + 16, 16)
        shown = np.asarray(picture)
    left = shown[:, :16]  # the canvas, at the size of the image
    assert np.array_equal(left[::2, ::2].repeat(2, 0).repeat(2, 1), left)


def test_binary_and_colour_artifacts_do_not_mix(colour: Any, stages: Any, tmp_path: Path) -> None:
    colour.parse(tmp_path / "p")
    stages.parse(tmp_path / "grey")
    stages.train_prior(tmp_path / "grey", tmp_path / "prior")
    with pytest.raises(ArtifactError, match="was trained on part bank"):
        colour.train_decoder(tmp_path / "p", tmp_path / "prior", tmp_path / "m")
