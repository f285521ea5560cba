"""Sizes and settings of every model, by data set and by the number of training images.

Networks have about as many parameters as NP-DRAW's with the preset of the data set, except for the
small PixelCNN: as all its layers see every pixel, one of a tenth of the size learns more in a short
time. And the empty canvas is NP-DRAW's decoder alone.
"""

from dataclasses import dataclass, replace
from typing import Any

from benchmarks.rivals.air import AIR
from benchmarks.rivals.draw import DRAW
from benchmarks.rivals.empty_canvas import EmptyCanvas
from benchmarks.rivals.pixelcnn import PixelCNN
from benchmarks.rivals.rival import Rival
from benchmarks.rivals.vae import VAE
from benchmarks.rivals.vqvae import VQVAE
from npdraw.config import Config
from npdraw.presets import preset


@dataclass(frozen=True)
class Settings:
    """How a rival is trained."""

    batch_size: int = 128
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    warmup: float = 0.03
    """Share of the training in which the learning rate rises."""
    ema: float = 0.998
    steps: int = 1_000_000
    """Steps, at most: the learning rate falls to 0 there, or at the end of the time."""
    precision: str = "auto"
    """As `--precision`: recurrent states and the densities of what they draw need fp32."""


OURS = "NP-DRAW"

VARIANCE = 0.07
"""Variance of the values of CIFAR-10, in [0, 1]: the error of a grey canvas."""

Sizes = dict[str, Any]

GREY: dict[str, tuple[type[Rival], Sizes, Settings]] = {
    "DRAW": (
        DRAW,
        {"steps": 10, "latents": 16, "states": 352, "read_size": 5, "kl_warmup": 0.3},
        Settings(batch_size=32, precision="fp32"),
    ),
    "AIR": (
        AIR,
        {"most": 2, "states": 320, "hidden": 320, "latents": 16, "kl_warmup": 0.1},
        Settings(batch_size=32, precision="fp32"),
    ),
    "VAE": (VAE, {"channels": (64, 112), "depth": 2}, Settings(batch_size=64)),
    "VQ-VAE": (VQVAE, {"codes": 16, "width": 80}, Settings(batch_size=32)),
    "PixelCNN": (PixelCNN, {"width": 112, "depth": 5}, Settings(batch_size=8)),
    "small PixelCNN": (
        PixelCNN,
        {"width": 32, "depth": 6},
        Settings(batch_size=32, learning_rate=8e-3),
    ),
}
"""Models of images with one channel."""

COLOUR: dict[str, tuple[type[Rival], Sizes, Settings]] = {
    "DRAW": (
        DRAW,
        {"steps": 10, "latents": 64, "states": 320, "read_size": 5, "kl_warmup": 0.3},
        Settings(batch_size=32, precision="fp32"),
    ),
    "AIR": (
        AIR,
        {"states": 224, "hidden": 128, "latents": 64, "patch": 10, "kl_warmup": 0.1},
        Settings(batch_size=32, precision="fp32"),
    ),
    "VAE": (VAE, {"latents": 128, "channels": (64, 80), "depth": 1}, Settings(batch_size=32)),
    "VAE with slices": (
        VAE,
        {"latents": 128, "channels": (64, 64), "depth": 1, "error": VARIANCE},
        Settings(batch_size=32),
    ),
    "VQ-VAE": (VQVAE, {"codes": 512, "width": 112}, Settings(batch_size=32)),
    "PixelCNN": (PixelCNN, {"width": 152, "depth": 5}, Settings(batch_size=8)),
    "small PixelCNN": (
        PixelCNN,
        {"width": 48, "depth": 6},
        Settings(batch_size=32, learning_rate=8e-3),
    ),
    "empty canvas": (
        EmptyCanvas,
        {"channels": (64, 64), "error": VARIANCE},
        Settings(batch_size=32),
    ),
}
"""Models of colour images."""


def models(data: str) -> list[str]:
    """Return the names of all models of a data set, NP-DRAW first."""
    return [OURS, *_table(data)]


def rival(name: str, data: str, images: int) -> tuple[Rival, Settings]:
    """Return an untrained model, and how it is trained on `images` training images."""
    config = preset(data).parse
    kind, sizes, settings = _table(data)[name]
    changes = _for_few(name, images)
    shape = config.channels, config.image_size, config.image_size
    return kind(shape, levels=config.levels, **sizes, **changes), settings  # type: ignore[call-arg]


def _table(data: str) -> dict[str, tuple[type[Rival], Sizes, Settings]]:
    return GREY if preset(data).parse.channels == 1 else COLOUR


DROPOUT = (100, 0.2), (1_000, 0.2), (10_000, 0.1)
"""Up to this many training images: dropout of the models that have it."""

FEW = 1_000
"""Up to this many training images, all models see copies shifted by a pixel."""

WITH_DROPOUT = "VAE", "VAE with slices", "VQ-VAE", "PixelCNN", "small PixelCNN"


def _for_few(name: str, images: int) -> Sizes:
    """Return what changes with few images, against overfitting."""
    changes: Sizes = {}
    dropout = next((share for most, share in DROPOUT if images <= most), None)
    if name in WITH_DROPOUT and dropout is not None:
        changes["dropout"] = dropout
    if name == "VAE" and dropout is not None:
        changes["kl_warmup"] = 0.5 if images <= DROPOUT[0][0] else 0.3
    return changes


STEPS = ((100, 100, 150), (1_000, 200, 400), (10_000, 500, 800))
"""Up to this many images: steps of NP-DRAW's prior and decoder, at most."""


def ours(config: Config, images: int) -> Config:
    """Return the settings of NP-DRAW with steps suited to `images` training images, at most."""
    if images <= FEW:
        config = replace(config, parse=replace(config.parse, shift=1))
    for most, prior, decoder in STEPS:
        if images <= most:
            return replace(
                config,
                prior=replace(config.prior, steps=min(prior, config.prior.steps)),
                decoder=replace(config.decoder, steps=min(decoder, config.decoder.steps)),
            )
    return config
